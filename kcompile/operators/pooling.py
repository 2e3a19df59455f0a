"""Pooling over one to three spatial axes."""

from __future__ import annotations

from typing import Any

from kcompile.errors import InferError
from kcompile.ir import Op, Type
from kcompile.operators.windows import (
    Padding,
    channel_size,
    check_windows,
    image_shape,
    is_static,
    onnx_first,
    onnx_last,
    onnx_pads,
    output_sizes,
    resolve_padding,
    spatial_shape,
    torch_first,
    torch_last,
    torch_pad,
    unless_ones,
)


class _Pool(Op):
    """x [N, *spatial, C] or [N, C, *spatial]: one number for each window and channel."""

    pool_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Padding = "valid"
    data_format: str = "channels_last"

    def _pads(self, x: Type) -> Any:
        sizes = spatial_shape(x, self.data_format)
        return resolve_padding(self.padding, sizes, self.pool_size, self.strides, [1] * len(sizes))

    def infer(self, x: Type) -> Type:
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
        check_windows(self, x.rank, pool_size=self.pool_size, strides=self.strides)
        self.require(self.padding != "causal", "padding must be 'valid', 'same' or pairs, got 'causal'")
        fits = isinstance(self.padding, str) or len(self.padding) == x.rank - 2
        self.require(fits, f"padding must be one pair for each of the {x.rank - 2} spatial axes, got {self.padding}")
        sizes = spatial_shape(x, self.data_format)
        try:
            sizes = output_sizes(self.padding, sizes, self.pool_size, self.strides, [1] * len(sizes))
        except InferError as error:
            raise InferError(f"{self.name}: {error}") from error
        return x.with_shape(image_shape(x.shape[0], sizes, channel_size(x, self.data_format), self.data_format))

    def _inner(self, pads: Any) -> list[int] | None:
        """The padding where torch's pooling can do it: alike at both ends, half a window at most."""
        fits = is_static(pads) and all(a == b and a <= k // 2 for (a, b), k in zip(pads, self.pool_size, strict=True))
        return [a for a, _ in pads] if fits else None

    def _onnx(self, o: Any, op_type: str, x: str) -> str:
        rank = o.inputs[0].rank
        y = o.node(
            op_type,
            onnx_first(o, x, rank, self.data_format),
            kernel_shape=list(self.pool_size),
            strides=unless_ones(self.strides),
            **onnx_pads(self._pads(o.inputs[0])),
        )
        return onnx_last(o, y, rank, self.data_format)


class MaxPool(_Pool, name="max_pool"):
    """The largest cell of each window, padded cells not counted; ONNX MaxPool."""

    def torch(self, t: Any, x: Any) -> Any:
        rank, pads = t.inputs[0].rank, self._pads(t.inputs[0])
        x, inner = torch_first(x, rank, self.data_format), self._inner(pads)
        if inner is None:
            x, inner = torch_pad(t, x, pads, float("-inf")), [0] * len(pads)
        y = getattr(t.nn.functional, f"max_pool{rank - 2}d")(x, list(self.pool_size), list(self.strides), inner)
        return torch_last(y, rank, self.data_format)

    def onnx(self, o: Any, x: str) -> str:
        return self._onnx(o, "MaxPool", x)


class AveragePool(_Pool, name="average_pool"):
    """The mean of each window's cells, padded cells not counted (TensorFlow's rule); ONNX AveragePool."""

    def torch(self, t: Any, x: Any) -> Any:
        rank, pads = t.inputs[0].rank, self._pads(t.inputs[0])
        x, inner = torch_first(x, rank, self.data_format), self._inner(pads)
        pool = getattr(t.nn.functional, f"avg_pool{rank - 2}d")
        window, strides = list(self.pool_size), list(self.strides)
        if inner is not None:
            y = pool(x, window, strides, inner, False, False)
        else:
            # Zeros don't change the sum; the same pooling of ones gives the share of real cells.
            share = pool(torch_pad(t, t.ones_like(x[:1, :1]), pads), window, strides)
            y = pool(torch_pad(t, x, pads), window, strides) / share
        return torch_last(y, rank, self.data_format)

    def onnx(self, o: Any, x: str) -> str:
        return self._onnx(o, "AveragePool", x)

"""Convolutions over one to three spatial axes, kernels in Keras's layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.errors import InferError
from kcompile.ir import Op, Type
from kcompile.ir.shapes import same_dim
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
    span,
    spatial_shape,
    torch_first,
    torch_last,
    torch_pad,
    unless_ones,
)


def _check(op: Any, x: Type, kernel: Type, bias: Type | None, axis: int) -> None:
    """What the two convolutions require of their operands; ``axis`` is the kernel's of the result's channels."""
    same = kernel.dtype is x.dtype and (bias is None or bias.dtype is x.dtype)
    op.require(x.dtype.is_float and same, f"x, kernel and bias must be of one float dtype, got {x}, {kernel}, {bias}")
    op.require(kernel.rank == x.rank, f"the kernel of a rank {x.rank} tensor must have rank {x.rank}, got {kernel}")
    op.require(kernel.is_static, f"the kernel must have a fixed shape, got {kernel}")
    channels = kernel.shape[axis]
    check_windows(op, x.rank, strides=op.strides, dilations=op.dilations)
    op.require(bias is None or bias.shape == (channels,), f"bias must have the shape [{channels}], got {bias}")


def _kernel_order(rank: int) -> list[int]:
    """The permutation that brings the last two axes of a kernel to the front, the last one first."""
    return [rank - 1, rank - 2, *range(rank - 2)]


def _window(kernel: Type) -> list[int]:
    """The spatial sizes of a kernel."""
    return [int(d) for d in kernel.shape[:-2]]


class Conv(Op, name="conv"):
    """x [N, *spatial, C] (or [N, C, *spatial]) with kernel [*window, C/groups, K], plus bias [K]; ONNX Conv.

    padding is "valid", "same" (TensorFlow's: the odd cell at the end), "causal" (one spatial axis:
    all of it before) or pairs (before, after).
    """

    strides: tuple[int, ...]
    padding: Padding
    dilations: tuple[int, ...]
    groups: int = 1
    data_format: str = "channels_last"

    def _pads(self, x: Type, kernel: Type) -> Any:
        sizes = spatial_shape(x, self.data_format)
        return resolve_padding(self.padding, sizes, _window(kernel), self.strides, self.dilations)

    def infer(self, x: Type, kernel: Type, bias: Type | None = None) -> Type:
        _check(self, x, kernel, bias, -1)
        depth, filters = kernel.shape[-2:]
        self.require(self.padding != "causal" or x.rank == 3, "'causal' padding is for one spatial axis")
        fits = isinstance(self.padding, str) or len(self.padding) == x.rank - 2
        self.require(fits, f"padding must be one pair for each of the {x.rank - 2} spatial axes, got {self.padding}")
        self.require(filters % self.groups == 0, f"{filters} filters don't divide into {self.groups} groups")
        channels = channel_size(x, self.data_format)
        same_dim(channels, depth * self.groups, f"{self.name}, channels of x {x} against the kernel {kernel}")
        try:
            spatial, window = spatial_shape(x, self.data_format), _window(kernel)
            sizes = output_sizes(self.padding, spatial, window, self.strides, self.dilations)
        except InferError as error:
            raise InferError(f"{self.name}: {error}") from error
        return x.with_shape(image_shape(x.shape[0], sizes, filters, self.data_format))

    def torch(self, t: Any, x: Any, kernel: Any, bias: Any = None) -> Any:
        rank, pads = t.inputs[0].rank, self._pads(*t.inputs[:2])
        strides, dilations = list(self.strides), list(self.dilations)
        # A channels-last sequence as an image one cell high: torch has that layout from two axes on.
        channels = channel_size(t.inputs[0], self.data_format)
        row = rank == 3 and self.data_format == "channels_last" and channels != 1
        if row:
            x, kernel, rank = x.unsqueeze(1), kernel.unsqueeze(0), 4
            pads, strides, dilations = ((0, 0), *pads), [1, *strides], [1, *dilations]
        x = torch_first(x, rank, self.data_format)
        if channels == 1:
            # torch 2.13 (oneDNN) leaves numbers unwritten where one channel has the stride 1 of a
            # channels_last view, and the output is one cell wide. This gives it the usual stride.
            x = x.squeeze(1).unsqueeze(1)
        if is_static(pads) and all(before == after for before, after in pads):
            inner: Sequence[Any] = [before for before, _ in pads]
        else:
            x, inner = torch_pad(t, x, pads), [0] * (rank - 2)
        function = getattr(t.nn.functional, f"conv{rank - 2}d")
        y = function(x, kernel.permute(_kernel_order(rank)), bias, strides, inner, dilations, self.groups)
        if channels == 1 and rank == 4 and self.data_format == "channels_last":
            # One copy here, and all that follows finds its channels together, which is several times faster.
            y = y.contiguous(memory_format=t.channels_last)
        y = torch_last(y, rank, self.data_format)
        return y.squeeze(1) if row else y

    def onnx(self, o: Any, x: str, kernel: str, bias: str | None = None) -> str:
        rank, pads = o.inputs[0].rank, self._pads(*o.inputs[:2])
        x = onnx_first(o, x, rank, self.data_format)
        if not is_static(pads) and max(self.dilations) > 1:
            # ONNX Runtime refuses auto_pad with dilations.
            x = o.Pad(x, o.shape([0, 0, *(p[0] for p in pads), 0, 0, *(p[1] for p in pads)]))
            pads = [(0, 0)] * (rank - 2)
        y = o.Conv(
            x,
            o.Transpose(kernel, perm=_kernel_order(rank)),
            bias,
            kernel_shape=_window(o.inputs[1]),
            strides=unless_ones(self.strides),
            dilations=unless_ones(self.dilations),
            group=None if self.groups == 1 else self.groups,
            **onnx_pads(pads),
        )
        return onnx_last(o, y, rank, self.data_format)


class ConvTranspose(Op, name="conv_transpose"):
    """The transpose of Conv: x [N, *spatial, C], kernel [*window, K, C], bias [K]; ONNX ConvTranspose.

    Sizes are Keras's: "valid" gives (size - 1) * stride + max(window, stride), "same" size * stride;
    with output_padding, (size - 1) * stride + window + output_padding, and for "same"
    (size - 1) * stride + window % 2 + output_padding. Pairs crop the full result at both ends.
    """

    strides: tuple[int, ...]
    padding: Padding
    dilations: tuple[int, ...]
    output_padding: tuple[int, ...] | None = None
    data_format: str = "channels_last"

    def crops(self, window: Sequence[int]) -> list[tuple[int, int]]:
        """Cells of the full result, (size - 1) * stride + span, left out at either end; negative: zeros added."""
        result = []
        for axis, (k, stride, dilation) in enumerate(zip(window, self.strides, self.dilations, strict=True)):
            covered = span(k, dilation)
            extra = None if self.output_padding is None else self.output_padding[axis]
            if not isinstance(self.padding, str):
                before, after = self.padding[axis]
                result.append((before, after - (extra or 0)))
            elif self.padding == "valid":
                result.append((0, -(max(covered, stride) - covered if extra is None else extra)))
            else:
                total = covered - stride if extra is None else covered - covered % 2 - extra
                # As the gradient of a "same" convolution: the odd cell is cropped at the end.
                before = max(total // 2, 0)
                result.append((before, total - before))
        return result

    def infer(self, x: Type, kernel: Type, bias: Type | None = None) -> Type:
        _check(self, x, kernel, bias, -2)
        filters, depth = kernel.shape[-2:]
        window = _window(kernel)
        known = not isinstance(self.padding, str) or self.padding in ("valid", "same")
        self.require(known, f"padding must be 'valid', 'same' or pairs, got {self.padding!r}")
        for what in (self.padding, self.output_padding):
            fits = isinstance(what, str) or what is None or len(what) == x.rank - 2
            self.require(fits, f"paddings must be given for each of the {x.rank - 2} spatial axes, got {what}")
        channels = channel_size(x, self.data_format)
        same_dim(channels, depth, f"{self.name}, channels of x {x} against the kernel {kernel}")
        sizes = [
            (size - 1) * stride + span(k, dilation) - before - after
            for size, k, stride, dilation, (before, after) in zip(
                spatial_shape(x, self.data_format),
                window,
                self.strides,
                self.dilations,
                self.crops(window),
                strict=True,
            )
        ]
        return x.with_shape(image_shape(x.shape[0], sizes, filters, self.data_format))

    def torch(self, t: Any, x: Any, kernel: Any, bias: Any = None) -> Any:
        rank, crops = t.inputs[0].rank, self.crops(_window(t.inputs[1]))
        x = torch_first(x, rank, self.data_format)
        # torch crops both ends alike; the rest of the end is cut off as a view, or added as zeros.
        inner = [max(min(before, after), 0) for before, after in crops]
        rest = [(before - i, after - i) for i, (before, after) in zip(inner, crops, strict=True)]
        grows = any(v < 0 for pair in rest for v in pair)
        function = getattr(t.nn.functional, f"conv_transpose{rank - 2}d")
        y = function(
            x, kernel.permute(_kernel_order(rank)), None if grows else bias, list(self.strides), inner, 0, 1,
            list(self.dilations),
        )  # fmt: skip
        if grows:
            y = torch_pad(t, y, [(-before, -after) for before, after in rest])
            if bias is not None:
                y = y + bias.reshape([-1] + [1] * (rank - 2))
        elif any(v for pair in rest for v in pair):
            whole = slice(None)
            y = y[(whole, whole, *(slice(before, -after if after else None) for before, after in rest))]
        return torch_last(y, rank, self.data_format)

    def onnx(self, o: Any, x: str, kernel: str, bias: str | None = None) -> str:
        rank, window = o.inputs[0].rank, _window(o.inputs[1])
        crops = self.crops(window)
        x = onnx_first(o, x, rank, self.data_format)
        grows = [max(-after, 0) for _, after in crops]
        y = o.ConvTranspose(
            x,
            o.Transpose(kernel, perm=_kernel_order(rank)),
            bias,
            kernel_shape=window,
            strides=unless_ones(self.strides),
            dilations=unless_ones(self.dilations),
            output_padding=grows if any(grows) else None,
            **onnx_pads([(before, max(after, 0)) for before, after in crops]),
        )
        return onnx_last(o, y, rank, self.data_format)

"""Arithmetic that convolution and pooling share: window sizes, padding, axis orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from kcompile.errors import InferError
from kcompile.ir import Type
from kcompile.ir.dims import DimLike, maximum

Pair = tuple[DimLike, DimLike]
Padding = Union[str, tuple[tuple[int, int], ...]]


def span(kernel: int, dilation: int) -> int:
    """Cells from the first to the last that a dilated kernel covers."""
    return (kernel - 1) * dilation + 1


def spatial_shape(x: Type, data_format: str) -> tuple[DimLike, ...]:
    """The spatial sizes of a batch of images (or sequences, or volumes)."""
    return x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]


def channel_size(x: Type, data_format: str) -> DimLike:
    """The number of channels."""
    return x.shape[-1] if data_format == "channels_last" else x.shape[1]


def image_shape(batch: DimLike, spatial: Sequence[DimLike], channels: DimLike, data_format: str) -> tuple[DimLike, ...]:
    """The shape with its axes in the order of the data format."""
    return (batch, *spatial, channels) if data_format == "channels_last" else (batch, channels, *spatial)


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from channels first to channels last."""
    return (0, *range(2, rank), 1)


def resolve_padding(
    padding: Padding,
    sizes: Sequence[DimLike],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[Pair, ...]:
    """(before, after) of each spatial axis.

    "same" is TensorFlow's: ceil(size / stride) results, the odd cell of padding at the end. The
    amounts are ints wherever they don't depend on a symbolic size (stride 1 always).
    Raises InferError for an unknown word.
    """
    if not isinstance(padding, str):
        return tuple((int(a), int(b)) for a, b in padding)
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    spans = [span(k, d) for k, d in zip(kernel, dilations, strict=True)]
    if padding == "causal":
        return tuple((s - 1, 0) for s in spans)
    if padding != "same":
        raise InferError(f"padding must be 'valid', 'same', 'causal' or pairs of integers, got {padding!r}")
    pairs: list[Pair] = []
    for size, covered, stride in zip(sizes, spans, strides, strict=True):
        if stride == 1:
            total: DimLike = covered - 1
        else:
            total = maximum((-(-size // stride) - 1) * stride + covered - size, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def output_sizes(
    padding: Padding,
    sizes: Sequence[DimLike],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[DimLike, ...]:
    """Spatial sizes of the result; raises InferError where a window doesn't fit once."""
    if padding == "same":
        return tuple((size + stride - 1) // stride for size, stride in zip(sizes, strides, strict=True))
    pairs = resolve_padding(padding, sizes, kernel, strides, dilations)
    results = []
    for size, k, stride, dilation, (before, after) in zip(sizes, kernel, strides, dilations, pairs, strict=True):
        padded = size + before + after
        covered = span(k, dilation)
        if isinstance(padded, int) and padded < covered:
            raise InferError(f"a window of {covered} cells doesn't fit into {padded}")
        results.append((padded - covered) // stride + 1)
    return tuple(results)


def check_windows(op: Any, rank: int, **fields: Sequence[int]) -> None:
    """Require one positive integer a spatial axis in each field, 1 to 3 axes, and a known data format."""
    op.require(rank in (3, 4, 5), f"x must have 1, 2 or 3 spatial axes, got rank {rank}")
    known = op.data_format in ("channels_last", "channels_first")
    op.require(known, f"data_format must be 'channels_last' or 'channels_first', got {op.data_format!r}")
    for name, values in fields.items():
        fits = len(values) == rank - 2 and all(isinstance(v, int) and v > 0 for v in values)
        op.require(fits, f"{name} must be {rank - 2} positive integers, got {values}")


def is_static(pairs: Sequence[Pair]) -> bool:
    """Whether no amount depends on a symbolic size."""
    return all(isinstance(v, int) for pair in pairs for v in pair)


def torch_pad(t: Any, x: Any, pairs: Sequence[Pair], value: float = 0.0) -> Any:
    """``x`` (channels first) with its spatial axes padded."""
    flat = [t.size(v) for pair in reversed(pairs) for v in pair]
    return t.nn.functional.pad(x, flat, value=value)


def onnx_pads(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The attributes that state a padding: pads, or auto_pad where the amounts depend on a symbolic size."""
    if not is_static(pairs):
        return {"auto_pad": "SAME_UPPER"}
    if all(v == 0 for pair in pairs for v in pair):
        return {}
    return {"pads": [p[0] for p in pairs] + [p[1] for p in pairs]}


def unless_ones(values: Sequence[int]) -> list[int] | None:
    """The attribute, or None where it is ONNX's default."""
    return None if all(v == 1 for v in values) else list(values)


def torch_first(x: Any, rank: int, data_format: str) -> Any:
    """A channels-first view; of a channels-last tensor without a copy."""
    return x if data_format == "channels_first" else x.permute(to_first(rank))


def torch_last(y: Any, rank: int, data_format: str) -> Any:
    """The view in the data format of a channels-first tensor."""
    return y if data_format == "channels_first" else y.permute(to_last(rank))


def onnx_first(o: Any, x: str, rank: int, data_format: str) -> str:
    """The tensor with channels first."""
    return x if data_format == "channels_first" else o.Transpose(x, perm=list(to_first(rank)))


def onnx_last(o: Any, y: str, rank: int, data_format: str) -> str:
    """The channels-first tensor in the data format."""
    return y if data_format == "channels_first" else o.Transpose(y, perm=list(to_last(rank)))

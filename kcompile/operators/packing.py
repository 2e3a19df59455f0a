"""Steps of masked sequences, moved to the front and back to their places."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type
from kcompile.ir.shapes import same_dim
from kcompile.ir.types import i64


def _check(op: Op, x: Type, mask: Type) -> None:
    op.require(
        mask.dtype.is_bool and mask.rank == 2 and x.rank >= 2, f"needs x [N, T, ...] and bool [N, T], got {x}, {mask}"
    )
    for i, what in enumerate(("batch", "length")):
        same_dim(x.shape[i], mask.shape[i], f"{op.name}, {what} of x and mask")


def onnx_pack(o: Any, x: str, mask: str, rank: int) -> str:
    """x [N, T, ...] with the steps that count in front."""
    # A size may be read from any operand that has it.
    length = o.size(next(t.shape[1] for t in reversed(o.inputs) if t is not None))
    # Of equal numbers the first comes first, which ONNX asks for: the steps that count, then the others.
    _, order = o.TopK(o.cast(mask, i64), length, axis=1, outputs=2)
    packed: str = (
        o.GatherElements(x, order, axis=1) if rank == 2 else o.GatherND(x, o.unsqueeze(order, [2]), batch_dims=1)
    )
    return packed


def onnx_unpack(o: Any, y: str, mask: str, rank: int, zero_masked: bool) -> str:
    """The steps of y [N, T, ...] back where they were."""
    counts = o.CumSum(o.cast(mask, i64), o.ints(1))
    places = o.Max(o.Sub(counts, o.ints(1)), o.ints(0))
    kept = mask if zero_masked else o.Greater(counts, o.ints(0))
    axes = list(range(2, rank))
    moved = o.GatherND(y, o.unsqueeze(places, [2]), batch_dims=1)
    unpacked: str = o.Where(o.unsqueeze(kept, axes) if axes else kept, moved, o.like(0, o.inputs[0].dtype))
    return unpacked


class PackSteps(Op, name="pack_steps"):
    """x [N, T, ...], mask bool [N, T]: the steps that count in front, the others behind, both in their order."""

    def infer(self, x: Type, mask: Type) -> Type:
        _check(self, x, mask)
        return x

    def torch(self, t: Any, x: Any, mask: Any) -> Any:
        order = t.argsort(t.logical_not(mask).to(t.int8), dim=1, stable=True)
        return t.take_along_dim(x, order.reshape(order.shape + (1,) * (x.dim() - 2)), 1)

    def onnx(self, o: Any, x: str, mask: str) -> str:
        return onnx_pack(o, x, mask, o.inputs[0].rank)


class UnpackSteps(Op, name="unpack_steps"):
    """y [N, T, ...] with the steps that count in front, mask bool [N, T]: back where they were.

    Zeros elsewhere (``zero_masked``), or what counted last, and zeros before anything did.
    """

    zero_masked: bool = True

    def infer(self, y: Type, mask: Type) -> Type:
        _check(self, y, mask)
        return y

    def torch(self, t: Any, y: Any, mask: Any) -> Any:
        counts = t.cumsum(mask, 1)
        ones = (1,) * (y.dim() - 2)
        places = t.clamp(counts - 1, min=0).reshape(mask.shape + ones)
        kept = mask if self.zero_masked else counts > 0
        return t.where(kept.reshape(mask.shape + ones), t.take_along_dim(y, places, 1), t.zeros_like(y))

    def onnx(self, o: Any, y: str, mask: str) -> str:
        return onnx_unpack(o, y, mask, o.inputs[0].rank, self.zero_masked)

"""What processes that compute one graph together tell each other: sums, parts and whole tensors.

Each process (a rank) holds a part of a tensor along one axis: of ``unit`` things (the rows of a batch,
the numbers along an axis of a weight) every rank has a run. An axis of size 3 * unit is cut into runs
of 3 times as many. Gradients are those of the sum of what all ranks compute: where every rank computes
the same loss, each has to give its share of it.
"""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type
from kcompile.ir.dims import DimLike
from kcompile.ir.op import unsupported
from kcompile.ir.shapes import normal_axis

_NO_ONNX: Any = unsupported("processes talk to each other while they train; export the model outside of that")


class AllReduce(Op, name="all_reduce"):
    """The sum of all ranks' x, on each of them."""

    onnx = _NO_ONNX

    def infer(self, x: Type) -> Type:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return t.collectives.all_reduce(x)


class _Parts(Op):
    """``size`` is the result's along ``axis``; ``chunked`` is how torch cuts weights, else runs differ by at most 1."""

    onnx = _NO_ONNX

    axis: int
    unit: DimLike
    size: DimLike
    chunked: bool = False

    def infer(self, x: Type) -> Type:
        axis = normal_axis(self.axis, x.rank)
        return x.with_shape((*x.shape[:axis], self.size, *x.shape[axis + 1 :]))


class OwnPart(_Parts, name="own_part"):
    """This rank's run of a tensor that all ranks have."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.collectives.own_part(x, self.axis, t.size(self.unit), self.chunked)


class GatherParts(_Parts, name="gather_parts"):
    """All ranks' runs joined, on each of them."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.collectives.gather_parts(x, self.axis, t.size(self.unit), t.size(self.size), self.chunked)

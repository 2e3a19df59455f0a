"""Sorting and selection along an axis. Equal elements keep their order: the lower index comes first."""

from __future__ import annotations

from typing import Any

from kcompile.ir.op import Op
from kcompile.ir.shapes import normal_axis
from kcompile.ir.types import Type, i64
from kcompile.operators.kernels import compute


class _Sorting(Op):
    def check(self, x: Type, axis: int) -> int:
        self.require(x.rank > 0, "x must have an axis, got a scalar")
        return normal_axis(axis, x.rank)


def _sorted(t: Any, x: Any, axis: int, descending: bool) -> Any:
    """torch's (values, indices), which its topk can't give: that leaves the order of equal elements open."""
    return t.sort(x, dim=axis, descending=descending, stable=True)


def _top_k(o: Any, x: str, k: str, axis: int, largest: bool) -> tuple[str, str]:
    """ONNX TopK as (values, indices), the values in the dtype of x."""
    dtype = o.inputs[0].dtype
    found: list[str] = []

    def form(x: str) -> str:
        values, indices = o.TopK(x, k, axis=axis, largest=int(largest), sorted=1, outputs=2)
        found.append(indices)
        return values

    return compute(o, "TopK", x, dtype=dtype, form=form), found[0]


class TopK(_Sorting, name="top_k"):
    """The k largest (or smallest) elements along an axis in order, and their int64 indices. ONNX TopK."""

    k: int
    axis: int = -1
    largest: bool = True

    def infer(self, x: Type) -> tuple[Type, Type]:
        axis = self.check(x, self.axis)
        size = x.shape[axis]
        self.require(self.k >= 0, f"k must not be negative, got {self.k}")
        self.require(not isinstance(size, int) or self.k <= size, f"k is {self.k}, axis {axis} of {x} has {size}")
        shape = (*x.shape[:axis], self.k, *x.shape[axis + 1 :])
        return x.with_shape(shape), Type(i64, shape)

    def torch(self, t: Any, x: Any) -> Any:
        axis = normal_axis(self.axis, t.inputs[0].rank)
        pair = _sorted(t, x, axis, self.largest)
        first = (*(slice(None),) * axis, slice(None, self.k))
        return pair[0][first], pair[1][first]

    def onnx(self, o: Any, x: str) -> tuple[str, str]:
        return _top_k(o, x, o.ints([self.k]), normal_axis(self.axis, o.inputs[0].rank), self.largest)


class Sort(_Sorting, name="sort"):
    """x sorted along an axis. ONNX TopK of the whole axis."""

    axis: int = -1
    descending: bool = False

    def infer(self, x: Type) -> Type:
        self.check(x, self.axis)
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return _sorted(t, x, self.axis, self.descending)[0]

    def onnx(self, o: Any, x: str) -> str:
        axis = normal_axis(self.axis, o.inputs[0].rank)
        return _top_k(o, x, o.size(o.inputs[0].shape[axis]), axis, self.descending)[0]


class ArgSort(Sort, name="arg_sort"):
    """The int64 indices that sort x along an axis, stable. ONNX TopK of the whole axis."""

    def infer(self, x: Type) -> Type:
        return super().infer(x).with_dtype(i64)

    def torch(self, t: Any, x: Any) -> Any:
        return _sorted(t, x, self.axis, self.descending)[1]

    def onnx(self, o: Any, x: str) -> str:
        axis = normal_axis(self.axis, o.inputs[0].rank)
        return _top_k(o, x, o.size(o.inputs[0].shape[axis]), axis, self.descending)[1]

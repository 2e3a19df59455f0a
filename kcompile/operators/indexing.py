"""Gathering and scattering by integer indices (int32 or int64; negative ones count from the end)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kcompile.errors import UnsupportedError
from kcompile.ir.dims import product
from kcompile.ir.op import Op
from kcompile.ir.shapes import normal_axis, same_dim
from kcompile.ir.types import DType, Type, bf16, f16, f32, i32, i64


class _Indexing(Op):
    def check_indices(self, indices: Type) -> None:
        self.require(indices.dtype in (i32, i64), f"indices must be int32 or int64, got {indices}")


def out_of_range(indices: Any, size: int, what: str = "index", from_end: bool = False) -> str:
    """What to say of the first index that an axis of this size has no place for; empty where all have one."""
    wrong = indices[(indices >= size) | (indices < (-size if from_end else 0))]
    return f"{what} {wrong.flat[0]} is out of range, there are {size} (0 to {size - 1})" if wrong.size else ""


class Gather(_Indexing, name="gather"):
    """Slices of x along an axis: x [*a, n, *b], indices [*i] -> [*a, *i, *b]. ONNX Gather."""

    axis: int = 0

    def infer(self, x: Type, indices: Type) -> Type:
        self.check_indices(indices)
        self.require(x.rank > 0, "x must have an axis, got a scalar")
        axis = normal_axis(self.axis, x.rank)
        return x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def torch(self, t: Any, x: Any, indices: Any) -> Any:
        axis = normal_axis(self.axis, t.inputs[0].rank)
        return x[(*(slice(None),) * axis, indices)]

    def fault(self, x: Any, indices: Any) -> str:
        return "" if indices is None else out_of_range(indices, x.shape[self.axis], from_end=True)

    def onnx(self, o: Any, x: str, indices: str) -> str:
        return o.Gather(x, indices, axis=normal_axis(self.axis, o.inputs[0].rank))


class GatherElements(_Indexing, name="gather_elements"):
    """Element by element: result[i, j] = x[indices[i, j], j] for axis 0; shaped as indices. ONNX GatherElements.

    ``from_end`` False: what is picked are classes, of which none is negative.
    """

    axis: int
    from_end: bool = True

    def infer(self, x: Type, indices: Type) -> Type:
        self.check_indices(indices)
        self.require(x.rank == indices.rank and x.rank > 0, f"x and indices must have one rank, got {x} and {indices}")
        axis = normal_axis(self.axis, x.rank)
        for i, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)):
            if i != axis:
                same_dim(a, b, f"gather_elements: axis {i} of {x} and {indices}")
        return x.with_shape(indices.shape)

    def torch(self, t: Any, x: Any, indices: Any) -> Any:
        places = _from_start(t, indices, x.size(self.axis)) if self.from_end else indices.to(t.dtype(i64))
        return t.gather(x, self.axis, places)

    def fault(self, x: Any, indices: Any) -> str:
        what = "index" if self.from_end else "class"
        return "" if indices is None else out_of_range(indices, x.shape[self.axis], what, self.from_end)

    def onnx(self, o: Any, x: str, indices: str) -> str:
        return o.GatherElements(x, indices, axis=normal_axis(self.axis, o.inputs[0].rank))


class GatherNd(_Indexing, name="gather_nd"):
    """Slices at positions: x [*a, *b], indices [*i, len(a)] -> [*i, *b]. ONNX GatherND."""

    def infer(self, x: Type, indices: Type) -> Type:
        depth = _depth(self, x, indices)
        return x.with_shape((*indices.shape[:-1], *x.shape[depth:]))

    def torch(self, t: Any, x: Any, indices: Any) -> Any:
        return x[tuple(indices[..., i] for i in range(t.inputs[1].shape[-1]))]

    def onnx(self, o: Any, x: str, indices: str) -> str:
        return o.GatherND(x, _wide_indices(o, indices, o.inputs[1]))


class _Scatter(_Indexing):
    reductions: ClassVar[tuple[str, ...]] = ("none", "add", "mul", "max", "min")

    def check_scatter(self, reduction: str, x: Type, updates: Type) -> None:
        self.require(
            reduction in self.reductions, f"reduction {reduction!r} is not one of {', '.join(self.reductions)}"
        )
        self.require(x.dtype is updates.dtype, f"x and updates must have one dtype, got {x} and {updates}")
        self.require(reduction == "none" or not x.dtype.is_bool, f"bool tensors can't be combined with {reduction!r}")

    def write(self, o: Any, op_type: str, reduction: str, *operands: str, **attributes: Any) -> str:
        if reduction in ("max", "min") and o.opset < 18:
            raise UnsupportedError(
                f"{op_type} with {reduction!r} is not in opset {o.opset}; it needs --opset 18 or later"
            )
        if reduction == "none":
            return o.node(op_type, *operands, **attributes)
        x, indices, updates = operands
        half = o.inputs[0].dtype
        if half not in (f16, bf16):
            return o.node(op_type, x, indices, updates, reduction=reduction, **attributes)
        # ONNX Runtime refuses to combine half precision, and only when the model runs.
        x, updates = o.cast(x, f32), o.cast(updates, f32)
        return o.cast(o.node(op_type, x, indices, updates, reduction=reduction, **attributes), half)


_TORCH_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


class ScatterElements(_Scatter, name="scatter_elements"):
    """x with result[indices[i, j], j] = updates[i, j] for axis 0, combined with what is there by ``reduction``.

    With "none" indices must not repeat. ONNX ScatterElements.
    """

    axis: int
    reduction: str = "none"

    def infer(self, x: Type, indices: Type, updates: Type) -> Type:
        self.check_indices(indices)
        self.check_scatter(self.reduction, x, updates)
        one_rank = x.rank == indices.rank == updates.rank and x.rank > 0
        self.require(one_rank, f"operands must have one rank, got {x}, {indices} and {updates}")
        normal_axis(self.axis, x.rank)
        for i, (a, b) in enumerate(zip(indices.shape, updates.shape, strict=True)):
            same_dim(a, b, f"scatter_elements: axis {i} of {indices} and {updates}")
        return x

    def torch(self, t: Any, x: Any, indices: Any, updates: Any) -> Any:
        indices = _from_start(t, indices, x.size(self.axis))
        if self.reduction == "none":
            return t.scatter(x, self.axis, indices, updates)
        return t.scatter_reduce(x, self.axis, indices, updates, _TORCH_REDUCTIONS[self.reduction])

    def onnx(self, o: Any, x: str, indices: str, updates: str) -> str:
        axis = normal_axis(self.axis, o.inputs[0].rank)
        return self.write(o, "ScatterElements", self.reduction, x, indices, updates, axis=axis)


class ScatterNd(_Scatter, name="scatter_nd"):
    """x [*a, *b] with the slices at indices [*i, len(a)] combined with updates [*i, *b] by ``reduction``.

    With "none" positions must not repeat. ONNX ScatterND.
    """

    reduction: str = "none"

    def infer(self, x: Type, indices: Type, updates: Type) -> Type:
        depth = _depth(self, x, indices)
        self.check_scatter(self.reduction, x, updates)
        wanted = (*indices.shape[:-1], *x.shape[depth:])
        self.require(len(wanted) == updates.rank, f"updates must be shaped {list(map(str, wanted))}, got {updates}")
        for i, (a, b) in enumerate(zip(wanted, updates.shape, strict=True)):
            same_dim(a, b, f"scatter_nd: axis {i} of the updates {updates}")
        return x

    def torch(self, t: Any, x: Any, indices: Any, updates: Any) -> Any:
        shape = t.inputs[0].shape
        depth = t.inputs[1].shape[-1]
        columns = [indices[..., i] for i in range(depth)]
        if self.reduction in ("none", "add"):
            return t.index_put(x, tuple(columns), updates, self.reduction == "add")
        # scatter_reduce works along one axis, so positions become row numbers.
        rows = 0
        for column, size in zip(columns, t.shape(shape[:depth]), strict=True):
            rows = rows * size + _from_start(t, column, size)
        inner = t.size(product(shape[depth:]))
        flat = t.reshape(x, (t.size(product(shape[:depth])), inner))
        source = t.reshape(updates, (t.size(product(t.inputs[1].shape[:-1])), inner))
        rows = t.reshape(rows, (-1, 1)).expand_as(source)
        return t.reshape(t.scatter_reduce(flat, 0, rows, source, _TORCH_REDUCTIONS[self.reduction]), t.shape(shape))

    def onnx(self, o: Any, x: str, indices: str, updates: str) -> str:
        return self.write(o, "ScatterND", self.reduction, x, _wide_indices(o, indices, o.inputs[1]), updates)


class OneHot(Op, name="one_hot"):
    """indices [*i] -> [*i] with an axis of size ``depth`` put in: 1 at the index, else 0; all 0 for an index outside.

    ONNX: Equal with the class numbers and Cast, since OneHot counts negative indices from the end.
    """

    depth: int
    axis: int = -1
    dtype: DType = f32

    def infer(self, indices: Type) -> Type:
        self.require(indices.dtype.is_integer, f"indices must be an integer tensor, got {indices}")
        self.require(self.depth >= 0, f"depth must not be negative, got {self.depth}")
        axis = normal_axis(self.axis, indices.rank + 1)
        return Type(self.dtype, (*indices.shape[:axis], self.depth, *indices.shape[axis:]))

    def _classes(self, rank: int) -> tuple[int, list[int]]:
        axis = normal_axis(self.axis, rank)
        return axis, [self.depth if i == axis else 1 for i in range(rank)]

    def torch(self, t: Any, indices: Any) -> Any:
        axis, shape = self._classes(t.outputs[0].rank)
        classes = t.reshape(t.arange(self.depth, dtype=t.dtype(i64), device=indices.device), shape)
        return (t.unsqueeze(indices.to(t.dtype(i64)), axis) == classes).to(t.dtype(self.dtype))

    def onnx(self, o: Any, indices: str) -> str:
        axis, shape = self._classes(o.outputs[0].rank)
        dtype = o.inputs[0].dtype if o.inputs[0].dtype in (i32, i64) else i64
        indices = indices if o.inputs[0].dtype is dtype else o.cast(indices, dtype)
        classes = o.array(np.arange(self.depth, dtype=dtype.numpy).reshape(shape), "classes")
        found = o.Equal(o.unsqueeze(indices, [axis]), classes)
        return found if self.dtype.is_bool else o.cast(found, self.dtype)


class Embedding(_Indexing, name="embedding"):
    """Rows of a table [V, D] at ids [*i] from 0 to V-1 -> [*i, D]. ONNX Gather."""

    def infer(self, table: Type, ids: Type) -> Type:
        self.check_indices(ids)
        self.require(table.rank == 2, f"the table must be a matrix, got {table}")
        return table.with_shape((*ids.shape, table.shape[1]))

    def torch(self, t: Any, table: Any, ids: Any) -> Any:
        return t.nn.functional.embedding(ids, table)

    def fault(self, table: Any, ids: Any) -> str:
        found = "" if ids is None else out_of_range(ids, len(table), "id")
        return f"{found}: raise `input_dim` or change the data" if found else ""

    def onnx(self, o: Any, table: str, ids: str) -> str:
        return o.Gather(table, ids, axis=0)


def _depth(op: _Indexing, x: Type, indices: Type) -> int:
    """How many axes of x the last axis of the indices addresses."""
    op.check_indices(indices)
    op.require(indices.rank > 0, "indices must have an axis, got a scalar")
    depth = indices.shape[-1]
    op.require(isinstance(depth, int), f"the last size of the indices must be known, got {indices}")
    assert isinstance(depth, int)
    op.require(1 <= depth <= x.rank, f"the last size of the indices {indices} must be from 1 to the rank of {x}")
    return depth


def _from_start(t: Any, indices: Any, size: Any) -> Any:
    """int64 indices from 0 up."""
    indices = indices.to(t.dtype(i64))
    return t.where(indices < 0, indices + size, indices)


def _wide_indices(o: Any, indices: str, type: Type) -> str:
    """GatherND and ScatterND take int64 only."""
    return indices if type.dtype is i64 else o.cast(indices, i64)

"""Operators that move elements about: reshaping, slicing, joining, padding, repeating."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir.dims import Dim, DimLike, floordiv, maximum, minimum, product
from kcompile.ir.op import Op
from kcompile.ir.shapes import normal_axes, normal_axis, same_dim
from kcompile.ir.types import Type, i64
from kcompile.operators.kernels import compute, kernel_dtype

FIRST, LAST = -(2**63), 2**63 - 1  # what ONNX Slice takes for "to the end"


class Reshape(Op, name="reshape"):
    """x with the same elements in the same order in another shape (without -1). ONNX Reshape."""

    shape: tuple[DimLike, ...]

    def infer(self, x: Type) -> Type:
        missing = x.size - product(self.shape)
        result = x.with_shape(self.shape)
        self.require(isinstance(missing, Dim) or missing == 0, f"{x} can't be reshaped to {result}")
        return result

    def torch(self, t: Any, x: Any) -> Any:
        return t.reshape(x, t.shape(self.shape))

    def onnx(self, o: Any, x: str) -> str:
        return o.reshape(x, o.inputs[0], self.shape)


class Transpose(Op, name="transpose"):
    """x with its axes in the order ``perm``: axis i of the result is axis perm[i] of x. ONNX Transpose."""

    perm: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        self.require(sorted(self.perm) == list(range(x.rank)), f"perm {self.perm} does not order the axes of {x}")
        return x.with_shape(x.shape[i] for i in self.perm)

    def torch(self, t: Any, x: Any) -> Any:
        return t.permute(x, self.perm)

    def onnx(self, o: Any, x: str) -> str:
        return x if self.perm == tuple(range(len(self.perm))) else o.Transpose(x, perm=list(self.perm))


class Expand(Op, name="expand"):
    """x broadcast to a shape of the same or a higher rank. ONNX Expand."""

    shape: tuple[DimLike, ...]

    def infer(self, x: Type) -> Type:
        result = x.with_shape(self.shape)
        self.require(x.rank <= result.rank, f"{x} has more axes than {result}")
        for have, want in zip(reversed(x.shape), reversed(self.shape), strict=False):
            if have != 1:
                same_dim(have, want, f"expand: {x} to {result}")
        return result

    def torch(self, t: Any, x: Any) -> Any:
        return x.expand(t.shape(self.shape))

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].shape == self.shape:
            return x
        # ONNX broadcasts both ways: what x has already needs no size.
        own = (1,) * (len(self.shape) - o.inputs[0].rank) + o.inputs[0].shape
        target = [1 if have == want else want for have, want in zip(own, self.shape, strict=True)]
        return compute(o, "Expand", x, form=lambda x: o.Expand(x, o.shape(target)))


class ExpandDims(Op, name="expand_dims"):
    """x with axes of size 1 put in at the positions ``axes`` of the result. ONNX Unsqueeze."""

    axes: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        rank = x.rank + len(self.axes)
        axes = normal_axes(self.axes, rank)
        rest = iter(x.shape)
        return x.with_shape(1 if i in axes else next(rest) for i in range(rank))

    def torch(self, t: Any, x: Any) -> Any:
        for axis in normal_axes(self.axes, t.outputs[0].rank):
            x = t.unsqueeze(x, axis)
        return x

    def onnx(self, o: Any, x: str) -> str:
        return o.unsqueeze(x, normal_axes(self.axes, o.outputs[0].rank))


class Squeeze(Op, name="squeeze"):
    """x without the axes ``axes``, which have size 1. ONNX Squeeze."""

    axes: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        axes = normal_axes(self.axes, x.rank)
        for axis in axes:
            same_dim(x.shape[axis], 1, f"squeeze: axis {axis} of {x}")
        return x.with_shape(d for i, d in enumerate(x.shape) if i not in axes)

    def torch(self, t: Any, x: Any) -> Any:
        return t.squeeze(x, normal_axes(self.axes, t.inputs[0].rank)) if self.axes else x

    def onnx(self, o: Any, x: str) -> str:
        return o.squeeze(x, normal_axes(self.axes, o.inputs[0].rank))


class Concat(Op, name="concat"):
    """One or more tensors of one dtype joined along an axis; their other sizes are equal. ONNX Concat."""

    axis: int

    def infer(self, *xs: Type) -> Type:
        self.require(len(xs) > 0, "needs at least one operand")
        first = xs[0]
        axis = normal_axis(self.axis, first.rank)
        shape = list(first.shape)
        for x in xs[1:]:
            self.require(x.dtype is first.dtype, f"operands must have one dtype, got {first} and {x}")
            self.require(x.rank == first.rank, f"operands must have one rank, got {first} and {x}")
            for i, dim in enumerate(x.shape):
                what = f"concat: axis {i} of {first} and {x}"
                shape[i] = shape[i] + dim if i == axis else same_dim(shape[i], dim, what)
        return first.with_shape(shape)

    def torch(self, t: Any, *xs: Any) -> Any:
        return t.cat(xs, self.axis)

    def onnx(self, o: Any, *xs: str) -> str:
        return xs[0] if len(xs) == 1 else o.Concat(*xs, axis=normal_axis(self.axis, o.inputs[0].rank))


class Split(Op, name="split"):
    """x cut along an axis into parts of the given sizes; a tuple of tensors. ONNX Split."""

    sizes: tuple[DimLike, ...]
    axis: int

    def infer(self, x: Type) -> tuple[Type, ...]:
        axis = normal_axis(self.axis, x.rank)
        self.require(len(self.sizes) > 0, "needs at least one size")
        total: DimLike = sum(self.sizes[1:], self.sizes[0])
        same_dim(x.shape[axis], total, f"split: axis {axis} of {x} into {list(self.sizes)}")
        return tuple(x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])) for size in self.sizes)

    def torch(self, t: Any, x: Any) -> Any:
        return t.split(x, list(t.shape(self.sizes)), self.axis) if len(self.sizes) > 1 else (x,)

    def onnx(self, o: Any, x: str) -> tuple[str, ...]:
        if len(self.sizes) == 1:
            return (x,)
        if len(set(self.sizes)) == 1 and isinstance(self.sizes[0], Dim):
            number = {"num_outputs": len(self.sizes)} if o.opset >= 18 else {}
            return o.Split(x, axis=normal_axis(self.axis, o.inputs[0].rank), outputs=len(self.sizes), **number)
        # The sizes as an input: Split-18 wants them or num_outputs, Split-13 knows no num_outputs.
        axis = normal_axis(self.axis, o.inputs[0].rank)
        return o.Split(x, o.shape(self.sizes), axis=axis, outputs=len(self.sizes))


class Slice(Op, name="slice"):
    """x from ``starts`` to before ``stops`` in ``steps``, one entry an axis, as Python slices. ONNX Slice.

    Negative integers count from the end, symbolic sizes from the start; a stop of None is the end,
    or before the start where the step is negative.
    """

    starts: tuple[DimLike, ...]
    stops: tuple[DimLike | None, ...]
    steps: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        lengths = len(self.starts), len(self.stops), len(self.steps)
        self.require(
            set(lengths) == {x.rank}, f"starts, stops and steps must have one entry an axis of {x}, got {lengths}"
        )
        self.require(0 not in self.steps, "a step must not be 0")
        entries = zip(x.shape, self.starts, self.stops, self.steps, strict=True)
        return x.with_shape(sliced_size(*entry) for entry in entries)

    def torch(self, t: Any, x: Any) -> Any:
        backward = [i for i, step in enumerate(self.steps) if step < 0]
        x = t.flip(x, backward) if backward else x
        index = []
        for start, stop, step in zip(self.starts, self.stops, self.steps, strict=True):
            first, last = t.size(start), None if stop is None else t.size(stop)
            if step < 0:
                # Counted from the other end, position p is position -1 - p.
                first, last = -1 - first, None if last is None else -1 - last
            index.append(slice(first, last, abs(step)))
        return x[tuple(index)] if index else x

    def onnx(self, o: Any, x: str) -> str:
        entries = list(zip(self.starts, self.stops, self.steps, strict=True))
        whole = [((0, None, 1), (0, size, 1)) for size in o.inputs[0].shape]
        axes = [i for i, entry in enumerate(entries) if entry not in whole[i]]
        if not axes:
            return x
        entries = [_onnx_entry(o.inputs[0].shape[i], *entries[i]) for i in axes]
        starts, stops, steps = (list(column) for column in zip(*entries, strict=True))
        return o.Slice(x, o.shape(starts), o.shape(stops), o.ints(axes), o.ints(steps))


def sliced_size(size: DimLike, start: DimLike, stop: DimLike | None, step: int) -> DimLike:
    """Length of ``range(size)[start:stop:step]``, exact for symbolic sizes too."""
    if isinstance(size, int) and not isinstance(start, Dim) and not isinstance(stop, Dim):
        return len(range(*slice(start, stop, step).indices(size)))
    if step < 0:
        # The same elements counted from the other end.
        return sliced_size(size, -1 - start, None if stop is None else -1 - stop, -step)
    low = _position(size, start)
    if stop is None and isinstance(start, int) and start < 0:
        return _rounded_up(minimum(-start, size), step)
    high = size if stop is None else minimum(_position(size, stop), size)
    # A position before the first element matters only where it is the lower one.
    return _rounded_up(maximum(high - maximum(low, 0), 0), step)


def _position(size: DimLike, index: DimLike) -> DimLike:
    return size + index if _from_end(index) else index


def _from_end(index: DimLike) -> bool:
    """Whether an index counts from the end: a negative number, or -1 - p for a symbolic p."""
    if isinstance(index, int):
        return index < 0
    return all(coefficient < 0 for _, coefficient in index.terms)


def _rounded_up(length: DimLike, step: int) -> DimLike:
    return floordiv(length + (step - 1), step)


def _onnx_entry(size: DimLike, start: DimLike, stop: DimLike | None, step: int) -> tuple[Any, Any, int]:
    if isinstance(size, int) and isinstance(start, int) and not isinstance(stop, Dim):
        # Exact positions: ONNX moves a start before the first element to it, Python does not.
        first, last, step = slice(start, stop, step).indices(size)
        empty = not range(first, last, step)
        return (0, 0, 1) if empty else (first, last if last >= 0 else FIRST, step)
    if stop is None:
        stop = LAST if step > 0 else FIRST
    return start, stop, step


class Tile(Op, name="tile"):
    """x repeated along each axis. ONNX Tile."""

    repeats: tuple[DimLike, ...]

    def infer(self, x: Type) -> Type:
        self.require(len(self.repeats) == x.rank, f"repeats {self.repeats} must have one entry an axis of {x}")
        return x.with_shape(d * r for d, r in zip(x.shape, self.repeats, strict=True))

    def torch(self, t: Any, x: Any) -> Any:
        return t.tile(x, t.shape(self.repeats))

    def onnx(self, o: Any, x: str) -> str:
        if all(r == 1 for r in self.repeats):
            return x
        return compute(o, "Tile", x, form=lambda x: o.Tile(x, o.shape(self.repeats)))


class Flip(Op, name="flip"):
    """x in reverse order along axes. ONNX Slice with step -1."""

    axes: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        normal_axes(self.axes, x.rank)
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return t.flip(x, self.axes)

    def onnx(self, o: Any, x: str) -> str:
        axes = normal_axes(self.axes, o.inputs[0].rank)
        if not axes:
            return x
        ends = [o.ints([v] * len(axes)) for v in (-1, FIRST)]
        return o.Slice(x, *ends, o.ints(axes), o.ints([-1] * len(axes)))


class Pad(Op, name="pad"):
    """x with ``(before, after)`` elements added along each axis; negative: removed ("constant" only).

    Modes: "constant" adds ``value``, "edge" repeats the outermost element, "reflect" mirrors
    without repeating it, "symmetric" mirrors with it, "wrap" continues from the other end.
    ONNX Pad where that has the mode, else Gather of computed positions.
    """

    pads: tuple[tuple[int, int], ...]
    mode: str = "constant"
    value: float = 0.0

    def infer(self, x: Type) -> Type:
        modes = ("constant", "reflect", "edge", "wrap", "symmetric")
        self.require(self.mode in modes, f"mode {self.mode!r} is not one of {', '.join(modes)}")
        self.require(len(self.pads) == x.rank, f"pads must have one pair an axis of {x}, got {self.pads}")
        for dim, (before, after) in zip(x.shape, self.pads, strict=True):
            self.require(self.mode == "constant" or min(before, after) >= 0, f"{self.mode} pads must not be negative")
            kept = dim + min(before, 0) + min(after, 0)
            self.require(isinstance(kept, Dim) or kept >= 0, f"pads {self.pads} remove more than {x} has")
            empty = dim == 0 and (before or after) and self.mode != "constant"
            self.require(not empty, f"{self.mode} padding of {x} has nothing to copy")
        return x.with_shape(d + before + after for d, (before, after) in zip(x.shape, self.pads, strict=True))

    def torch(self, t: Any, x: Any) -> Any:
        if self.mode == "constant":
            flat = [p for pair in reversed(self.pads) for p in pair]
            return t.nn.functional.pad(x, flat, value=_fill(self.value, t.inputs[0]))
        for axis in self._padded():
            before, after = self.pads[axis]
            size = t.size(t.inputs[0].shape[axis])
            positions = _sources(self.mode, t.arange(-before, size + after, device=x.device), size, t, t.sym_max)
            x = t.index_select(x, axis, positions)
        return x

    def onnx(self, o: Any, x: str) -> str:
        if not self._padded():
            return x
        if self.mode in ("constant", "edge", "reflect") and self._within(o.inputs[0]):
            flat = [before for before, _ in self.pads] + [after for _, after in self.pads]
            value = None
            if self.mode == "constant" and self.value:
                wide = kernel_dtype("Pad", o.inputs[0].dtype)
                value = o.like(_fill(self.value, o.inputs[0]), wide)
            return compute(o, "Pad", x, form=lambda x: o.Pad(x, o.ints(flat), value, mode=self.mode))
        for axis in self._padded():
            x = o.Gather(x, self._positions(o, axis), axis=axis)
        return x

    def _padded(self) -> list[int]:
        return [axis for axis, pair in enumerate(self.pads) if pair != (0, 0)]

    def _within(self, x: Type) -> bool:
        """Whether one mirroring is enough, which is all that ONNX Pad does."""
        return self.mode != "reflect" or all(
            isinstance(x.shape[axis], Dim) or max(self.pads[axis]) < x.shape[axis] for axis in self._padded()
        )

    def _positions(self, o: Any, axis: int) -> str:
        before, after = self.pads[axis]
        size = o.inputs[0].shape[axis]
        if isinstance(size, int):
            return o.ints(_sources(self.mode, np.arange(-before, size + after), size, np, max))
        scalar = o.squeeze(o.size(size), [0])
        positions = o.Range(o.like(-before, i64), o.Add(scalar, o.like(after, i64)), o.like(1, i64))
        if self.mode == "wrap":
            return o.Mod(positions, scalar)
        # Symmetric: positions run forth and back over twice the size.
        turned = o.Mod(positions, o.Mul(scalar, o.like(2, i64)))
        back = o.Sub(o.Sub(o.Mul(scalar, o.like(2, i64)), o.like(1, i64)), turned)
        return o.Min(turned, back)


def _sources(mode: str, positions: Any, size: Any, math: Any, larger: Any) -> Any:
    """Where each position of the padded axis (0: the first element of x) is copied from; ``math`` is numpy or torch."""
    if mode == "edge":
        return math.clip(positions, 0, size - 1)
    if mode == "wrap":
        return positions % size
    if mode == "symmetric":
        # Distance from the middle of the mirror, in half elements, which are odd.
        end = 2 * size - 1
        return (end - math.abs(positions % (2 * size) * 2 - end)) // 2
    end = size - 1
    return end - math.abs(positions % larger(2 * end, 1) - end)


def _fill(value: float, x: Type) -> Any:
    if x.dtype.is_float:
        return float(value)
    return bool(value) if x.dtype.is_bool else int(value)

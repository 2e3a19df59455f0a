"""Reductions over axes, arg-extrema and cumulative operators.

A reduction over ``axes`` (None: all) drops them, or keeps them with size 1 under ``keepdims``.
An integer sum or product that overflows is undefined: torch wraps around, ONNX Runtime saturates.
"""

from __future__ import annotations

from functools import partial
from typing import Any as Dynamic
from typing import ClassVar

import numpy as np

from kcompile.ir.graph import Graph, input_value
from kcompile.ir.op import Op, Value
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.ir.types import DType, Type, bool_, i32, i64
from kcompile.operators.arithmetic import Maximum, Multiply
from kcompile.operators.kernels import compute, torch_compute


class _Reduction(Op):
    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    onnx_type: ClassVar[str] = ""
    onnx_axes_since: ClassVar[int] = 18
    needs_elements: ClassVar[bool] = False

    def check(self, x: Type) -> None:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")

    def infer(self, x: Type) -> Type:
        self.check(x)
        axes = normal_axes(self.axes, x.rank)
        if self.needs_elements:
            self.require(all(x.shape[a] != 0 for a in axes), f"{x} has no elements along axes {list(axes)}")
        if self.keepdims:
            return x.with_shape(1 if i in axes else d for i, d in enumerate(x.shape))
        return x.with_shape(d for i, d in enumerate(x.shape) if i not in axes)

    def torch(self, t: Dynamic, x: Dynamic) -> Dynamic:
        axes = normal_axes(self.axes, t.inputs[0].rank)
        # torch reads an empty tuple of axes as all of them.
        return torch_compute(t, lambda x: self.reduce(t, x, axes), x) if axes else x

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        raise NotImplementedError

    def onnx(self, o: Dynamic, x: str) -> str:
        axes = normal_axes(self.axes, o.inputs[0].rank)
        if not axes:
            return x
        return compute(o, self.onnx_type, x, form=lambda x: self.node(o, self.onnx_type, x, axes))

    def node(self, o: Dynamic, onnx_type: str, x: str, axes: tuple[int, ...]) -> str:
        return o.reduce(onnx_type, x, axes, self.keepdims, 13 if onnx_type == "ReduceSum" else 18)


class Sum(_Reduction, name="sum"):
    """The sum; 0 of no elements. ONNX ReduceSum."""

    onnx_type = "ReduceSum"

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.sum(x, axes, self.keepdims, dtype=x.dtype)


class Mean(_Reduction, name="mean"):
    """The arithmetic mean of floats; NaN of no elements (0 in ONNX Runtime).

    ONNX ReduceMean; over all of an image's pixels GlobalAveragePool, which keeps ONNX Runtime's
    blocked layout of convolutions.
    """

    onnx_type = "ReduceMean"

    def check(self, x: Type) -> None:
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.mean(x, axes, self.keepdims)

    def onnx(self, o: Dynamic, x: str) -> str:
        rank, pixels = o.inputs[0].rank, o.inputs[0].shape[2:]
        image = rank > 3 and self.keepdims and normal_axes(self.axes, rank) == tuple(range(2, rank))
        if image and o.inputs[0].dtype.name == "f32" and all(isinstance(d, int) and d > 0 for d in pixels):
            pooled: str = o.GlobalAveragePool(x)
            return pooled
        return super().onnx(o, x)


class Max(_Reduction, name="max"):
    """The largest element; NaN where there is one (ONNX Runtime may pass over it). ONNX ReduceMax."""

    onnx_type = "ReduceMax"
    needs_elements = True

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.amax(x, axes, self.keepdims)


class Min(_Reduction, name="min"):
    """The smallest element; NaN where there is one (ONNX Runtime may pass over it). ONNX ReduceMin."""

    onnx_type = "ReduceMin"
    needs_elements = True

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.amin(x, axes, self.keepdims)


class Product(_Reduction, name="product"):
    """The product; 1 of no elements. ONNX ReduceProd."""

    onnx_type = "ReduceProd"

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        # torch multiplies along one axis at a time; from the last, so that the others keep their place.
        for axis in reversed(axes):
            x = t.prod(x, axis, self.keepdims, dtype=x.dtype)
        return x


class LogSumExp(_Reduction, name="log_sum_exp"):
    """log(sum(exp(x))) without overflow. ONNX ReduceLogSumExp."""

    onnx_type = "ReduceLogSumExp"

    def check(self, x: Type) -> None:
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.logsumexp(x, axes, self.keepdims)


class _Boolean(_Reduction):
    def check(self, x: Type) -> None:
        self.require(x.dtype.is_bool, f"x must be a bool tensor, got {x}")

    def count(self, o: Dynamic, x: str, axes: tuple[int, ...]) -> str:
        # A count and not ReduceMax, which has no bool kernel before opset 20 and no answer for no elements.
        return self.node(o, "ReduceSum", o.cast(x, i32), axes)


class Any(_Boolean, name="any"):
    """Whether any element is true; false of no elements. ONNX ReduceSum of int32, as bool."""

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.any(x, axes, self.keepdims)

    def onnx(self, o: Dynamic, x: str) -> str:
        axes = normal_axes(self.axes, o.inputs[0].rank)
        return o.cast(self.count(o, x, axes), bool_) if axes else x


class All(_Boolean, name="all"):
    """Whether all elements are true; true of no elements. ONNX: no false one, counted with ReduceSum."""

    def reduce(self, t: Dynamic, x: Dynamic, axes: tuple[int, ...]) -> Dynamic:
        return t.all(x, axes, self.keepdims)

    def onnx(self, o: Dynamic, x: str) -> str:
        axes = normal_axes(self.axes, o.inputs[0].rank)
        return o.Equal(self.count(o, o.Not(x), axes), o.like(0, i32)) if axes else x


class _ArgReduction(Op):
    axis: int
    keepdims: bool = False

    torch_name: ClassVar[str] = ""
    onnx_type: ClassVar[str] = ""

    def infer(self, x: Type) -> Type:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")
        self.require(x.rank > 0, "x must have an axis, got a scalar")
        axis = normal_axis(self.axis, x.rank)
        self.require(x.shape[axis] != 0, f"{x} has no elements along axis {axis}")
        shape = [1 if i == axis else d for i, d in enumerate(x.shape) if i != axis or self.keepdims]
        return Type(i64, shape)

    def torch(self, t: Dynamic, x: Dynamic) -> Dynamic:
        return torch_compute(t, lambda x: getattr(t, self.torch_name)(x, self.axis, self.keepdims), x, back=False)

    def onnx(self, o: Dynamic, x: str) -> str:
        axis = normal_axis(self.axis, o.inputs[0].rank)
        form = partial(o.node, self.onnx_type, axis=axis, keepdims=int(self.keepdims))
        return compute(o, self.onnx_type, x, back=False, form=form)


class ArgMax(_ArgReduction, name="arg_max"):
    """Index of the largest element along an axis, the first of equal ones. ONNX ArgMax."""

    torch_name = "argmax"
    onnx_type = "ArgMax"


class ArgMin(_ArgReduction, name="arg_min"):
    """Index of the smallest element along an axis, the first of equal ones. ONNX ArgMin."""

    torch_name = "argmin"
    onnx_type = "ArgMin"


class _Cumulative(Op):
    axis: int

    def infer(self, x: Type) -> Type:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")
        self.require(x.rank > 0, "x must have an axis, got a scalar")
        normal_axis(self.axis, x.rank)
        return x

    def torch(self, t: Dynamic, x: Dynamic) -> Dynamic:
        return torch_compute(t, partial(self.apply, t), x)

    def apply(self, t: Dynamic, x: Dynamic) -> Dynamic:
        raise NotImplementedError


class CumulativeSum(_Cumulative, name="cumulative_sum"):
    """Sums of the elements up to each (before each: exclusive; from each to the end: reverse). ONNX CumSum."""

    exclusive: bool = False
    reverse: bool = False

    def apply(self, t: Dynamic, x: Dynamic) -> Dynamic:
        axis = normal_axis(self.axis, t.inputs[0].rank)
        x = t.flip(x, (axis,)) if self.reverse else x
        if self.exclusive:
            before = (slice(None),) * axis
            x = t.cat([t.zeros_like(x[(*before, slice(None, 1))]), x[(*before, slice(None, -1))]], axis)
        x = t.cumsum(x, axis, dtype=x.dtype)
        return t.flip(x, (axis,)) if self.reverse else x

    def onnx(self, o: Dynamic, x: str) -> str:
        axis = o.array(normal_axis(self.axis, o.inputs[0].rank), dtype=i64)
        flags = {"exclusive": int(self.exclusive), "reverse": int(self.reverse)}
        return compute(o, "CumSum", x, form=lambda x: o.CumSum(x, axis, **flags))


class _Scanned(_Cumulative):
    """Runs a binary operator along an axis; ONNX has no operator for it, so a Scan (of one step or more)."""

    def start(self, dtype: DType) -> Dynamic:
        """The operator's neutral element."""
        raise NotImplementedError

    def step(self, x: Value, y: Value) -> Value:
        raise NotImplementedError

    def onnx(self, o: Dynamic, x: str) -> str:
        type = o.inputs[0]
        axis = normal_axis(self.axis, type.rank)
        if type.shape[axis] == 0:
            return x
        part = type.with_shape(d for i, d in enumerate(type.shape) if i != axis)
        state, element = input_value("state", part), input_value("element", part)
        after = self.step(state, element)
        body = o.region(Graph("step", [state, element], [after, after], ["after", "result"]), "step")
        neutral = o.like(self.start(type.dtype), type.dtype)
        start = compute(o, "Expand", neutral, form=lambda v: o.Expand(v, o.shape(part.shape)))
        # Along axis 0 and transposed outside: a Scan along another axis dies of a tensor without elements.
        perm = (axis, *(i for i in range(type.rank) if i != axis))
        back = [perm.index(i) for i in range(type.rank)]
        first = x if axis == 0 else o.Transpose(x, perm=list(perm))
        result = o.Scan(start, first, outputs=2, body=body, num_scan_inputs=1)[1]
        return result if axis == 0 else o.Transpose(result, perm=back)


class CumulativeProduct(_Scanned, name="cumulative_product"):
    """Products of the elements up to each along an axis. ONNX Scan."""

    def apply(self, t: Dynamic, x: Dynamic) -> Dynamic:
        return t.cumprod(x, self.axis, dtype=x.dtype)

    def start(self, dtype: DType) -> Dynamic:
        return 1

    def step(self, x: Value, y: Value) -> Value:
        return Multiply()(x, y)


class CumulativeMax(_Scanned, name="cumulative_max"):
    """The largest of the elements up to each along an axis. ONNX Scan."""

    def apply(self, t: Dynamic, x: Dynamic) -> Dynamic:
        return t.cummax(x, self.axis)[0]

    def start(self, dtype: DType) -> Dynamic:
        return -np.inf if dtype.is_float else np.iinfo(dtype.numpy).min

    def step(self, x: Value, y: Value) -> Value:
        return Maximum()(x, y)

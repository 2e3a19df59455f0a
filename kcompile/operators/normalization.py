"""Normalisation by statistics of the batch, of the features or of groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.ir import Op, Type
from kcompile.ir.dims import Dim
from kcompile.ir.shapes import normal_axes, normal_axis, same_dim


def _parameters(op: Any, x: Type, shape: Sequence[Any], **parameters: Type | None) -> None:
    """Require each parameter that is present to have x's float dtype and the given shape."""
    op.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
    for name, type in parameters.items():
        if type is not None:
            op.require(type.dtype is x.dtype, f"{name} must have the dtype of x, {x.dtype}, got {type}")
            op.require(type.rank == len(shape), f"{name} must have the shape {list(shape)}, got {type}")
            for a, b in zip(shape, type.shape, strict=True):
                same_dim(a, b, f"{op.name}, {name} {type} against x {x}")


def _along(size: Any, axis: int, rank: int) -> list[Any]:
    """A shape that broadcasts a vector along one axis."""
    return [size if i == axis else 1 for i in range(rank)]


def _trailing(op: Any, x: Type) -> tuple[int, ...]:
    """The normalised axes, which must be the last ones."""
    axes = normal_axes(op.axes, x.rank)
    op.require(bool(axes), "axes must name at least one axis")
    op.require(axes == tuple(range(axes[0], x.rank)), f"axes {op.axes} must be the last ones of {x}")
    return axes


class BatchNorm(Op, name="batch_norm"):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, each a vector along the axis; ONNX BatchNormalization."""

    epsilon: float = 1e-3
    axis: int = -1

    def infer(self, x: Type, gamma: Type | None, beta: Type | None, mean: Type, variance: Type) -> Type:
        size = x.shape[normal_axis(self.axis, x.rank)]
        _parameters(self, x, (size,), gamma=gamma, beta=beta, mean=mean, variance=variance)
        return x

    def torch(self, t: Any, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        rank = t.inputs[0].rank
        axis = normal_axis(self.axis, rank)
        if rank == 1:
            x = x[None]
        elif axis != 1:
            x = t.movedim(x, axis, 1)
        y = t.batch_norm(x, gamma, beta, mean, variance, False, 0.0, self.epsilon, True)
        if rank == 1:
            return y[0]
        return y if axis == 1 else t.movedim(y, 1, axis)

    def onnx(self, o: Any, x: str, gamma: str | None, beta: str | None, mean: str, variance: str) -> str:
        type = o.inputs[0]
        axis = normal_axis(self.axis, type.rank)
        # Epsilon is a float32 attribute of the operator, so double keeps its digits in Mul and Add.
        if axis == 1 and isinstance(type.shape[1], int) and type.dtype.name != "f64":
            size = type.shape[1]
            gamma = gamma or o.array(np.ones(size), "ones", type.dtype)
            beta = beta or o.array(np.zeros(size), "zeros", type.dtype)
            return o.BatchNormalization(x, gamma, beta, mean, variance, epsilon=float(self.epsilon))
        scale, shift = self._scale_and_shift(o, gamma, beta, mean, variance)
        if axis != type.rank - 1:
            ones = o.ints([1] * (type.rank - 1 - axis))
            target = o.Concat(o.ints([-1]), ones, axis=0)
            scale, shift = o.Reshape(scale, target), o.Reshape(shift, target)
        return o.Add(o.Mul(x, scale), shift)

    def _scale_and_shift(
        self, o: Any, gamma: str | None, beta: str | None, mean: str, variance: str
    ) -> tuple[str, str]:
        """x * scale + shift is the result; computed here where everything is known."""
        dtype = o.inputs[0].dtype
        known = [o.value_of(name) for name in (mean, variance, *filter(None, (gamma, beta)))]
        if all(a is not None for a in known):
            m, v, *rest = (a.astype(np.float64) for a in known)
            factor = (1.0 if gamma is None else rest.pop(0)) / np.sqrt(v + self.epsilon)
            shift = (0.0 if beta is None else rest.pop(0)) - m * factor
            return o.array(factor, "scale", dtype), o.array(shift, "shift", dtype)
        root = o.Sqrt(o.Add(variance, o.like(self.epsilon, dtype)))
        scale = o.Reciprocal(root) if gamma is None else o.Div(gamma, root)
        moved = o.Mul(mean, scale)
        return scale, o.Neg(moved) if beta is None else o.Sub(beta, moved)


class BatchNormTraining(Op, name="batch_norm_training"):
    """BatchNorm with x's own statistics: (y, mean [C], biased variance [C]) over all axes but one.

    Gradients flow through y only: mean and variance are for moving averages.
    """

    epsilon: float = 1e-3
    axis: int = -1

    def infer(self, x: Type, gamma: Type | None = None, beta: Type | None = None) -> tuple[Type, Type, Type]:
        size = x.shape[normal_axis(self.axis, x.rank)]
        _parameters(self, x, (size,), gamma=gamma, beta=beta)
        return x, Type(x.dtype, (size,)), Type(x.dtype, (size,))

    def torch(self, t: Any, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        rank = t.inputs[0].rank
        axis = normal_axis(self.axis, rank)
        moved = x if axis == 1 else t.movedim(x, axis, 1)
        # The kernel has the statistics already: reducing x once more would take ten times as long.
        results = t.native_batch_norm(moved, gamma, beta, None, None, True, 0.0, self.epsilon)
        y, mean, reciprocal = results[0], results[1], results[2]
        variance = t.clamp(1 / (reciprocal * reciprocal) - self.epsilon, min=0)
        return y if axis == 1 else t.movedim(y, 1, axis), mean, variance

    def onnx(self, o: Any, x: str, gamma: str | None = None, beta: str | None = None) -> tuple[str, str, str]:
        type = o.inputs[0]
        axis = normal_axis(self.axis, type.rank)
        others = [i for i in range(type.rank) if i != axis]
        mean = o.reduce("ReduceMean", x, others, keepdims=True)
        centred = o.Sub(x, mean)
        variance = o.reduce("ReduceMean", o.Mul(centred, centred), others, keepdims=True)
        y = o.Div(centred, o.Sqrt(o.Add(variance, o.like(self.epsilon, type.dtype))))
        target = o.ints(_along(-1, axis, type.rank))
        if gamma is not None:
            y = o.Mul(y, o.Reshape(gamma, target))
        if beta is not None:
            y = o.Add(y, o.Reshape(beta, target))
        return y, o.squeeze(mean, others), o.squeeze(variance, others)


def _scale(o: Any, gamma: str | None, shape: Sequence[Any]) -> str:
    """Gamma, or ones in its place where the ONNX operator must have one."""
    if gamma is not None:
        return gamma
    dtype = o.inputs[0].dtype
    if any(isinstance(d, Dim) for d in shape):
        return o.Expand(o.like(1, dtype), o.shape(shape))
    return o.array(np.ones(shape), "ones", dtype)


class LayerNorm(Op, name="layer_norm"):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axes (Ba et al., 2016).

    ONNX LayerNormalization.
    """

    epsilon: float = 1e-3
    axes: tuple[int, ...] = (-1,)

    def infer(self, x: Type, gamma: Type | None = None, beta: Type | None = None) -> Type:
        axes = _trailing(self, x)
        _parameters(self, x, x.shape[axes[0] :], gamma=gamma, beta=beta)
        return x

    def torch(self, t: Any, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        shape = t.inputs[0].shape[-len(self.axes) :]
        return t.nn.functional.layer_norm(x, t.shape(shape), gamma, beta, self.epsilon)

    def onnx(self, o: Any, x: str, gamma: str | None = None, beta: str | None = None) -> str:
        count = len(self.axes)
        scale = _scale(o, gamma, o.inputs[0].shape[-count:])
        return o.LayerNormalization(x, scale, beta, axis=-count, epsilon=float(self.epsilon))


class RmsNorm(Op, name="rms_norm"):
    """x / sqrt(mean(x^2) + epsilon) * gamma over the last axes (Zhang and Sennrich, 2019); ONNX RMSNormalization."""

    epsilon: float = 1e-6
    axes: tuple[int, ...] = (-1,)

    def infer(self, x: Type, gamma: Type | None = None) -> Type:
        axes = _trailing(self, x)
        _parameters(self, x, x.shape[axes[0] :], gamma=gamma)
        return x

    def torch(self, t: Any, x: Any, gamma: Any = None) -> Any:
        shape = t.inputs[0].shape[-len(self.axes) :]
        return t.nn.functional.rms_norm(x, t.shape(shape), gamma, self.epsilon)

    def onnx(self, o: Any, x: str, gamma: str | None = None) -> str:
        count, type = len(self.axes), o.inputs[0]
        if o.has("RMSNormalization") and type.dtype.name != "f64":
            scale = _scale(o, gamma, type.shape[-count:])
            return o.RMSNormalization(x, scale, axis=-count, epsilon=float(self.epsilon))
        square = o.reduce("ReduceMean", o.Mul(x, x), range(-count, 0), keepdims=True)
        y = o.Div(x, o.Sqrt(o.Add(square, o.like(self.epsilon, type.dtype))))
        return y if gamma is None else o.Mul(y, gamma)


class GroupNorm(Op, name="group_norm"):
    """Normalises each sample's groups of channels together (Wu and He, 2018), then gamma [C] and beta [C].

    In ONNX Reshape and InstanceNormalization: GroupNormalization has no CPU kernel.
    """

    groups: int
    epsilon: float = 1e-3
    axis: int = -1

    def infer(self, x: Type, gamma: Type | None = None, beta: Type | None = None) -> Type:
        axis = normal_axis(self.axis, x.rank)
        self.require(axis > 0, "axis 0 is the batch")
        size = x.shape[axis]
        _parameters(self, x, (size,), gamma=gamma, beta=beta)
        fits = isinstance(size, int) and self.groups > 0 and size % self.groups == 0
        self.require(fits, f"{size} channels don't divide into {self.groups} groups")
        return x

    def torch(self, t: Any, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        axis = normal_axis(self.axis, t.inputs[0].rank)
        moved = x if axis == 1 else t.movedim(x, axis, 1)
        # Not torch.nn.functional.group_norm: that refuses groups of one number.
        # torch 2.13 can't differentiate a group norm that has a shift and no scale: the shift is added after it.
        late = gamma is None and beta is not None
        y = t.group_norm(moved, self.groups, gamma, None if late else beta, self.epsilon, True)
        if late:
            y = y + t.reshape(beta, (-1, *(1,) * (t.inputs[0].rank - 2)))
        return y if axis == 1 else t.movedim(y, 1, axis)

    def onnx(self, o: Any, x: str, gamma: str | None = None, beta: str | None = None) -> str:
        type = o.inputs[0]
        axis, rank = normal_axis(self.axis, type.rank), type.rank
        forward = [0, axis, *(i for i in range(1, rank) if i != axis)]
        moved = x if axis == 1 else o.Transpose(x, perm=forward)
        shape = type.with_shape(type.shape[i] for i in forward)
        grouped = o.reshape(
            moved, shape, (shape.shape[0], self.groups, shape.with_shape(shape.shape[1:]).size // self.groups)
        )
        y = o.Reshape(self._normalised(o, grouped), o.shape(shape.shape))
        if axis != 1:
            y = o.Transpose(y, perm=[forward.index(i) for i in range(rank)])
        target = o.ints(_along(-1, axis, rank)[axis:])
        if gamma is not None:
            y = o.Mul(y, o.Reshape(gamma, target))
        return y if beta is None else o.Add(y, o.Reshape(beta, target))

    def _normalised(self, o: Any, grouped: str) -> str:
        """[N, groups, cells] with mean 0 and variance 1 along the cells."""
        dtype = o.inputs[0].dtype
        if dtype.name == "f64":  # InstanceNormalization has no double kernel
            centred = o.Sub(grouped, o.reduce("ReduceMean", grouped, [2], keepdims=True))
            variance = o.reduce("ReduceMean", o.Mul(centred, centred), [2], keepdims=True)
            return o.Div(centred, o.Sqrt(o.Add(variance, o.like(self.epsilon, dtype))))
        ones, zeros = (o.array(np.full(self.groups, v), "groups", dtype) for v in (1.0, 0.0))
        return o.InstanceNormalization(grouped, ones, zeros, epsilon=float(self.epsilon))

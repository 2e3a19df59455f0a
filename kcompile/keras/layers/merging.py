"""Layers of several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.keras import ops
from kcompile.keras.layers.base import Layer


class Merge(Layer):
    """Combines a list of tensors two by two."""

    combine: Callable[[Any, Any], Any]

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        if (
            not isinstance(input_shape, (list, tuple))
            or not input_shape
            or not isinstance(input_shape[0], (tuple, list))
        ):
            raise ValueError(
                f"A merge layer should be called on a list of inputs. Received: input_shape={input_shape} (not a list "
                "of shapes)"
            )
        if len(input_shape) < 1:
            raise ValueError(
                f"A merge layer should be called on a list of at least 1 input. Received {len(input_shape)}"
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        inputs = self._same_rank(list(inputs))
        total = inputs[0]
        for x in inputs[1:]:
            total = type(self).combine(total, x)
        return total

    def _same_rank(self, inputs: list[Any]) -> list[Any]:
        """Lower ranks get axes of size 1 behind the batch axis."""
        rank = max(ops.ndim(x) for x in inputs)
        made = []
        for x in inputs:
            while ops.ndim(x) < rank:
                x = ops.expand_dims(x, 1)
            made.append(x)
        return made

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not isinstance(mask, (list, tuple)) or any(m is None for m in mask):
            return None
        joined = mask[0]
        for m in mask[1:]:
            joined = ops.logical_or(joined, m)
        return joined


class Add(Merge):
    """The sum of the inputs."""

    combine = staticmethod(ops.add)


class Subtract(Merge):
    """The first of two inputs less the second."""

    combine = staticmethod(ops.subtract)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError(f"A `Subtract` layer should be called on exactly 2 inputs. Received: {input_shape}")


class Multiply(Merge):
    """The product of the inputs."""

    combine = staticmethod(ops.multiply)


class Maximum(Merge):
    """The largest of the inputs."""

    combine = staticmethod(ops.maximum)


class Minimum(Merge):
    """The smallest of the inputs."""

    combine = staticmethod(ops.minimum)


class Average(Merge):
    """The mean of the inputs."""

    combine = staticmethod(ops.add)

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) / len(inputs)


class Concatenate(Merge):
    """The inputs joined along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        ranks = {len(s) for s in input_shape}
        rests = {tuple(d for i, d in enumerate(s) if i != self.axis % len(s) and i) for s in input_shape}
        known = [r for r in rests if None not in r]
        if len(ranks) > 1 or len(set(known)) > 1:
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the concatenation axis. "
                f"Received: input_shape={input_shape}"
            )

    def call(self, inputs: Any) -> Any:
        return ops.concatenate(list(inputs), axis=self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not isinstance(mask, (list, tuple)) or all(m is None for m in mask):
            return None
        rank = ops.ndim(inputs[0])
        parts = []
        for x, m in zip(inputs, mask, strict=True):
            m = ops.ones(ops.shape(x)[:2], "bool") if m is None else m
            while ops.ndim(m) < rank:
                m = ops.expand_dims(m, -1)
            parts.append(ops.broadcast_to(m, ops.shape(x)))
        return ops.any(ops.concatenate(parts, axis=self.axis), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _function(layer: type[Layer], doc: str) -> Callable[..., Any]:
    def function(inputs: Any, **kwargs: Any) -> Any:
        return layer(**kwargs)(inputs)

    function.__name__ = function.__qualname__ = layer.__name__.lower()
    function.__doc__ = doc
    return function


add = _function(Add, "The sum of the inputs.")
subtract = _function(Subtract, "The first of two inputs less the second.")
multiply = _function(Multiply, "The product of the inputs.")
maximum = _function(Maximum, "The largest of the inputs.")
minimum = _function(Minimum, "The smallest of the inputs.")
average = _function(Average, "The mean of the inputs.")
concatenate = _function(Concatenate, "The inputs joined along an axis.")

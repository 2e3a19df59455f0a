"""`Dot`: the product of two tensors along axes."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.layers.merging import Merge


class Dot(Merge):
    """Sums of products along one axis of each of two inputs [N, ...]; cosines where ``normalize``."""

    combine = staticmethod(ops.multiply)

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axes, (int, list, tuple)):
            raise TypeError(f"Invalid type for argument `axes`: it should be a list or an int. Received: axes={axes}")
        if isinstance(axes, (list, tuple)) and len(axes) != 2:
            raise ValueError(
                f"Invalid format for argument `axes`: it should contain two elements. Received: axes={axes}"
            )
        self.axes, self.normalize = axes, normalize

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError(
                f"A `Dot` layer should be called on a list of 2 inputs. Received: input_shape={input_shape}"
            )
        first, second = self._axes(len(input_shape[0]), len(input_shape[1]))
        a, b = input_shape[0][first], input_shape[1][second]
        if None not in (a, b) and a != b:
            raise ValueError(f"Incompatible input shapes: axis values {a} (at axis {first}) != {b} (at axis {second}).")

    def _axes(self, first: int, second: int) -> tuple[int, int]:
        a, b = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        return a % first, b % second

    def call(self, inputs: Any) -> Any:
        x, y = inputs
        ranks = ops.ndim(x), ops.ndim(y)
        a, b = self._axes(*ranks)
        if self.normalize:
            x, y = ops.normalize(x, axis=a), ops.normalize(y, axis=b)
        letters = iter("bcdefghijklmnopqrs")
        left = ["a" if i == 0 else next(letters) for i in range(ranks[0])]
        right = ["a" if i == 0 else next(letters) for i in range(ranks[1])]
        right[b] = left[a]
        out = [c for c in left if c != left[a]] + [c for c in right[1:] if c != left[a]]
        result = ops.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", x, y)
        return ops.expand_dims(result, -1) if len(out) == 1 else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """The product of two tensors along axes."""
    return Dot(axes, **kwargs)(inputs)

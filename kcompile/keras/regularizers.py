"""Penalties on weights and activations."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.saving.lookup import find
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object


class Regularizer:
    """Called with a tensor, gives the penalty, a scalar."""

    def __call__(self, x: Any) -> Any:
        return 0.0

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{self} does not implement get_config()")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


def _check(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"Invalid value for argument {name}: expected a non-negative float. Received: {value}")
    return float(value)


class L1L2(Regularizer):
    """l1 * sum|x| + l2 * sum(x^2)."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = _check(l1 or 0.0, "l1"), _check(l2 or 0.0, "l2")

    def __call__(self, x: Any) -> Any:
        penalty: Any = 0.0
        if self.l1:
            penalty = ops.multiply(self.l1, ops.sum(ops.absolute(x)))
        if self.l2:
            penalty = ops.add(penalty, ops.multiply(self.l2, ops.sum(ops.square(x))))
        return ops.convert_to_tensor(penalty)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """l1 * sum|x|."""

    def __init__(self, l1: float = 0.01):
        self.l1 = _check(0.01 if l1 is None else l1, "l1")

    def __call__(self, x: Any) -> Any:
        return ops.multiply(self.l1, ops.sum(ops.absolute(x)))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """l2 * sum(x^2)."""

    def __init__(self, l2: float = 0.01):
        self.l2 = _check(0.01 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Any:
        return ops.multiply(self.l2, ops.sum(ops.square(x)))

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """factor times the mean |cosine| between pairs of rows (or columns) of a matrix."""

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        if mode not in ("rows", "columns"):
            raise ValueError(f"Invalid value for argument `mode`: expected 'rows' or 'columns'. Received: mode={mode}")
        self.factor, self.mode = _check(factor, "factor"), mode

    def __call__(self, x: Any) -> Any:
        if ops.ndim(x) != 2:
            raise ValueError(f"Inputs to OrthogonalRegularizer must have rank 2. Received: inputs.shape={ops.shape(x)}")
        rows = ops.normalize(x if self.mode == "rows" else ops.transpose(x), axis=1)
        count = ops.shape(rows)[0]
        cosines = ops.absolute(ops.matmul(rows, ops.transpose(rows)))
        pairs = ops.sum(cosines * (1.0 - ops.eye(count, dtype=rows.dtype)))
        return self.factor * 0.5 * pairs / (count * (count - 1.0) / 2.0)

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
CLASSES: tuple[type[Regularizer], ...] = (L1, L2, L1L2, OrthogonalRegularizer)


def get(identifier: Any) -> Any:
    """The regulariser for a name, a config, a class or a callable; None stays None."""
    return find(identifier, CLASSES, "regularizer", {"l1": L1, "l2": L2, "l1_l2": L1L2})


def serialize(regularizer: Regularizer) -> dict[str, Any]:
    """The config of a regulariser."""
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regulariser of a config."""
    return deserialize_keras_object(config, custom_objects)

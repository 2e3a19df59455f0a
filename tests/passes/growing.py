"""What a random graph grows with: values so far, inputs, weights, and the source of chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kcompile.errors import InferError
from kcompile.ir import Graph, Type, Value, constant, input_value, symbol, weight
from kcompile.ir.dims import evaluate
from kcompile.ir.types import f32

N, T = symbol("N"), symbol("T")
SIZES = ({"N": 1, "T": 6}, {"N": 3, "T": 9})
MOST_ELEMENTS = 4000


class Grower:
    """The state of a graph that grows: values so far, inputs, weights, and the source of chance."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[str, Value] = {}
        self.weights: dict[str, np.ndarray] = {}
        shape = self.pick((N, 6), (N, 4, 6), (N, T, 4), (N, 6, 5, 4), (N, 4, 4, 2), (N, T, 3))
        self.values = [self.input("x", Type(f32, shape))]

    # ---- chance

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def axis(self, v: Value) -> int:
        return int(self.rng.integers(v.type.rank)) - (v.type.rank if self.chance(0.3) else 0)

    # ---- leaves

    def input(self, name: str, type: Type) -> Value:
        return self.inputs.setdefault(f"{name}{type}", input_value(f"{name}{len(self.inputs)}", type))

    def weight(self, *shape: int, positive: bool = False, scale: float = 1.0) -> Value:
        label = f"layer{len(self.weights)}/w"
        data = self.rng.uniform(0.5, 1.5, shape) if positive else self.rng.normal(0, scale, shape)
        self.weights[label] = data.astype(np.float32)
        return weight(label, Type(f32, shape))

    def kernel(self, *shape: int) -> Value:
        return self.weight(*shape, scale=1 / np.sqrt(np.prod(shape[:-1])))

    def maybe(self, *shape: int, **kw) -> Value | None:
        return self.weight(*shape, **kw) if self.chance(0.6) else None

    def number(self, *values: float) -> Value:
        return constant(np.float32(self.pick(*values)))

    # ---- growing

    def fits(self, v: Value) -> bool:
        """Whether no size is 0 and the tensor is small."""
        for sizes in SIZES:
            shape = [evaluate(d, sizes) for d in v.type.shape]
            if min(shape, default=1) < 1 or np.prod(shape, dtype=int) > MOST_ELEMENTS:
                return False
        return v.type.rank < 6

    def grow(self, steps: Sequence[Callable]) -> None:
        """One step, drawn from ``steps``; none where it doesn't fit what is there."""
        step = steps[self.rng.integers(len(steps))]
        base = self.values[-1] if self.chance(0.9) else self.pick(*self.values)
        try:
            made = step(self, base)
        except (InferError, Unfit):
            return
        self.values += [
            v for v in (made if isinstance(made, tuple) else (made,)) if self.fits(v) and v.type.dtype is f32
        ]

    def graph(self, name: str) -> Graph:
        outputs = [self.values[-1], *(self.pick(*self.values) for _ in range(self.pick(0, 0, 1)))]
        outputs = list(dict.fromkeys(outputs))
        return Graph(name, list(self.inputs.values()), outputs, weights=self.weights)


class Unfit(Exception):  # noqa: N818
    """Raised by a step that has nothing to do with such a value."""


def need(condition: bool) -> None:
    if not condition:
        raise Unfit


def last(v: Value) -> int:
    """The size of the last axis, which has to be known."""
    need(v.type.rank > 1 and isinstance(v.type.shape[-1], int))
    return v.type.shape[-1]

"""Seeds: where unseeded initialisers and generators get theirs, and `SeedGenerator`."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from kcompile.keras import backend, naming
from kcompile.tracing.scope import current_tracer, tracing
from kcompile.tracing.variable import Variable


def make_seed() -> int:
    """A seed from Python's own generator, which `set_random_seed` makes reproducible."""
    return python_random.randint(1, int(1e9))


_LAST_SEED: list[int] = []


def last_seed() -> int | None:
    """What `set_random_seed` was last called with, for reports."""
    return _LAST_SEED[-1] if _LAST_SEED else None


def set_random_seed(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators; torch's at the latest when it is loaded."""
    if not isinstance(seed, int):
        raise ValueError(f"Expected `seed` argument to be an integer. Received: seed={seed} (of type {type(seed)})")
    _LAST_SEED[:] = [seed]
    python_random.seed(seed)
    np.random.seed(seed)
    backend.seed_engine(seed)


class SeedGenerator:
    """Seeds for random functions, one after the other: state int64 [2] of seed and counter.

    Without a seed, draws come from torch's own generator, which is faster and which
    `set_random_seed` makes reproducible.
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any):
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
        if seed is not None and (not isinstance(seed, int) or seed < 0):
            raise ValueError(f"Argument `seed` must be a non-negative integer. Received: seed={seed}")
        self.name = name or naming.auto_name("seed_generator")
        self.seed = seed
        with tracing(None):
            self.state = Variable(
                np.array([seed or 0, 0], dtype=np.int64), dtype="int64", trainable=False, name="seed_generator_state"
            )
            self.state.on_host = True

    def next(self) -> Any:
        """The next seed as a tensor int64 [2], or None where this generator has no seed."""
        if self.seed is None:
            return None
        state = self.state.value
        step = np.array([0, 1], dtype=np.int64)
        if current_tracer() is not None:
            self.state.assign(state + step)
            return state
        current = backend.convert_to_tensor(self.state.numpy())
        self.state.assign(self.state.numpy() + step)
        return current

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        return cls(**config)


def draw_number() -> int:
    """A number that tells this random operator from all others of the trace."""
    tracer = current_tracer()
    return tracer.draw() if tracer is not None else 0


def draw_seed(seed: Any) -> Any:
    """The seed operand of a random operator: from a generator, an int, or None."""
    if seed is None:
        return None
    if isinstance(seed, SeedGenerator):
        return seed.next()
    return np.array([seed, 0], dtype=np.int64)

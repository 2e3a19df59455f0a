"""The states of all random generators, to be kept and set again: Python's, numpy's, torch's."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from kcompile.keras import backend

TORCH = "torch/"
States = tuple[dict[str, np.ndarray], dict[str, Any]]


def states() -> States:
    """(arrays by name, what JSON can hold)."""
    kind, keys, position, gauss, cached = np.random.get_state(legacy=True)
    version, numbers, following = python_random.getstate()
    arrays = {f"{TORCH}{device}": a for device, a in backend.engine().random_state().items()}
    arrays |= {"numpy": np.asarray(keys), "python": np.asarray(numbers, dtype=np.int64)}
    return arrays, {
        "numpy": [str(kind), int(position), int(gauss), float(cached)],
        "python": [version, following],
    }


def set_states(arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
    """Set what `states` gave."""
    backend.engine().set_random_state({k.removeprefix(TORCH): a for k, a in arrays.items() if k.startswith(TORCH)})
    kind, position, gauss, cached = plain["numpy"]
    np.random.set_state((kind, arrays["numpy"], position, gauss, cached))
    version, following = plain["python"]
    python_random.setstate((version, tuple(arrays["python"].tolist()), following))

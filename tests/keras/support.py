"""What the tests of the Keras room share: the same weights in real Keras and here, and exported files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import kcompile
from kcompile import keras
from kcompile.runtime.session import run
from tests.oracle import keras as real
from tests.support import close

__all__ = ["array", "arrays", "close", "export_and_run", "fill", "keras", "numbers", "real", "same", "sized"]


def array(x: Any) -> np.ndarray:
    """Any tensor as a numpy array."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def arrays(structure: Any) -> list[np.ndarray]:
    """The leaves of a result as numpy arrays."""
    return [array(x) for x in keras.tree.leaves(structure)]


def same(ours: Any, theirs: Any, rtol: float = 1e-5, what: str = "") -> None:
    """All leaves equal within the tolerance."""
    a, b = arrays(ours), arrays(theirs)
    assert len(a) == len(b), f"{what}: {len(a)} results against {len(b)}"
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        close(x, y, rtol, what=f"{what} [{i}]")


def numbers(shape: Any, seed: int = 0, dtype: str = "float32", top: int = 5) -> np.ndarray:
    """Normal numbers, or integers below ``top``, that depend on the seed and the shape."""
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, top, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def sized(shape: Any, batch: int, length: int) -> tuple[int, ...]:
    """A shape without batch axis as a full one, free sizes at ``length``."""
    return (batch, *(length if d is None else d for d in shape))


def fill(ours: Any, theirs: Any, seed: int = 0) -> None:
    """The same random weights in both, by position; shapes and names must be equal."""
    assert [(w.name, tuple(w.shape)) for w in ours.weights] == [(w.name, tuple(w.shape)) for w in theirs.weights]
    values = [0.5 * numbers(w.shape, seed + i) for i, w in enumerate(theirs.weights)]
    values = [abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, theirs.weights, strict=True)]
    ours.set_weights(values)
    theirs.set_weights(values)


def export_and_run(model: Any, *feeds: dict[str, np.ndarray], **options: Any) -> list[list[np.ndarray]]:
    """The model as an ONNX file, run once for each of the feeds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        kcompile.export(model, path, verify=False, latency=False, **options)
        return [run(path.read_bytes(), feed) for feed in feeds]

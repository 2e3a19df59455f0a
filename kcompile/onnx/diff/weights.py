"""The weights of two models, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from kcompile.onnx.describe import element_text
from kcompile.onnx.protos import DTYPES


@dataclass(frozen=True)
class Stored:
    """An initialiser: its type in words, a digest of type and content, the array where numpy has its dtype."""

    name: str
    type: str
    digest: bytes
    tensor: Any

    def array(self) -> np.ndarray | None:
        if not isinstance(self.tensor, onnx.TensorProto) or self.tensor.data_type not in DTYPES:
            return None
        return numpy_helper.to_array(self.tensor)


@dataclass(frozen=True)
class WeightChange:
    """``status`` is equal, changed, renamed (the same content under another name), removed or added.

    ``largest`` is the largest absolute difference and ``relative`` that divided by the largest
    number of the first; None where the types differ or there is nothing to subtract.
    """

    status: str
    before: str | None
    after: str | None
    type_before: str | None = None
    type_after: str | None = None
    largest: float | None = None
    relative: float | None = None


def stored(model: onnx.ModelProto) -> dict[str, Stored]:
    """The initialisers of a model's main graph by name."""
    found = {}
    for tensor in model.graph.initializer:
        text = f"{element_text(tensor.data_type)}{list(tensor.dims)}"
        known = tensor.data_type in DTYPES
        content = numpy_helper.to_array(tensor).tobytes() if known else tensor.SerializeToString(deterministic=True)
        digest = hashlib.blake2b(text.encode() + b"\0" + content).digest()
        found[tensor.name] = Stored(tensor.name, text, digest, tensor)
    for sparse in model.graph.sparse_initializer:
        text = f"sparse {element_text(sparse.values.data_type)}{list(sparse.dims)}"
        digest = hashlib.blake2b(sparse.SerializeToString(deterministic=True)).digest()
        found[sparse.values.name] = Stored(sparse.values.name, text, digest, sparse)
    return found


def compared(
    a: dict[str, Stored], b: dict[str, Stored], together: Iterable[tuple[str, str]]
) -> tuple[list[WeightChange], dict[str, str]]:
    """(what became of each weight, the weight of ``b`` that each of ``a`` is).

    ``together`` are names that paired nodes read at the same place. Equal under one name comes
    first, then those, then equal content anywhere, then equal names.
    """
    pairs: dict[str, str] = {}
    taken: set[str] = set()

    def add(name: str, other: str) -> None:
        if name not in pairs and other not in taken:
            pairs[name] = other
            taken.add(other)

    for name in a:
        if name in b and a[name].digest == b[name].digest:
            add(name, name)
    for name, other in together:
        if name in a and other in b:
            add(name, other)
    places: dict[bytes, list[str]] = {}
    for other, weight in b.items():
        places.setdefault(weight.digest, []).append(other)
    for name, weight in a.items():
        for other in places.get(weight.digest, []):
            add(name, other)
    for name in a:
        if name in b:
            add(name, name)
    return [*_changes(a, b, pairs, places)], pairs


def _changes(
    a: dict[str, Stored], b: dict[str, Stored], pairs: dict[str, str], places: dict[bytes, list[str]]
) -> Iterable[WeightChange]:
    mine: dict[bytes, str] = {}
    for name, weight in a.items():
        mine.setdefault(weight.digest, name)
        if name in pairs:
            yield _pair(weight, b[pairs[name]])
        elif weight.digest in places:
            yield WeightChange("renamed", name, places[weight.digest][0], weight.type, weight.type)
        else:
            yield WeightChange("removed", name, None, weight.type)
    for other in sorted(set(b) - set(pairs.values()), key=list(b).index):
        if b[other].digest in mine:
            yield WeightChange("renamed", mine[b[other].digest], other, b[other].type, b[other].type)
        else:
            yield WeightChange("added", None, other, None, b[other].type)


def _pair(a: Stored, b: Stored) -> WeightChange:
    ends = (a.name, b.name, a.type, b.type)
    if a.digest == b.digest:
        return WeightChange("equal" if a.name == b.name else "renamed", *ends)
    x, y = a.array(), b.array()
    if a.type != b.type or x is None or y is None:
        return WeightChange("changed", *ends)
    return WeightChange("changed", *ends, *_distance(x, y))


def _distance(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(largest absolute difference, the same as a share of the largest number); NaN against a number is infinite."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    largest = float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))
    finite = np.abs(x[np.isfinite(x)])
    scale = float(np.max(finite, initial=0.0))
    return largest, largest / scale if scale else (np.inf if largest else 0.0)

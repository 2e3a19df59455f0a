"""Nodes over initialisers only, computed while writing: a weight is stored in the layout it is used in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

LIMIT = 1 << 20  # elements: a node that makes more than that, and more than it reads, stays a node
MASK = 1 << 14  # elements: masks of up to 128 steps are stored as what is added


def fold(
    op_type: str, arrays: Sequence[np.ndarray | None], attributes: dict[str, Any], outputs: int
) -> tuple[np.ndarray, ...] | None:
    """Results of a node whose operands are all known arrays, or None where it has to stay a node."""
    compute = _FOLDABLE.get(op_type)
    if compute is None or not arrays or any(a is None for a in arrays):
        return None
    result = compute([a for a in arrays if a is not None], attributes, outputs)
    if result is None:
        return None
    made = sum(a.size for a in result)
    if made > LIMIT and made > sum(a.size for a in arrays if a is not None):
        return None
    return result


def _one(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(arrays: list[np.ndarray], attributes: dict[str, Any], outputs: int) -> tuple[np.ndarray, ...] | None:
        result = function(arrays, attributes)
        return None if result is None else (np.asarray(result),)

    return compute


def _transpose(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    return arrays[0].transpose(attributes.get("perm")).copy(order="C")


def _reshape(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    data, target = arrays
    shape = [data.shape[i] if d == 0 and not attributes.get("allowzero") else int(d) for i, d in enumerate(target)]
    return data.reshape(shape)


def _unsqueeze(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    return np.expand_dims(arrays[0], tuple(int(a) for a in arrays[1]))


def _squeeze(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    return np.squeeze(arrays[0], tuple(int(a) for a in arrays[1]) if len(arrays) > 1 else None)


def _split(arrays: list[np.ndarray], attributes: dict[str, Any], outputs: int) -> tuple[np.ndarray, ...]:
    axis = attributes.get("axis", 0)
    if len(arrays) > 1:
        parts = np.split(arrays[0], np.cumsum(arrays[1])[:-1], axis=axis)
    else:
        size = -(-arrays[0].shape[axis] // outputs)
        parts = np.split(arrays[0], np.arange(1, outputs) * size, axis=axis)
    return tuple(np.ascontiguousarray(p) for p in parts)


def _slice(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    data, starts, ends = arrays[:3]
    axes = arrays[3] if len(arrays) > 3 else np.arange(len(starts))
    steps = arrays[4] if len(arrays) > 4 else np.ones(len(starts), np.int64)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        # Python reads -1 as "the last", ONNX an end below -size as "before the first".
        stop = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return np.ascontiguousarray(data[tuple(index)])


def _cast(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray | None:
    target = helper.tensor_dtype_to_np_dtype(attributes["to"])
    source = arrays[0].dtype
    # Only the conversions whose rounding numpy and ONNX Runtime agree on.
    exact = source == target or (source.kind in "biu" and target.kind in "iuf") or np.can_cast(source, target, "safe")
    return arrays[0].astype(target) if exact else None


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def compute(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(arrays[0], arrays[1]), dtype=arrays[0].dtype)

    return _one(compute)


def _where(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray | None:
    result = np.where(*arrays)
    return result if result.size <= MASK else None


_FOLDABLE: dict[str, Callable[..., Any]] = {
    "Transpose": _one(_transpose),
    "Reshape": _one(_reshape),
    "Unsqueeze": _one(_unsqueeze),
    "Squeeze": _one(_squeeze),
    "Concat": _one(lambda arrays, attributes: np.concatenate(arrays, axis=attributes["axis"])),
    "Split": _split,
    "Slice": _one(_slice),
    "Cast": _one(_cast),
    "Neg": _one(lambda arrays, attributes: np.negative(arrays[0])),
    "Where": _one(_where),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
}

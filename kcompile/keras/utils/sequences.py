"""Sequences and numbers: `pad_sequences`, `to_categorical`, `normalize`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import backend, ops


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Integer labels as one-hot rows of float64."""
    labels = np.asarray(x, dtype="int64")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    flat = labels.reshape(-1)
    count = num_classes or int(flat.max()) + 1
    made = np.zeros((len(flat), count))
    made[np.arange(len(flat)), flat] = 1
    return made.reshape((*shape, count))


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """``x`` over its norm along an axis; what has norm 0 stays. numpy for numpy, a tensor for a tensor."""
    if backend.is_tensor(x):
        return ops.normalize(x, axis=axis, order=order)
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences of several lengths as one array [sequences, maxlen, ...], cut and filled at the end that is named."""
    for name, side in (("Padding", padding), ("Truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f'{name} type "{side}" not understood; it is "pre" or "post"')
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    odd = next((s for s in sequences if not hasattr(s, "__len__")), None)
    if odd is not None:
        raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {odd!r}")
    if isinstance(value, str) and dtype is not object and np.dtype(dtype).kind not in "US":
        raise ValueError(f"`dtype` {dtype} does not hold the string `value`; give dtype=object")
    length = max((len(s) for s in sequences), default=0) if maxlen is None else maxlen
    sample = next((np.asarray(s).shape[1:] for s in sequences if len(s)), ())
    made = np.full((len(sequences), length, *sample), value, dtype=dtype)
    for i, sequence in enumerate(sequences):
        # A slice from -0 would be everything.
        start = max(len(sequence) - length, 0) if truncating == "pre" else 0
        part = np.asarray(sequence[start : start + length], dtype=dtype)
        if not len(part):
            continue
        if part.shape[1:] != sample:
            raise ValueError(f"sequence {i} has samples of shape {part.shape[1:]}, the first has {sample}")
        at = length - len(part) if padding == "pre" else 0
        made[i, at : at + len(part)] = part
    return made

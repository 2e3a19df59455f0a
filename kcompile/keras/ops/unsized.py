"""Functions of `keras.ops` whose results' sizes depend on data: for arrays alone, not inside a trace."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.errors import TraceError
from kcompile.keras import backend
from kcompile.keras.ops.common import kind, tensor
from kcompile.tracing.scope import current_tracer, located
from kcompile.tracing.tensor import SymbolicTensor


def _array(x: Any, name: str, instead: str) -> np.ndarray:
    """x as numpy; TraceError where its values are not known."""
    if current_tracer() is not None or isinstance(x, SymbolicTensor):
        raise TraceError(located(f"ops.{name} gives a size that depends on data; {instead}"))
    return backend.convert_to_numpy(tensor(x))


def nonzero(x: Any) -> Any:
    """The places [axes, count] of the elements that are not 0, as int32; outside of a trace."""
    return tensor(np.stack(np.nonzero(_array(x, "nonzero", "use ops.where with three arguments"))), "int32")


def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Each element (or slice along an axis) once, ascending; outside of a trace.

    With it, as asked for: where each comes first, the number of each of x's elements, how often it
    comes. ``size`` cuts the elements or fills them up with ``fill_value`` (0).
    """
    values = _array(x, "unique", "use ops.isin or ops.sort")
    made = list(np.unique(values, True, True, True, axis))
    along = 0 if axis is None else axis
    if size is not None:
        made[0] = _sized(made[0], size, along, 0 if fill_value is None else fill_value)
        made[1], made[3] = _sized(made[1], size, 0, 1), _sized(made[3], size, 0, 0)
    made[2] = made[2].reshape(values.shape) if axis is None else made[2].reshape(-1)
    wanted = [True, return_index, return_inverse, return_counts]
    results = [tensor(a, None if i else kind(x)) for i, (a, want) in enumerate(zip(made, wanted, strict=True)) if want]
    return results[0] if len(results) == 1 else tuple(results)


def _sized(x: np.ndarray, size: int, axis: int, fill: Any) -> np.ndarray:
    x = np.moveaxis(x, axis, 0)[:size]
    missing = np.full((size - len(x), *x.shape[1:]), fill, x.dtype)
    return np.moveaxis(np.concatenate([x, missing]), 0, axis)


__all__ = ["nonzero", "unique"]

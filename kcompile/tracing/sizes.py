"""What small integer tensors of a trace hold, where that is numbers and symbolic sizes.

Keras code makes shapes out of tensors too: ``ops.tile(mask, ops.concatenate([ops.expand_dims(batch, 0), [1, 1]]))``.
An operator's attribute needs the sizes themselves.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from kcompile.ir import Value
from kcompile.ir.dims import floordiv, maximum, minimum, modulo
from kcompile.ir.op import Constant
from kcompile.operators import arithmetic, creation, indexing, logic, shape

MOST = 64  # elements: longer tensors are data, not sizes


def sizes_of(value: Value) -> np.ndarray | None:
    """The ints and sizes that an integer tensor holds, as an array of objects; None where they are not known."""
    if not value.type.dtype.is_integer or not all(isinstance(d, int) for d in value.type.shape):
        return None
    if math.prod(int(d) for d in value.type.shape) > MOST:
        return None
    op = value.op
    if isinstance(op, Constant):
        return _objects(op.value.data)
    if isinstance(op, creation.SizeOf):
        return _objects(op.size)
    rule = _RULES.get(type(op))
    operands = [None if x is None else sizes_of(x) for x in value.inputs]
    if rule is None or any(x is None for x in operands):
        return None
    return _objects(rule(op, value, *operands))


def _objects(x: Any) -> np.ndarray:
    """An array of Python's ints and of sizes."""
    if isinstance(x, np.ndarray):
        return x.astype(object)
    made = np.empty((), object)
    made[()] = x
    return made


def _reshaped(op: Any, value: Value, x: np.ndarray) -> np.ndarray:
    return x.reshape(value.type.shape)


def _sliced(op: shape.Slice, value: Value, x: np.ndarray) -> Any:
    return x[tuple(slice(*bounds) for bounds in zip(op.starts, op.stops, op.steps, strict=True))]


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    by_element = np.frompyfunc(function, 2, 1)
    return lambda op, value, a, b: by_element(a, b)


_RULES: dict[type, Callable[..., Any]] = {
    shape.Reshape: _reshaped,
    shape.ExpandDims: _reshaped,
    shape.Squeeze: _reshaped,
    shape.Slice: _sliced,
    shape.Concat: lambda op, value, *parts: np.concatenate(parts, op.axis),
    indexing.Gather: lambda op, value, x, at: np.take(x, at.astype(int), op.axis),
    logic.Cast: lambda op, value, x: x,
    arithmetic.Add: _elementwise(operator.add),
    arithmetic.Subtract: _elementwise(operator.sub),
    arithmetic.Multiply: _elementwise(operator.mul),
    arithmetic.FloorDivide: _elementwise(floordiv),
    arithmetic.Remainder: _elementwise(modulo),
    arithmetic.Maximum: _elementwise(maximum),
    arithmetic.Minimum: _elementwise(minimum),
}

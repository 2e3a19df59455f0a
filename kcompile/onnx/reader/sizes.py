"""Arithmetic on sizes: what integer tensors hold, as numbers and symbolic sizes of the IR.

Exporters compute the targets of Reshape, Expand or Slice with chains of small nodes that begin at
Shape. Here such a chain is followed with arrays of Python objects (ints, bools and `Dim`), so that
the target becomes an attribute of the IR's operator and the chain is not needed any more.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcompile.ir.dims import Dim, bounds, floordiv, maximum, minimum, modulo, product
from kcompile.ir.types import Type

MOST = 256  # elements: longer tensors are data, not sizes
Sizes = np.ndarray  # of objects


def of_array(array: np.ndarray) -> Sizes | None:
    """A known array as sizes, where it is small and of integers or booleans."""
    if array.dtype.kind not in "biu" or array.size > MOST:
        return None
    return _objects(array.reshape(-1).tolist(), array.shape)


def as_array(sizes: Sizes, type: Type) -> np.ndarray | None:
    """Sizes that are all numbers as an array of that type; None where one is symbolic or too large."""
    numbers = sizes.reshape(-1).tolist()
    if any(isinstance(v, Dim) for v in numbers) or type.shape != sizes.shape or type.dtype.is_float:
        return None
    try:
        return np.array(numbers, dtype=type.dtype.numpy).reshape(sizes.shape)
    except OverflowError:
        return None


def follow(op_type: str, operands: Sequence[Sizes | None], attributes: Any, types: Sequence[Type | None]) -> Any:
    """What a node's first result holds, or None where that is not known.

    ``operands`` are the sizes that its operands hold, ``types`` their types.
    """
    if op_type in ("Shape", "Size") and types and types[0] is not None and types[0].dtype.bits:
        shape = types[0].shape
        if op_type == "Size":
            return _objects([product(shape)], ())
        part = shape[attributes.get("start", 0) : attributes.get("end")]
        return _objects(list(part), (len(part),))
    step = _STEPS.get(op_type)
    if step is None or not operands or any(v is None for v in operands):
        return None
    try:
        result = step(list(operands), attributes)
    except (ArithmeticError, ValueError, TypeError, IndexError):
        return None  # no sizes after all; the node itself says what is wrong with it
    if not isinstance(result, np.ndarray) or result.size > MOST:
        return None
    return result if all(_small(v) for v in result.reshape(-1).tolist()) else None


def _small(value: Any) -> bool:
    return isinstance(value, Dim) or -(2**63) <= value < 2**63


def _objects(values: list[Any] | Any, shape: tuple[int, ...]) -> Sizes:
    result = np.empty(shape, dtype=object)
    result.reshape(-1)[:] = values if isinstance(values, list) else [values]
    return result


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[..., Sizes]:
    def apply(operands: list[Sizes], attributes: Any) -> Sizes:
        a, b = np.broadcast_arrays(*operands)
        return _objects([function(x, y) for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)], a.shape)

    return apply


def _quotient(a: Any, b: Any) -> Any:
    # Division towards 0 and down are the same of sizes that are not negative.
    if bounds(a)[0] < 0 or bounds(b)[0] < 0 or b == 0:
        raise ArithmeticError
    return floordiv(a, b)


def _remainder(a: Any, b: Any) -> Any:
    if bounds(b)[0] < 0 or b == 0:
        raise ArithmeticError
    return modulo(a, b)


def _equal(a: Any, b: Any) -> bool:
    """Whether two sizes are equal, where that is sure."""
    if a == b:
        return True
    low, high = bounds(a - b)
    if low > 0 or high < 0:
        return False
    raise ArithmeticError


def _integers(operand: Sizes) -> list[int]:
    """The numbers that an operand holds; TypeError where one is symbolic."""
    return [operator.index(v) for v in operand.reshape(-1)]


def _gather(operands: list[Sizes], attributes: Any) -> Sizes:
    data, places = operands
    axis = attributes.get("axis", 0) % data.ndim
    taken = np.take(data, np.array(_integers(places), dtype=np.int64), axis=axis)  # of one element: no array
    return taken.reshape((*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]))


def _slice(operands: list[Sizes], attributes: Any) -> Sizes:
    data, *given = operands
    if not given:  # until opset 9 the ends were attributes
        given = [np.array(attributes[k]) for k in ("starts", "ends", "axes") if k in attributes]
    starts, ends, *rest = map(_integers, given)
    axes = rest[0] if rest else range(len(starts))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = data.shape[axis]
        # ONNX holds ends within the axis, where Python reads -1 as "the last" and drops a start before the first.
        first = min(max(start + size if start < 0 else start, 0), size - 1 if step < 0 else size)
        last = min(max(end + size if end < 0 else end, -1 if step < 0 else 0), size)
        index[axis] = slice(first, None if last < 0 else last, step)
    return data[tuple(index)]


def _concat(operands: list[Sizes], attributes: Any) -> Sizes:
    return np.concatenate(operands, axis=attributes["axis"])


def _reshape(operands: list[Sizes], attributes: Any) -> Sizes:
    data, target = operands[0], _integers(operands[1])
    return data.reshape([data.shape[i] if d == 0 else d for i, d in enumerate(target)])


def _transpose(operands: list[Sizes], attributes: Any) -> Sizes:
    return operands[0].transpose(attributes.get("perm"))


def _unsqueeze(operands: list[Sizes], attributes: Any) -> Sizes:
    return np.expand_dims(operands[0], tuple(_axes(operands, attributes)))


def _squeeze(operands: list[Sizes], attributes: Any) -> Sizes:
    given = len(operands) > 1 or "axes" in attributes
    return np.squeeze(operands[0], tuple(_axes(operands, attributes)) if given else None)


def _axes(operands: list[Sizes], attributes: Any) -> list[int]:
    return _integers(operands[1]) if len(operands) > 1 else list(attributes["axes"])


def _cast(operands: list[Sizes], attributes: Any) -> Any:
    booleans = any(isinstance(v, bool) for v in operands[0].reshape(-1))
    if attributes["to"] in (6, 7) and not booleans:  # int32, int64
        return operands[0]
    return None


def _where(operands: list[Sizes], attributes: Any) -> Sizes:
    test, a, b = np.broadcast_arrays(*operands)
    flat = zip(test.reshape(-1), a.reshape(-1), b.reshape(-1), strict=True)
    return _objects([x if c else y for c, x, y in flat], test.shape)


def _filled(operands: list[Sizes], attributes: Any) -> Any:
    shape = tuple(_integers(operands[0]))
    value = np.asarray(attributes.get("value", np.zeros(1, np.float32)))
    if value.dtype.kind not in "biu" or product(shape) > MOST:
        return None
    return _objects([value.reshape(-1)[0].item()] * product(shape), shape)


def _expand(operands: list[Sizes], attributes: Any) -> Any:
    target = _integers(operands[1])
    if product(target) > MOST:
        return None
    return np.broadcast_to(operands[0], np.broadcast_shapes(operands[0].shape, target))


def _range(operands: list[Sizes], attributes: Any) -> Any:
    numbers = range(*(_integers(v)[0] for v in operands))
    return _objects(list(numbers), (len(numbers),)) if len(numbers) <= MOST else None


def _product(operands: list[Sizes], attributes: Any) -> Any:
    if operands[0].ndim != 1 or (len(operands) > 1 and _integers(operands[1]) not in ([0], [-1])):
        return None
    return _objects([product(operands[0].tolist())], (1,) if attributes.get("keepdims", 1) else ())


_STEPS: dict[str, Callable[..., Any]] = {
    "Identity": lambda operands, attributes: operands[0],
    "Neg": lambda operands, attributes: _objects([-v for v in operands[0].reshape(-1)], operands[0].shape),
    "Gather": _gather, "Slice": _slice, "Concat": _concat, "Reshape": _reshape, "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze, "Transpose": _transpose, "Cast": _cast, "Where": _where, "ConstantOfShape": _filled, "Expand": _expand,
    "Range": _range, "ReduceProd": _product,
    "Add": _elementwise(operator.add), "Sub": _elementwise(operator.sub), "Mul": _elementwise(operator.mul),
    "Div": _elementwise(_quotient), "Mod": _elementwise(_remainder), "Max": _elementwise(maximum),
    "Min": _elementwise(minimum), "Equal": _elementwise(_equal),
}  # fmt: skip

"""Whether a Loop runs all the steps that it counts: its condition compares the counter with the count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcompile.ir import Constant, Value
from kcompile.ir.dims import Dim, DimLike, bounds, substitute
from kcompile.operators.arithmetic import Add, Multiply, Subtract
from kcompile.operators.logic import Cast, Greater, GreaterEqual, Less, LessEqual, LogicalAnd
from kcompile.operators.shape import ExpandDims, Reshape, Squeeze

_SAME = (Cast, Reshape, ExpandDims, Squeeze)
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    Add: lambda a, b: a + b, Subtract: lambda a, b: a - b, Multiply: lambda a, b: a * b,
}  # fmt: skip
# left < right as (the difference that has to be positive, what may be added to it for "or equal").
_COMPARED: dict[type, tuple[int, int]] = {Less: (1, 0), LessEqual: (1, 1), Greater: (-1, 0), GreaterEqual: (-1, 1)}
LARGEST_EXACT = 1 << 24  # integers that float32, in which TensorFlow's files count, holds exactly


class Counting:
    """The numbers in a loop of ``count`` steps, as sizes; ``symbols`` stand for the step and for a state."""

    def __init__(
        self,
        sizes: Callable[[Value], np.ndarray | None],
        count: DimLike,
        counter: Value,
        again: Value,
        states: Sequence[Value],
        initial: Sequence[Value],
        results: Sequence[Value],
        symbols: tuple[Dim, Dim],
    ):
        self._sizes, self._count, self._again = sizes, count, again
        self._step, own = symbols
        known: dict[Value, DimLike | None] = {counter: self._step}
        for state, begun, after in zip(states, initial, results, strict=False):
            # What a step adds to a state shows when the state is a number of its own.
            self._numbers = {**known, state: own}
            start, end = self.number(begun), self.number(after)
            known[state] = None
            if start is not None and end is not None and isinstance(end - own, int):
                known[state] = start + (end - own) * self._step
        self._numbers = known

    def never_ends(self, first: Value | None, goes_on: Value) -> bool:
        """Whether the condition is true before the first step, and after every step but the last."""
        before = first is None or self._true(first, [-1])
        # Linear in the step: true at both ends is true in between.
        return before and self._true(goes_on, [0, self._count - 2])

    def number(self, value: Value) -> DimLike | None:
        """The integer that a tensor of one element holds."""
        if value not in self._numbers:
            self._numbers[value] = self._number(value)
        return self._numbers[value]

    def _number(self, value: Value) -> DimLike | None:
        if isinstance(value.op, Constant):
            data = value.op.value.data
            whole = data.size == 1 and data.dtype.kind in "iuf" and float(data.item()).is_integer()
            return int(data.item()) if whole and abs(data.item()) <= LARGEST_EXACT else None
        held = self._sizes(value)
        if held is not None and held.size == 1:
            return held.reshape(-1)[0]  # type: ignore[no-any-return]
        read = [v for v in value.inputs if v is not None]
        if isinstance(value.op, _SAME) and value.type.size == 1:
            return self.number(read[0])
        if type(value.op) in _ARITHMETIC:
            a, b = (self.number(v) for v in read)
            return None if a is None or b is None else _ARITHMETIC[type(value.op)](a, b)
        return None

    def _true(self, value: Value, steps: Sequence[DimLike]) -> bool:
        """Whether a condition is true at each of these steps, given that there is one."""
        if value is self._again:
            return True
        if isinstance(value.op, Constant):
            return bool(value.op.value.data.all())
        read = [v for v in value.inputs if v is not None]
        if isinstance(value.op, LogicalAnd):
            return all(self._true(v, steps) for v in read)
        if isinstance(value.op, Reshape | Squeeze | ExpandDims):
            return self._true(read[0], steps)
        if type(value.op) not in _COMPARED:
            return False
        sign, equal = _COMPARED[type(value.op)]
        a, b = (self.number(v) for v in read)
        if a is None or b is None:
            return False
        difference = (b - a) * sign + equal
        return all(self._positive(difference, step) for step in steps)

    def _positive(self, number: DimLike, step: DimLike) -> bool:
        if isinstance(number, Dim):
            name = next(iter(self._step.symbols()))
            number = substitute(number, {name: step})
        # What is asked before the first step matters where there is one; what is asked after one, where there is another.
        least = 1 if step == -1 else 2
        if isinstance(number, Dim) and isinstance(self._count, Dim):
            return bounds(number - self._count + least)[0] > 0
        return bounds(number)[0] > 0

"""`Tracer`: what one trace collects besides the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.errors import TraceError
from kcompile.ir import Graph, Type, Value, dtype, weight
from kcompile.tracing.scope import located, tracing
from kcompile.tracing.tensor import SymbolicTensor
from kcompile.tracing.variable import Variable


class Tracer:
    """Reads of variables become weights, assignments become updates, random operators get numbers.

    ``variables`` holds every variable that the trace touched, by weight label: its path without
    the name of the ``root`` model. ``batch`` is the size that a step is traced with, where one is known.
    """

    def __init__(self, root: str = "", batch: int = 1) -> None:
        self.batch = batch
        self._prefix = f"{root}/" if root else ""
        self.variables: dict[str, Variable] = {}
        self._labels: dict[int, str] = {}
        self._current: dict[int, Value] = {}
        self._assigned: dict[int, Variable] = {}
        self._draws = 0

    def read(self, variable: Variable) -> SymbolicTensor:
        """The variable's value at this point of the trace."""
        key = id(variable)
        if key not in self._current:
            type = Type(dtype(variable.dtype), variable.shape)
            self._current[key] = weight(self._label(variable), type)
        return SymbolicTensor(self._current[key])

    def assign(self, variable: Variable, value: Value) -> None:
        """The variable has this value from here on; it becomes an extra output of the graph."""
        wanted = Type(dtype(variable.dtype), variable.shape)
        if value.type.shape != wanted.shape:
            raise TraceError(located(f"variable {variable.path!r} is {wanted}, it can't be assigned {value.type}"))
        self._label(variable)
        self._current[id(variable)] = value
        self._assigned[id(variable)] = variable

    def state(self) -> dict[int, Value]:
        """The variables' values at this point of the trace, for `changes`."""
        return dict(self._current)

    def changes(self, before: dict[int, Value]) -> list[tuple[Variable, SymbolicTensor, SymbolicTensor]]:
        """(variable, value then, value now) of each variable that was assigned since ``before``."""
        found = []
        for key, variable in self._assigned.items():
            now = self._current[key]
            then = before.get(key)
            if then is None:
                then = weight(self._label(variable), Type(dtype(variable.dtype), variable.shape))
            if then is not now:
                found.append((variable, SymbolicTensor(then), SymbolicTensor(now)))
        return found

    def draw(self) -> int:
        """A number that no other random operator of this trace has."""
        self._draws += 1
        return self._draws

    def _label(self, variable: Variable) -> str:
        key = id(variable)
        if key not in self._labels:
            base = (variable.path or variable.name).removeprefix(self._prefix)
            label, count = base, 0
            while label in self.variables:
                count += 1
                label = f"{base}_{count}"
            self._labels[key] = label
            self.variables[label] = variable
        return self._labels[key]

    def scope(self) -> Any:
        """A context manager in which this is the trace in progress."""
        return tracing(self)

    def graph(
        self, name: str, inputs: Sequence[Value], outputs: Sequence[Value], output_names: Sequence[str] | None = None
    ) -> Graph:
        """What was traced, as a Graph (its weights' arrays are not filled in)."""
        updates = [(self._labels[k], self._current[k]) for k in self._assigned]
        return Graph(name, inputs, outputs, output_names, updates)

    def arrays(self) -> dict[str, Any]:
        """The variables' present content as numpy arrays by weight label."""
        return {label: v.numpy() for label, v in self.variables.items()}

"""Python functions as regions of cond, while_loop and scan: Graphs whose captures are operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kcompile.errors import TraceError
from kcompile.ir import Constant, Graph, Type, Value, Weight, dtype, input_value
from kcompile.ir.graph import remake, topological
from kcompile.ir.op import Input
from kcompile.tracing.scope import current_tracer, located
from kcompile.tracing.tensor import SymbolicTensor, lift
from kcompile.tracing.variable import Variable


class Region:
    """A function traced on parameters of the given types.

    ``states`` and ``slices`` become its parameters ``s0``, ``s1``, ... and ``x0``, ...; ``result`` is
    what the function gave, ``outputs`` its leaves, ``captures`` the outer values that it reads.
    Raises TraceError where the function assigns a variable, unless it ``assigns``: then the new values of
    the variables ``assigned`` are further outputs.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        states: Sequence[Value] = (),
        slices: Sequence[Type] = (),
        assigns: bool = False,
    ):
        self.name = name
        self.parameters = [input_value(f"s{i}", v.type) for i, v in enumerate(states)]
        self.parameters += [input_value(f"x{i}", t) for i, t in enumerate(slices)]
        start = input_value("start", Type(dtype("bool"), ())).node.serial
        tracer = current_tracer()
        before = dict(tracer._assigned) if tracer else {}
        current = dict(tracer._current) if tracer else {}
        self.result = function(*(SymbolicTensor(v) for v in self.parameters))
        self.assigned: list[Variable] = []
        if tracer is not None:
            changed = [
                v for k, v in tracer._assigned.items() if k not in before or tracer._current[k] is not current[k]
            ]
            if assigns:
                # The states of seeds are cheap, and the host reads them: they are computed outside too.
                self.assigned = [v for v in changed if not v.on_host]
            elif changed:
                raise TraceError(
                    located(
                        f"variable {changed[0].path!r} is assigned inside a branch or a loop; return the new value "
                        "from it and assign outside"
                    )
                )
        self.outputs = [lift(v) for v in _leaves(self.result)]
        self.outputs += [tracer._current[id(v)] for v in self.assigned] if tracer is not None else []
        self.captures = self._captured(start)

    def _captured(self, start: int) -> list[Value]:
        own = set(self.parameters)
        found: dict[Value, None] = {}
        seen: set[Any] = set()
        stack = list(reversed(self.outputs))
        while stack:
            value = stack.pop()
            if value in own or (value.node in seen and value in found):
                continue
            if isinstance(value.op, Constant):
                continue
            if value.node.serial < start or isinstance(value.op, (Weight, Input)):
                found[value] = None
                continue
            if value.node not in seen:
                seen.add(value.node)
                stack.extend(v for v in reversed(value.node.inputs) if v is not None)
        return list(found)

    def graph(self, captures: Sequence[Value], names: Sequence[str] | None = None) -> Graph:
        """The region's Graph, with ``captures`` (a superset of its own) as the last inputs, by default ``c0``, ..."""
        names = names or [f"c{i}" for i in range(len(captures))]
        inside = [input_value(name, v.type) for name, v in zip(names, captures, strict=True)]
        table: dict[Value, Value] = {v: v for v in self.parameters}
        table.update(zip(captures, inside, strict=True))
        for node in topological(self.outputs, (), table):
            inputs = tuple(None if v is None else table[v] for v in node.inputs)
            made = remake(node, inputs)
            for old, new in zip(node.results, made.results, strict=True):
                table.setdefault(old, new)
        return Graph(self.name, [*self.parameters, *inside], [table[v] for v in self.outputs])


def merged_captures(*regions: Region) -> list[Value]:
    """What any of the regions captures, each value once."""
    return list(dict.fromkeys(v for r in regions for v in r.captures))


def _leaves(x: Any) -> list[Any]:
    if isinstance(x, dict):
        return [leaf for key in sorted(x) for leaf in _leaves(x[key])]
    if isinstance(x, (tuple, list)):
        return [leaf for item in x for leaf in _leaves(item)]
    return [x]

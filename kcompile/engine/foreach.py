"""Horizontal fusion of an update graph: equal work on many variables becomes one torch._foreach_ call.

An optimizer is written for one variable. Traced over all of a model's variables it gives a graph
with the same few operators once a variable. Nodes are put together where they apply the same
operator to operands that are together themselves (gradients, variables, each kind of slot), so a
step of Adam over 200 variables runs a dozen calls instead of 2,400. Work that only some variables
share (weight decay with exceptions, a rule for matrices and one for the rest) is put together too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from kcompile.engine.context import DTYPES, Recording
from kcompile.engine.inplace import IN_PLACE, adam_step, multiplier, number, reuse_memory
from kcompile.engine.lower import Opaque, has_torch, identifier, plain, portable
from kcompile.ir import Constant, Graph, Input, Node, Value, Weight
from kcompile.operators.lowering import expand

# Operators with a _foreach_ form: (list, list), (list, number) or (list).
BINARY: dict[str, Callable[..., Any]] = {
    "add": torch._foreach_add,
    "subtract": torch._foreach_sub,
    "multiply": torch._foreach_mul,
    "divide": torch._foreach_div,
    "maximum": torch._foreach_maximum,
    "minimum": torch._foreach_minimum,
    "power": torch._foreach_pow,
}
UNARY: dict[str, Callable[..., Any]] = {
    "sqrt": torch._foreach_sqrt,
    "negative": torch._foreach_neg,
    "absolute": torch._foreach_abs,
    "exp": torch._foreach_exp,
    "log": torch._foreach_log,
    "reciprocal": torch._foreach_reciprocal,
    "sign": torch._foreach_sign,
    "tanh": torch._foreach_tanh,
    "sigmoid": torch._foreach_sigmoid,
}
# Operators of several results with a kernel that changes lists in place.
FUSED: dict[str, Callable[..., Any]] = {"adam_step": adam_step}
# Calls without an effect of their own: what nothing reads of them goes.
PURE = frozenset({*IN_PLACE, number, multiplier})
COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum"})

# A column's name: a group's own, or a number for what is computed.
Key = str | int


def each(function: Callable[..., Any], *columns: Any) -> list[Any]:
    """``function`` once a variable, for an operator without a _foreach_ form."""
    return [function(*row) for row in zip(*columns, strict=True)]


def pick(column: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """Some of a column's tensors."""
    return [column[i] for i in places]


def choose(condition: torch.Tensor, x: Any, y: Any) -> list[torch.Tensor]:
    """x where one condition holds for all variables, else y: no arithmetic. A tensor stands for a column of itself."""
    chosen, other = (x, y) if bool(condition) else (y, x)
    if isinstance(chosen, torch.Tensor):
        return [chosen.expand_as(t) for t in other]
    return list(chosen)


class Update:
    """A graph of variable updates as generated torch code over lists of tensors.

    ``groups`` gives each weight or input that is one of many: label -> (group, place in it). Call
    with the gradients in order; variables are changed in place.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, torch.Tensor], groups: Mapping[str, tuple[str, int]], count: int
    ):
        self.graph = expand(graph, has_torch, "torch")
        self.tensors, self.groups, self.count = dict(tensors), dict(groups), count
        columns: dict[str, dict[int, torch.Tensor]] = {}
        for label, tensor in self.tensors.items():
            if label in groups:
                group, place = groups[label]
                columns.setdefault(group, {})[place] = tensor
        self.places = {group: sorted(column) for group, column in columns.items()}
        self.lists = {group: [columns[group][i] for i in places] for group, places in self.places.items()}
        self.module = _Writer(self).module()
        self.run = plain(self.module)

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            self.run(list(gradients), *self.lists.values())

    @property
    def code(self) -> str:
        """The generated Python."""
        return self.module.code


class _Writer:
    def __init__(self, update: Update):
        self.update, self.graph = update, update.graph
        self.root = nn.Module()
        self.fx = fx.Graph()
        self.tracer = fx.proxy.GraphAppendingTracer(self.fx)
        self.keys: dict[Value, tuple[Key, int]] = {}
        self.places: dict[Key, list[int]] = {"gradients": list(range(update.count))}
        self.places.update(update.places)
        self.members: dict[Key, dict[int, Value]] = {}
        self.columns: dict[Key, Any] = {}
        self.parts: dict[tuple[Key, tuple[int, ...]], Any] = {}
        self.singles: dict[Value, Any] = {}
        self.numbers: dict[tuple[Value, Callable[[Any], Any]], Any] = {}

    def module(self) -> fx.GraphModule:
        self.columns["gradients"] = self._placeholder("gradients", [v.type.shape for v in self.graph.inputs])
        self._sort()
        for group in self.update.lists:
            self.columns[group] = self._placeholder(identifier(group), [t.shape for t in self.update.lists[group]])
        for node in self.graph.nodes:
            value = node.results[0]
            if value in self.keys:
                self._columns(node)
            elif not isinstance(node.op, Input):
                self._single(node)
        self._write()
        self.fx.output(None)
        # Products that a sum takes in, and constants that became numbers.
        self.fx.eliminate_dead_code(lambda node: node.op != "get_attr" and node.target not in PURE)
        reuse_memory(self.fx)
        self.fx.lint()
        return fx.GraphModule(self.root, self.fx, class_name="Update")

    def _sort(self) -> None:
        """Put values into columns: the same operator on operands of the same columns at the same place."""
        # Numbered by what they are made of: a name that held all of it would grow with every shared part.
        numbers: dict[tuple[Any, ...], int] = {}
        for node in self.graph.nodes:
            value = node.results[0]
            if isinstance(node.op, (Weight, Input)):
                found = self.update.groups.get(node.op.label)
                if found is not None:
                    self.keys[value] = found
                continue
            if isinstance(node.op, Constant) or (len(node.results) > 1 and not self._is_fused(node)):
                continue
            places = {self.keys[v][1] for v in node.inputs if v in self.keys}
            if len(places) != 1:
                continue
            parts = [self.keys[v][0] if v in self.keys else ("one", id(v)) for v in node.inputs]
            place = places.pop()
            for i, result in enumerate(node.results):
                # One dtype a column: a GPU's kernels for lists take no others.
                group = numbers.setdefault((node.op, i, node.types[i].dtype, *parts), len(numbers))
                self.keys[result] = (group, place)
                self.members.setdefault(group, {})[place] = result
        for key, column in self.members.items():
            self.places[key] = sorted(column)
            # Alone among many it has nothing to be put together with, nor has what depends on it.
            if len(column) == 1 and self.update.count > 1:
                for value in column.values():
                    del self.keys[value]

    def _is_fused(self, node: Node) -> bool:
        """True where one kernel does this for all variables: what is not theirs is one for all."""
        return (
            node.op.name in FUSED and all(v in self.keys for v in node.inputs[:-1]) and node.inputs[-1] not in self.keys
        )

    # ---- writing

    def _placeholder(self, name: str, shapes: Sequence[Any]) -> Any:
        made = self.fx.placeholder(name)
        made.meta["shapes"] = [tuple(s) for s in shapes]
        return fx.Proxy(made, self.tracer)

    def _call(self, target: Any, *args: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, args, {})

    def _alike(self, target: Any, column: Any, *args: Any) -> Any:
        """A call whose results have the shapes of a column."""
        made = self._call(target, column, *args)
        made.node.meta["shapes"] = column.node.meta.get("shapes")
        return made

    def _operand(self, value: Value | None) -> Any:
        """A value on its own: a single, or its place in a column; None for an absent operand."""
        if value is None:
            return None
        if value in self.keys:
            key, place = self.keys[value]
            return self._call(operator.getitem, self.columns[key], self.places[key].index(place))
        return self.singles[value]

    def _narrowed(self, key: Key, places: list[int]) -> Any:
        """A column at these places only."""
        own = self.places[key]
        if own == places:
            return self.columns[key]
        part = (key, tuple(places))
        if part not in self.parts:
            self.parts[part] = self._call(pick, self.columns[key], [own.index(i) for i in places])
        return self.parts[part]

    def _columns(self, node: Node) -> None:
        """Write what a node and its like compute, once."""
        keys = [self.keys[v][0] for v in node.results]
        if keys[0] in self.columns:
            return
        made = self._column(node, self.places[keys[0]])
        for i, key in enumerate(keys):
            column = made if len(keys) == 1 else made[i]
            column.node.meta["shapes"] = [v.type.shape for _, v in sorted(self.members[key].items())]
            self.columns[key] = column

    def _column(self, node: Node, places: list[int]) -> Any:
        name, inputs = node.op.name, list(node.inputs)
        operands = [self._narrowed(self.keys[v][0], places) if v in self.keys else None for v in inputs]
        if name in FUSED:
            given = [c if c is not None else self._number(v) for c, v in zip(operands, inputs, strict=True)]
            return self._call(FUSED[name], *given, *node.op.attributes().values())
        if name == "square":
            return self._call(torch._foreach_mul, operands[0], operands[0])
        if name == "rsqrt":
            return self._call(torch._foreach_reciprocal, self._alike(torch._foreach_sqrt, operands[0]))
        if name == "clip":
            return self._clipped(node.op, operands[0])
        if name == "where" and operands[0] is None and inputs[0] is not None and inputs[0].type.shape == ():
            chosen = [c if c is not None else self._operand(v) for c, v in zip(operands, inputs, strict=True)]
            return self._call(choose, *chosen)
        if name in UNARY:
            return self._call(UNARY[name], operands[0])
        if name in BINARY:
            found = self._binary(name, operands, inputs, places)
            if found is not None:
                return found
        return self._each(node, operands, len(places))

    def _binary(self, name: str, operands: list[Any], inputs: list[Value | None], places: list[int]) -> Any:
        """(column, column) or (column, number) as one call; None where an operand is neither."""
        if operands[0] is None and name in COMMUTATIVE:
            operands, inputs = operands[::-1], inputs[::-1]
        if operands[0] is not None and operands[1] is not None:
            scaled = self._scaled(inputs[1]) if name in ("add", "subtract") else None
            if scaled is None:
                return self._call(BINARY[name], *operands)
            column, factor = scaled
            return self.tracer.create_proxy(
                "call_function", BINARY[name], (operands[0], self._narrowed(column, places)), {"alpha": factor}
            )
        single = inputs[1] if operands[1] is None else inputs[0]
        if single is None or single.type.shape != ():
            return None
        if operands[1] is None:
            as_number = multiplier if name in ("multiply", "divide") else number
            return self._call(BINARY[name], operands[0], self._number(single, as_number))
        if name == "subtract":
            return self._call(torch._foreach_add, self._alike(torch._foreach_neg, operands[1]), self._number(single))
        return None

    def _scaled(self, value: Value | None) -> tuple[Key, Any] | None:
        """(column, number) where a value is their product: sums take the number as ``alpha``."""
        if value is None or value.op.name != "multiply":
            return None
        for column, factor in (value.inputs, value.inputs[::-1]):
            if column is None or factor is None or column not in self.keys or factor in self.keys:
                continue
            if factor.type.shape == () and column.type.shape == value.type.shape:
                return self.keys[column][0], self._number(factor)
        return None

    def _clipped(self, op: Any, column: Any) -> Any:
        column = column if op.minimum is None else self._alike(torch._foreach_clamp_min, column, op.minimum)
        return column if op.maximum is None else self._call(torch._foreach_clamp_max, column, op.maximum)

    def _number(self, value: Value | None, as_number: Callable[[Any], Any] = number) -> Any:
        assert value is not None
        if isinstance(value.op, Constant):
            return value.op.value.data.item()
        if (value, as_number) not in self.numbers:
            self.numbers[value, as_number] = self._call(as_number, self._operand(value))
        return self.numbers[value, as_number]

    def _each(self, node: Node, operands: list[Any], count: int) -> Any:
        label = identifier(node.op.name)
        name, number = label, 0
        while hasattr(self.root, name):
            number += 1
            name = f"{label}_{number}"
        self.root.add_module(name, Opaque(node.op, tuple(None if v is None else v.type for v in node.inputs)))
        columns = [
            c if c is not None else self._call(operator.mul, [self._operand(v)], count)
            for c, v in zip(operands, node.inputs, strict=True)
        ]
        return self._call(each, self.tracer.create_proxy("get_attr", name, (), {}), *columns)

    def _single(self, node: Node) -> None:
        if isinstance(node.op, Weight):
            name = f"single_{identifier(node.op.label)}"
            self.root.register_buffer(name, self.update.tensors[node.op.label], persistent=False)
            results: Any = fx.Proxy(self.fx.get_attr(name), self.tracer)
        elif isinstance(node.op, Constant):
            name = f"constant_{len(self.singles)}"
            tensor = torch.from_numpy(portable(node.op.value.data.copy())).to(DTYPES[node.types[0].dtype.name])
            self.root.register_buffer(name, tensor, persistent=False)
            results = fx.Proxy(self.fx.get_attr(name), self.tracer)
        else:
            operands = [None if v is None else self._operand(v) for v in node.inputs]
            types = tuple(None if v is None else v.type for v in node.inputs)
            if node.op.runs_opaque(node.inputs):
                label = f"{identifier(node.op.name)}_{len(self.singles)}"
                self.root.add_module(label, Opaque(node.op, types))
                results = self.tracer.create_proxy("call_module", label, tuple(operands), {})
            else:
                context = Recording(self.tracer, {})
                context.inputs, context.outputs = types, node.types
                results = node.op.torch(context, *operands)
        if len(node.results) == 1:
            results = (results,)
        for i, value in enumerate(node.results):
            self.singles[value] = results[i]

    def _write(self) -> None:
        """Copy the new values into the variables, whole columns at once."""
        pending: dict[tuple[str, Key], list[int]] = {}
        rest: list[tuple[str, Value]] = []
        for label, value in self.graph.updates:
            group = self.update.groups.get(label)
            # A weight that another variable takes over may itself be written before it is read.
            if (
                group is not None
                and value in self.keys
                and self.keys[value][1] == group[1]
                and isinstance(self.keys[value][0], int)
            ):
                pending.setdefault((group[0], self.keys[value][0]), []).append(group[1])
            else:
                rest.append((label, value))
        taken = [self._call(torch.clone, self._operand(value)) for _, value in rest]
        for (target, key), places in pending.items():
            places.sort()
            self._call(torch._foreach_copy_, self._narrowed(target, places), self._narrowed(key, places))
        for (label, _), value in zip(rest, taken, strict=True):
            self.tracer.create_proxy("call_method", "copy_", (self._target(label), value), {})

    def _target(self, label: str) -> Any:
        group = self.update.groups.get(label)
        if group is not None:
            return self._call(operator.getitem, self.columns[group[0]], self.places[group[0]].index(group[1]))
        name = f"single_{identifier(label)}"
        if not hasattr(self.root, name):
            self.root.register_buffer(name, self.update.tensors[label], persistent=False)
        return fx.Proxy(self.fx.get_attr(name), self.tracer)

"""Horizontal fusion of an update graph: equal work on many variables becomes one torch._foreach_ call.

An optimizer is written for one variable. Traced over all of a model's variables it gives a graph
with the same few operators once a variable. Nodes are put together where they apply the same
operator to operands that are together themselves (gradients, variables, each kind of slot), so a
step of Adam over 200 variables runs a dozen calls instead of 2,400.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from kcompile.engine.context import DTYPES, Recording
from kcompile.engine.lower import Opaque, has_torch, identifier
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
COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum"})

Key = tuple[Any, ...]


def number(x: Any) -> float:
    """A rank-0 CPU tensor as the Python number that _foreach_ functions take."""
    return x.item() if isinstance(x, torch.Tensor) else x


def each(function: Callable[..., Any], *columns: Any) -> list[Any]:
    """``function`` once a variable, for an operator without a _foreach_ form."""
    return [function(*row) for row in zip(*columns, strict=True)]


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
        self.lists: dict[str, list[torch.Tensor]] = {}
        for label, tensor in self.tensors.items():
            if label in groups:
                self.lists.setdefault(groups[label][0], []).append(tensor)
        self.module = _Writer(self).module()

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            self.module(list(gradients), *self.lists.values())

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
        self.members: dict[Key, dict[int, Value]] = {}
        self.columns: dict[Key, Any] = {}
        self.singles: dict[Value, Any] = {}

    def module(self) -> fx.GraphModule:
        self.columns[("gradients",)] = self._placeholder("gradients")
        self._sort()
        for group in self.update.lists:
            self.columns[(group,)] = self._placeholder(identifier(group))
        for node in self.graph.nodes:
            value = node.results[0]
            if value in self.keys:
                key, _ = self.keys[value]
                if key not in self.columns:
                    self.columns[key] = self._column(node)
            elif not isinstance(node.op, Input):
                self._single(node)
        self._write()
        self.fx.output(None)
        self.fx.lint()
        return fx.GraphModule(self.root, self.fx, class_name="Update")

    def _sort(self) -> None:
        """Put values into columns: the same operator on operands of the same columns at the same place."""
        for node in self.graph.nodes:
            value = node.results[0]
            if isinstance(node.op, (Weight, Input)):
                found = self.update.groups.get(node.op.label)
                if found is not None:
                    self._join(value, (found[0],), found[1])
                continue
            if len(node.results) > 1 or isinstance(node.op, Constant):
                continue
            places = {self.keys[v][1] for v in node.inputs if v in self.keys}
            if len(places) != 1:
                continue
            parts = [self.keys[v][0] if v in self.keys else ("one", id(v)) for v in node.inputs]
            self._join(value, (node.op, *parts), places.pop())
        # A column that lacks a variable has nothing to be fused with: its values run one by one.
        for key, members in self.members.items():
            whole = len(members) == self.update.count
            if not whole and len(key) > 1:
                for value in members.values():
                    del self.keys[value]
        self._drop_dependents()

    def _drop_dependents(self) -> None:
        for node in self.graph.nodes:
            value = node.results[0]
            if value in self.keys and len(self.keys[value][0]) > 1:
                parts = self.keys[value][0][1:]
                together = [p[0] != "one" or len(p) == 1 for p in parts]
                if any(t and v not in self.keys for t, v in zip(together, node.inputs, strict=True)):
                    del self.keys[value]

    def _join(self, value: Value, key: Key, place: int) -> None:
        self.keys[value] = (key, place)
        self.members.setdefault(key, {})[place] = value

    # ---- writing

    def _placeholder(self, name: str) -> Any:
        return fx.Proxy(self.fx.placeholder(name), self.tracer)

    def _call(self, target: Any, *args: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, args, {})

    def _operand(self, value: Value | None) -> Any:
        """A value on its own: a single, or its place in a column."""
        if value is None:
            return None
        if value in self.keys:
            key, place = self.keys[value]
            return self._call(operator.getitem, self.columns[key], place)
        return self.singles[value]

    def _column(self, node: Node) -> Any:
        name = node.op.name
        operands = [self.columns[self.keys[v][0]] if v in self.keys else None for v in node.inputs]
        if name == "square":
            return self._call(torch._foreach_mul, operands[0], operands[0])
        if name == "rsqrt":
            return self._call(torch._foreach_reciprocal, self._call(torch._foreach_sqrt, operands[0]))
        if name in UNARY:
            return self._call(UNARY[name], operands[0])
        if name in BINARY and len(operands) == 2:
            if operands[0] is None and name in COMMUTATIVE:
                operands, inputs = operands[::-1], node.inputs[::-1]
            else:
                inputs = node.inputs
            if operands[0] is not None:
                scalar = operands[1] is None
                if not scalar or (inputs[1] is not None and inputs[1].type.shape == ()):
                    other = self._number(inputs[1]) if scalar else operands[1]
                    return self._call(BINARY[name], operands[0], other)
        return self._each(node, operands)

    def _number(self, value: Value | None) -> Any:
        if value is not None and isinstance(value.op, Constant):
            return value.op.value.data.item()
        return self._call(number, self._operand(value))

    def _each(self, node: Node, operands: list[Any]) -> Any:
        label = identifier(node.op.name)
        name, count = label, 0
        while hasattr(self.root, name):
            count += 1
            name = f"{label}_{count}"
        self.root.add_module(name, Opaque(node.op, tuple(None if v is None else v.type for v in node.inputs)))
        columns = [
            c if c is not None else self._call(operator.mul, [self._operand(v)], self.update.count)
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
            tensor = torch.from_numpy(node.op.value.data.copy()).to(DTYPES[node.types[0].dtype.name])
            self.root.register_buffer(name, tensor, persistent=False)
            results = fx.Proxy(self.fx.get_attr(name), self.tracer)
        else:
            operands = [None if v is None else self._operand(v) for v in node.inputs]
            types = tuple(None if v is None else v.type for v in node.inputs)
            if node.op.torch_opaque:
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
        """Copy the new values into the variables, whole columns at once, in place where that is the same."""
        pending: dict[tuple[str, Key], int] = {}
        rest: list[tuple[str, Value]] = []
        for label, value in self.graph.updates:
            group = self.update.groups.get(label)
            if group is not None and value in self.keys and self.keys[value][1] == group[1]:
                key = (group[0], self.keys[value][0])
                pending[key] = pending.get(key, 0) + 1
            else:
                rest.append((label, value))
        for (name, key), count in pending.items():
            if count != self.update.count:
                raise RuntimeError(f"the updates of {name!r} cover {count} of {self.update.count} variables")
            self._call(torch._foreach_copy_, self.columns[(name,)], self.columns[key])
        for label, value in rest:
            self.tracer.create_proxy("call_method", "copy_", (self._target(label), self._operand(value)), {})

    def _target(self, label: str) -> Any:
        group = self.update.groups.get(label)
        if group is not None:
            return self._call(operator.getitem, self.columns[(group[0],)], group[1])
        name = f"single_{identifier(label)}"
        if not hasattr(self.root, name):
            self.root.register_buffer(name, self.update.tensors[label], persistent=False)
        return fx.Proxy(self.fx.get_attr(name), self.tracer)

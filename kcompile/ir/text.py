"""The text form of graphs: `show` writes it, `parse` reads it back.

::

    graph head(%x: f32[N, 4]) {
      %0 = weight "d/kernel" : f32[4, 3]
      %1 = dense(%x, %0, _) : f32[N, 3]  # d
      %2, %3 = top_k(%1, k=2) : f32[N, 2], i32[N, 2]
      return output=%2
      update "d/count" = %3
    }

An absent operand is ``_``; attributes that have their default are left out; what follows ``#``
is the origin. Regions are graphs among the attributes. A name that is not plain is written in
quotes, as JSON, everywhere: ``%"odd name"``. Lines and blanks are for the reader only.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kcompile.errors import GraphError, ParseError, did_you_mean, printable
from kcompile.ir.dim_text import parse_dim
from kcompile.ir.dims import Dim
from kcompile.ir.graph import Graph
from kcompile.ir.op import Array, Constant, Input, Node, Op, Value, Weight
from kcompile.ir.types import DType, Type, dtype, parse_type

SMALL = 16  # elements of an array that are written as numbers; larger ones are base64
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


def show(graph: Graph, elide: bool = False, indent: str = "") -> str:
    """The graph as text. ``elide`` shortens large constants, and such text does not parse back."""
    names = _names(graph)
    arguments = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    lines = [f"graph {_quoted(graph.name)}({arguments}) {{"]
    for node in graph.nodes:
        if not isinstance(node.op, Input):
            lines.append(f"{indent}  {_show_node(node, names, elide, indent)}")
    ends = zip(graph.output_names, graph.outputs, strict=True)
    outputs = ", ".join(f"{_quoted(name)}={names[value]}" for name, value in ends)
    lines.append(f"{indent}  return {outputs}".rstrip())
    lines += [f"{indent}  update {json.dumps(label)} = {names[v]}" for label, v in graph.updates]
    return "\n".join([*lines, f"{indent}}}"])


def parse(text: str, operators: Mapping[str, type[Op]]) -> Graph:
    """The graph that `show` wrote; ``operators`` are the known classes by name.

    Types are taken from the text (`verify` compares them with what the operators infer).
    Raises ParseError with the line.
    """
    parser = _Parser(text, operators)
    try:
        graph = parser.graph()
        if not parser.ended():
            raise ParseError("text after the graph's end")
        return graph
    except (GraphError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ParseError(f"line {parser.line()}: {error}") from error


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name)


def _names(graph: Graph) -> dict[Value, str]:
    names = {}
    for value in graph.inputs:
        label: str = value.op.label  # type: ignore[attr-defined]
        names[value] = "%" + (json.dumps(label) if label.isdigit() else _quoted(label))
    count = 0
    for node in graph.nodes:
        if not isinstance(node.op, Input):
            for value in node.results:
                names[value] = f"%{count}"
                count += 1
    return names


def _show_node(node: Node, names: dict[Value, str], elide: bool, indent: str) -> str:
    results = ", ".join(names[v] for v in node.results)
    types = ", ".join(map(str, node.types))
    if isinstance(node.op, Weight):
        call = f"weight {json.dumps(node.op.label)}"
    elif isinstance(node.op, Constant):
        call = f"constant {_show_array(node.op.value, elide)}"
    else:
        parts = ["_" if v is None else names[v] for v in node.inputs]
        parts += [f"{k}={_show_attribute(v, elide, indent)}" for k, v in node.op.changed().items()]
        call = f"{node.op.name}({', '.join(parts)})"
    tail = f"  # {_quoted(node.origin)}" if node.origin else ""
    return f"{results} = {call} : {types}{tail}"


def _show_array(array: Array, elide: bool) -> str:
    data = array.data
    if data.size <= SMALL and data.dtype.name != "bfloat16":
        numbers = data.tolist()
        if np.isfinite(data).all():
            return json.dumps(numbers)
        # Numbers say all but the sign and payload of a NaN.
        if np.where(np.isnan(data), float("nan"), data).astype(data.dtype).tobytes() == data.tobytes():
            return repr(numbers)
    if elide:
        return f'"{data.size} elements"'
    return f'"{base64.b64encode(data.tobytes()).decode()}"'


def _show_attribute(value: Any, elide: bool, indent: str) -> str:
    if isinstance(value, Graph):
        return show(value, elide, indent + "    ")
    if isinstance(value, Array):
        return f"array<{dtype(value.data.dtype)}{list(value.data.shape)} {_show_array(value, elide)}>"
    if isinstance(value, Dim):
        return f"`{value}`"
    if isinstance(value, (DType, Type)):
        return f"<{value}>"
    if isinstance(value, tuple):
        inner = ", ".join(_show_attribute(v, elide, indent) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return json.dumps(value) if isinstance(value, str) else repr(value)


_BLANK = re.compile(r"\s*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_RESULT = re.compile(r"%(?:[0-9]+(?![A-Za-z0-9_./-])|[A-Za-z0-9_./-]+|" + _STRING.pattern + ")")
_TYPE = re.compile(r"\w+\[[^\]\n]*\]")
_KEY = re.compile(r"(\w+)\s*=")
_NUMBER = re.compile(r"-?(?:inf|nan|[0-9]+(\.[0-9]*)?(?:e[+-]?[0-9]+)?)\b", re.IGNORECASE)
_WORDS = {"true": True, "false": False, "True": True, "False": False, "None": None}


class _Parser:
    """Reads a text from front to back; every method takes what it is named after."""

    def __init__(self, text: str, operators: Mapping[str, type[Op]]):
        self.text, self.operators = text, operators
        self.at = 0  # where the next token starts
        self.last = 0  # where the last one did

    def line(self) -> int:
        """The line of the last token."""
        return self.text.count("\n", 0, self.last) + 1

    def ended(self) -> bool:
        self.skip()
        return self.at == len(self.text)

    def skip(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = self.last = match.end() if match else self.at

    def next(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The match of a token here, taken; None leaves everything as it is."""
        self.skip()
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def need(self, pattern: re.Pattern[str], what: str) -> str:
        match = self.next(pattern)
        if match is None:
            rest = self.text[self.at : self.at + 40].partition("\n")[0]
            raise ParseError(f"expected {what}, got {repr(rest) if rest else 'the end'}")
        return match.group()

    def has(self, word: str) -> bool:
        """Whether ``word`` stands here; if so it is taken."""
        self.skip()
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def take(self, word: str) -> None:
        if not self.has(word):
            self.need(re.compile(re.escape(word)), repr(word))

    def several(self, item: Callable[[], Any], end: str) -> list[Any]:
        """Items between commas up to ``end``, which is taken; a comma may stand before it."""
        items: list[Any] = []
        while not self.has(end):
            if items:
                self.take(",")
                if self.has(end):
                    break
            items.append(item())
        return items

    def string(self) -> str:
        return json.loads(self.need(_STRING, "a text in quotes"))

    def name(self) -> str:
        self.skip()
        return self.string() if self.text.startswith('"', self.at) else self.need(_PLAIN, "a name")

    def type(self) -> Type:
        return parse_type(self.need(_TYPE, "a type such as f32[N, 4]"))

    def graph(self) -> Graph:
        self.take("graph")
        name, values = self.name(), {}
        inputs: list[Value] = []

        def argument() -> None:
            key = self.need(_RESULT, "an input such as %x")
            self.take(":")
            label = json.loads(key[1:]) if key.startswith('%"') else key[1:]
            inputs.append(Input(label, self.type())())
            values[key] = inputs[-1]

        self.take("(")
        self.several(argument, ")")
        self.take("{")
        while not self.has("return"):
            self.node(values)
        outputs = self.outputs(values)
        updates = []
        while not self.has("}"):
            self.take("update")
            label = self.string()
            self.take("=")
            updates.append((label, self.value(values)))
        return Graph(name, inputs, [v for _, v in outputs], [n for n, _ in outputs], updates)

    def outputs(self, values: dict[str, Value]) -> list[tuple[str, Value]]:
        found: list[tuple[str, Value]] = []
        while not found or self.has(","):
            start = self.at
            # Nothing is returned where an update or the end follows.
            if self.has("}") or (self.has("update") and not self.has("=")):
                self.at = start
                break
            self.at = start
            name = self.name()
            self.take("=")
            found.append((name, self.value(values)))
        return found

    def value(self, values: dict[str, Value]) -> Value:
        key = self.need(_RESULT, "a value such as %0")
        if key not in values:
            raise ParseError(f"{printable(key)} is used before it is defined")
        return values[key]

    def node(self, values: dict[str, Value]) -> None:
        keys = [self.need(_RESULT, "an operator, return or update")]
        while self.has(","):
            keys.append(self.need(_RESULT, "a result such as %0"))
        self.take("=")
        name = self.need(_PLAIN, "an operator's name")
        line = self.last
        inputs: list[Value | None] = []
        attributes: dict[str, Any] = {}
        if name == "weight":
            attributes["label"] = self.string()
        elif name == "constant":
            attributes["value"] = self.numbers()
        elif name not in self.operators:
            raise ParseError(f"unknown operator {name!r}{did_you_mean(name, self.operators)}")
        else:
            self.take("(")
            self.several(lambda: self.operand(values, inputs, attributes), ")")
        self.take(":")
        types = [self.type()]
        while self.has(","):
            types.append(self.type())
        origin = self.name() if self.has("#") else ""
        self.last = line
        node = Node(self.operator(name, attributes, types), tuple(inputs), tuple(types), origin)
        if len(keys) != len(types):
            raise ParseError(f"{len(keys)} results, {len(types)} types")
        for key, value in zip(keys, node.results, strict=True):
            if key in values:
                raise ParseError(f"{printable(key)} is defined twice")
            values[key] = value

    def operator(self, name: str, attributes: dict[str, Any], types: list[Type]) -> Op:
        if name == "weight":
            return Weight(attributes["label"], types[0])
        if name == "constant":
            return Constant(_array(attributes["value"], types[0]))
        return self.operators[name](**attributes)

    def operand(self, values: dict[str, Value], inputs: list[Value | None], attributes: dict[str, Any]) -> None:
        match = self.next(_KEY)
        if match is not None:
            if match[1] in attributes:
                raise ParseError(f"the attribute {match[1]!r} stands twice")
            attributes[match[1]] = self.attribute()
        elif self.has("_"):
            inputs.append(None)
        else:
            inputs.append(self.value(values))

    def attribute(self) -> Any:
        self.skip()
        start = self.text[self.at : self.at + 1]
        if start == '"':
            return self.string()
        if self.has("`"):
            return parse_dim(self.need(re.compile("[^`\n]*`"), "a size in backquotes")[:-1])
        if self.has("<"):
            inner = self.need(re.compile("[^>\n]*>"), "a type in angle brackets")[:-1]
            return parse_type(inner) if "[" in inner else dtype(inner)
        if self.has("("):
            return tuple(self.several(self.attribute, ")"))
        if self.has("array<"):
            type = self.type()
            array = _array(self.numbers(), type)
            self.take(">")
            return array
        if self.text.startswith("graph ", self.at):
            return self.graph()
        return self.number()

    def numbers(self) -> Any:
        """Numbers in nested lists, or bytes from base64."""
        if self.has("["):
            return self.several(self.numbers, "]")
        if self.text.startswith('"', self.at):
            return base64.b64decode(self.string(), validate=True)
        return self.number()

    def number(self) -> Any:
        match = self.next(_NUMBER)
        if match is not None:
            whole = match.group().lstrip("-").isdigit()
            return int(match.group()) if whole else float(match.group())
        return _WORDS[self.need(re.compile("|".join(_WORDS)), "a value")]


def _array(data: Any, type: Type) -> Array:
    shape = [int(d) for d in type.shape]
    if isinstance(data, bytes):
        return Array(np.frombuffer(data, type.dtype.numpy).reshape(shape))
    return Array(np.array(data, type.dtype.numpy).reshape(shape))

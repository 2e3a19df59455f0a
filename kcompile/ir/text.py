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
is the origin. Regions are graphs in braces among the attributes.
"""

from __future__ import annotations

import ast
import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from kcompile.errors import GraphError, ParseError, did_you_mean
from kcompile.ir.dims import Dim, parse_dim
from kcompile.ir.graph import Graph
from kcompile.ir.op import Array, Constant, Input, Node, Op, Value, Weight
from kcompile.ir.types import DType, Type, dtype, parse_type, split_top

SMALL = 16  # elements of an array that are written as numbers; larger ones are base64


def show(graph: Graph, elide: bool = False, indent: str = "") -> str:
    """The graph as text. ``elide`` shortens large constants, and such text does not parse back."""
    names = _names(graph)
    arguments = ", ".join(f"%{v.op.label}: {v.type}" for v in graph.inputs)  # type: ignore[attr-defined]
    lines = [f"graph {graph.name}({arguments}) {{"]
    for node in graph.nodes:
        if not isinstance(node.op, Input):
            lines.append(f"{indent}  {_show_node(node, names, elide, indent)}")
    outputs = ", ".join(f"{n}={names[v]}" for n, v in zip(graph.output_names, graph.outputs, strict=True))
    lines.append(f"{indent}  return {outputs}".rstrip())
    lines += [f"{indent}  update {json.dumps(label)} = {names[v]}" for label, v in graph.updates]
    return "\n".join([*lines, f"{indent}}}"])


def parse(text: str, operators: Mapping[str, type[Op]]) -> Graph:
    """The graph that `show` wrote; ``operators`` are the known classes by name.

    Types are taken from the text (`verify` compares them with what the operators infer).
    Raises ParseError with the line.
    """
    lines = text.strip().splitlines()
    graph, rest = _Parser(lines, operators).graph(0)
    if any(line.strip() for line in lines[rest:]):
        raise ParseError(f"line {rest + 1}: text after the graph's end")
    return graph


def _names(graph: Graph) -> dict[Value, str]:
    names = {v: f"%{v.op.label}" for v in graph.inputs}  # type: ignore[attr-defined]
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
    tail = f"  # {node.origin}" if node.origin else ""
    return f"{results} = {call} : {types}{tail}"


def _show_array(array: Array, elide: bool) -> str:
    data = array.data
    if data.size <= SMALL and dtype(data.dtype).name != "bf16":
        return json.dumps(data.tolist()) if _finite(data) else repr(data.tolist())
    if elide:
        return f'"{data.size} elements"'
    return f'"{base64.b64encode(data.tobytes()).decode()}"'


def _finite(data: np.ndarray) -> bool:
    return data.dtype.kind != "f" or bool(np.isfinite(data).all())


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


class _Parser:
    """One text; methods take and return line numbers."""

    def __init__(self, lines: list[str], operators: Mapping[str, type[Op]]):
        self.lines, self.operators = lines, operators

    def graph(self, at: int) -> tuple[Graph, int]:
        header = self.lines[at].strip() if at < len(self.lines) else ""
        if not header.startswith("graph ") or not header.endswith(") {"):
            raise ParseError(f"line {at + 1}: expected 'graph name(...) {{', got {header!r}")
        name, _, arguments = header[len("graph ") : -len(") {")].partition("(")
        values: dict[str, Value] = {}
        inputs = []
        for part in split_top(arguments):
            label, _, kind = part.partition(":")
            label = label.strip().removeprefix("%")
            values["%" + label] = Input(label, parse_type(kind))()
            inputs.append(values["%" + label])
        outputs: dict[str, Value] = {}
        updates: list[tuple[str, Value]] = []
        at += 1
        while at < len(self.lines):
            line = self.lines[at].strip()
            try:
                if line == "}" or line.startswith(("},", "})")):
                    return Graph(name.strip(), inputs, list(outputs.values()), list(outputs), updates), at + 1
                if line.startswith("return"):
                    for part in split_top(line.removeprefix("return")):
                        key, _, value = part.partition("=")
                        outputs[key] = values[value]
                elif line.startswith("update "):
                    label, _, value = line.removeprefix("update ").rpartition(" = ")
                    updates.append((json.loads(label), values[value]))
                elif line:
                    at = self.node(line, at, values)
                    continue
            except (ParseError, GraphError):
                raise
            except (KeyError, ValueError, SyntaxError, TypeError, IndexError) as error:
                raise ParseError(f"line {at + 1}: {type(error).__name__}: {error} in {line!r}") from error
            at += 1
        raise ParseError(f"line {at}: the graph {name!r} does not end with '}}'")

    def node(self, line: str, at: int, values: dict[str, Value]) -> int:
        """Reads one operator that starts at ``line``; its regions may take more lines."""
        results, _, call = line.partition(" = ")
        if call.startswith("weight "):
            label, _, rest = call.removeprefix("weight ").rpartition(" : ")
            kind, origin = _split_origin(rest)
            node = Node(Weight(json.loads(label), parse_type(kind)), (), (parse_type(kind),), origin)
            at += 1
        elif call.startswith("constant "):
            data, _, rest = call.removeprefix("constant ").rpartition(" : ")
            kind, origin = _split_origin(rest)
            type = parse_type(kind)
            node = Node(Constant(_parse_array(data, type)), (), (type,), origin)
            at += 1
        else:
            node, at = self.call(call, at, values)
        for key, value in zip(results.split(", "), node.results, strict=True):
            values[key] = value
        return at

    def call(self, call: str, at: int, values: dict[str, Value]) -> tuple[Node, int]:
        name, bracket, rest = call.partition("(")
        kind = self.operators.get(name)
        if kind is None or not bracket:
            raise ParseError(f"line {at + 1}: unknown operator {name!r}{did_you_mean(name, self.operators)}")
        regions: list[Graph] = []
        number = at + 1
        while rest.endswith("{"):
            # A region's header ends its line: read the graph, then go on behind its closing brace.
            head, word, header = rest.rpartition("graph ")
            kept = self.lines[at]
            self.lines[at] = word + header
            region, end = self.graph(at)
            self.lines[at] = kept
            regions.append(region)
            at = end - 1
            rest = f"{head}@{len(regions) - 1}{self.lines[at].strip()[1:]}"
        body, _, tail = rest.rpartition(") : ")
        types, origin = _split_origin(tail)
        inputs: list[Value | None] = []
        attributes: dict[str, Any] = {}
        for part in split_top(body):
            if part == "_":
                inputs.append(None)
            elif part.startswith("%"):
                if part not in values:
                    raise ParseError(f"line {number}: {part} is used before it is defined")
                inputs.append(values[part])
            else:
                key, _, text = part.partition("=")
                attributes[key] = _parse_attribute(text, regions)
        op = kind(**attributes)
        result_types = tuple(parse_type(t) for t in split_top(types))
        return Node(op, tuple(inputs), result_types, origin), at + 1


def _split_origin(text: str) -> tuple[str, str]:
    kind, _, origin = text.partition("  # ")
    return kind.strip(), origin.strip()


def _parse_array(text: str, type: Type) -> Array:
    text = text.strip()
    shape = [int(d) for d in type.shape]
    if text.startswith('"'):
        data = np.frombuffer(base64.b64decode(text[1:-1], validate=True), dtype=type.dtype.numpy)
        return Array(data.reshape(shape))
    numbers = eval_numbers(text)
    return Array(np.array(numbers, dtype=type.dtype.numpy).reshape(shape))


def eval_numbers(text: str) -> Any:
    """Nested lists of numbers with ``inf``, ``nan``, ``true`` and ``false`` allowed."""
    tree = ast.parse(text, mode="eval").body
    return _number(tree)


_WORDS = {"inf": np.inf, "nan": np.nan, "true": True, "false": False, "True": True, "False": False}


def _number(node: ast.AST) -> Any:
    if isinstance(node, ast.List):
        return [_number(n) for n in node.elts]
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    raise ParseError("expected numbers")


def _parse_attribute(text: str, regions: list[Graph]) -> Any:
    text = text.strip()
    if text.startswith("@"):
        return regions[int(text[1:])]
    if text.startswith("array<"):
        kind, _, data = text[len("array<") : -1].partition("] ")
        return _parse_array(data, parse_type(kind + "]"))
    if text.startswith("`"):
        return parse_dim(text[1:-1])
    if text.startswith("<"):
        return parse_type(text[1:-1]) if "[" in text else dtype(text[1:-1])
    if text.startswith("("):
        return tuple(_parse_attribute(t, regions) for t in split_top(text[1:-1]) if t)
    if text.startswith('"'):
        return json.loads(text)
    if text in ("inf", "-inf", "nan"):
        return float(text)
    return ast.literal_eval(text)

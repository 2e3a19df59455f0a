"""Writes a Graph as ONNX nodes. The only place that makes NodeProtos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from kcompile.errors import KcompileError, UnsupportedError
from kcompile.ir import Constant, DType, Graph, Input, Node, Type, Value, Weight
from kcompile.ir.op import Op
from kcompile.ir.types import bf16, f32
from kcompile.onnx import opaque
from kcompile.onnx.initializers import fold
from kcompile.onnx.protos import ELEMENT_TYPES, type_proto
from kcompile.onnx.sizes import Sizes
from kcompile.onnx.targets import PORTABLE, VENDOR, Target
from kcompile.operators.control import Cond, Scan, WhileLoop
from kcompile.operators.indexing import Gather
from kcompile.operators.logic import Cast
from kcompile.operators.lowering import describe, expand
from kcompile.operators.opaque import Opaque
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Slice, Squeeze, Transpose


class Emitter(Sizes):
    """The ``o`` that onnx facets get. Tensors are their names.

    ``o.Relu(x)`` and every other capitalised name appends that ONNX node and returns its output's
    name, or a tuple of ``outputs=k`` names; operands that are None are absent inputs. Nodes that
    only rearrange initialisers are computed here and leave a new initialiser. Facets see
    ``o.inputs`` and ``o.outputs`` (types of the operands and results), ``o.opset``, and the
    helpers below.
    """

    def __init__(self, opset: int, parent: Emitter | None = None, target: Target = PORTABLE):
        super().__init__(parent)
        self.opset, self.parent = opset, parent
        self.target: Target = target if parent is None else parent.target
        self.inputs: tuple[Type | None, ...] = ()
        self.outputs: tuple[Type, ...] = ()
        self.nodes: list[onnx.NodeProto] = []
        self.reserved: set[str] = set()  # names of weights that have not been written yet
        self.derived: dict[str, str] = {}  # initialisers made from another one alone, and that one
        self.arrays: dict[str, np.ndarray] = {} if parent is None else parent.arrays
        self._counts: dict[str, int] = {}  # how often a label was taken, by label
        self._taken: set[str] = set() if parent is None else parent._taken
        self._array_names: dict[Any, str] = {} if parent is None else parent._array_names
        self.tensors: dict[str, onnx.TensorProto] = {} if parent is None else parent.tensors
        self.domains: dict[str, int] = {} if parent is None else parent.domains
        self.origin: str = "" if parent is None else parent.origin
        # Nodes by operator, operands and attributes: facets of different operators often need the same thing.
        self._made: dict[Any, tuple[str, ...]] = {} if parent is None else dict(parent._made)
        self._transposed: dict[str, tuple[str, list[int]]] = {} if parent is None else dict(parent._transposed)
        self._squeezed: dict[str, tuple[str, str, list[int]]] = {} if parent is None else dict(parent._squeezed)
        self._reshaped: dict[str, str] = {} if parent is None else dict(parent._reshaped)
        self.root: Emitter = parent.root if parent is not None else self

    # ---- nodes

    def __getattr__(self, op_type: str) -> Any:
        if not op_type[:1].isupper():
            raise AttributeError(op_type)
        return partial(self.node, op_type)

    def node(self, op_type: str, *inputs: str | None, outputs: int = 0, domain: str = "", **attributes: Any) -> Any:
        """Append one ONNX node; returns its output name, or a tuple of them where ``outputs`` is given."""
        count = outputs or 1
        operands = [i or "" for i in inputs]
        while operands and not operands[-1]:
            operands.pop()
        attributes = {k: v for k, v in attributes.items() if v is not None}
        folded = fold(op_type, [self.arrays.get(i) if i else None for i in operands], attributes, count)
        if folded is not None:
            hint = next((i for i in operands if i in self.arrays), "constant")
            names = tuple(self._derived(a, hint) for a in folded)
            return names if outputs else names[0]
        if "perm" in attributes and operands[0] in self._transposed:
            # A Transpose of a Transpose (a facet's own behind the graph's) is one, or none.
            operands[0], inner = self._transposed[operands[0]]
            attributes["perm"] = [inner[i] for i in attributes["perm"]]
            if attributes["perm"] == sorted(inner):
                return operands[0]
        if op_type == "Reshape" and operands[0] in self._reshaped and self._plain(operands[1]):
            operands[0] = self._reshaped[operands[0]]
        key = _node_key(op_type, operands, attributes, domain, count)
        if key in self._made:
            names = self._made[key]
            return names if outputs else names[0]
        self._require_schema(op_type, domain)
        label = f"{self.origin}/{op_type}" if self.origin else op_type
        name = self.unique(label)
        results = tuple(name if i == 0 else self.unique(f"{label}.{i}") for i in range(count))
        proto = helper.make_node(op_type, operands, list(results), name=name, domain=domain, **attributes)
        proto.attribute.sort(key=lambda a: a.name)
        self.nodes.append(proto)
        if key is not None:
            self._made[key] = results
        if op_type == "Reshape":
            self._reshaped[name] = operands[0]
        if "perm" in attributes:
            self._transposed[name] = operands[0], list(attributes["perm"])
        return results if outputs else results[0]

    def _plain(self, target: str) -> bool:
        """Whether a Reshape's target copies no size from the tensor before it: an earlier Reshape is then moot."""
        sizes = self.arrays.get(target)
        return sizes is not None and 0 not in sizes

    def has(self, op_type: str) -> bool:
        """Whether the target has this composite as one node; `vendor` writes those of ONNX Runtime's own domain."""
        return self.target.has(op_type, self.opset)

    def vendor(self, op_type: str, *inputs: str | None, **attributes: Any) -> str:
        """A node of ONNX Runtime's own domain."""
        self.root.domains.setdefault(VENDOR, 1)
        name: str = self.node(op_type, *inputs, domain=VENDOR, **attributes)
        return name

    def _require_schema(self, op_type: str, domain: str) -> None:
        if domain or onnx.defs.has(op_type, max_inclusive_version=self.opset, domain=domain):
            return
        since = min((s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op_type), default=0)
        hint = f"it needs --opset {since} or later" if since else "ONNX has no such operator"
        raise UnsupportedError(f"{op_type} is not in opset {self.opset}; {hint}")

    def unique(self, label: str) -> str:
        """``label``, or with ``_1``, ``_2``, ... where it is taken."""
        taken, counts = self.root._taken, self.root._counts
        name = label
        while name in taken:
            counts[label] = counts.get(label, 0) + 1
            name = f"{label}_{counts[label]}"
        taken.add(name)
        return name

    # ---- constants

    def reserve(self, labels: Iterable[str]) -> None:
        """Keep names for weights: nothing made before a weight takes its name."""
        free = set(labels) - self._taken
        self.reserved |= free
        self._taken |= free

    def array(self, data: Any, label: str = "constant", dtype: DType | None = None) -> str:
        """The name of an initialiser with this content (shared where the content is equal)."""
        array = np.asarray(data, dtype=None if dtype is None else dtype.numpy)
        # A digest, not the bytes: keys of large weights would double the memory.
        key = (
            str(array.dtype),
            array.shape,
            hashlib.blake2b(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest(),
        )
        name = self._array_names.get(key)
        if name is None:
            name = self.unique(label)
            self._array_names[key] = name
            self.arrays[name] = array
        return name

    def _derived(self, array: np.ndarray, source: str) -> str:
        """An initialiser computed from another, whose name it may take in the end."""
        name = self.array(array, source)
        if name != source:
            self.root.derived.setdefault(name, self.root.derived.get(source, source))
        return name

    def ints(self, numbers: Sequence[int] | int) -> str:
        """An int64 initialiser."""
        return self.array(np.asarray(numbers, dtype=np.int64), "ints")

    def like(self, number: Any, dtype: DType) -> str:
        """A rank-0 initialiser of the given dtype."""
        return self.array(np.asarray(number, dtype=dtype.numpy), "scalar")

    def value_of(self, name: str | None) -> np.ndarray | None:
        """The content of an initialiser, or None for a tensor that is computed."""
        return self.arrays.get(name) if name else None

    # ---- common forms

    def cast(self, x: str, dtype: DType) -> str:
        """Cast to a dtype."""
        return self.Cast(x, to=ELEMENT_TYPES[dtype.name])

    def element_type(self, dtype: DType) -> int:
        """The TensorProto number of a dtype."""
        return ELEMENT_TYPES[dtype.name]

    def reduce(self, op_type: str, x: str, axes: Sequence[int], keepdims: bool, axes_since: int = 18) -> str:
        """A Reduce* node, its axes as attribute or as input (since opset 18; ReduceSum: 13)."""
        if self.opset >= axes_since:
            return self.node(op_type, x, self.ints(list(axes)), keepdims=int(keepdims), noop_with_empty_axes=1)
        return self.node(op_type, x, axes=list(axes), keepdims=int(keepdims)) if axes else self.Identity(x)

    def squeeze(self, x: str, axes: Sequence[int]) -> str:
        """``x`` without axes of size 1."""
        return self._reranked("Squeeze", x, list(axes))

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        """``x`` with axes of size 1 at these places of the result."""
        return self._reranked("Unsqueeze", x, list(axes))

    def _reranked(self, op_type: str, x: str, axes: list[int]) -> str:
        if not axes:
            return x
        made_by, source, before = self._squeezed.get(x, ("", "", []))
        if made_by not in ("", op_type) and before == axes:
            return source  # one undoes the other
        result = self.node(op_type, x, self.ints(axes))
        self._squeezed[result] = op_type, x, axes
        return result

    # ---- nodes that were in a file

    def opaque(self, op: Any, operands: Sequence[str | None]) -> tuple[str, ...]:
        """A node as it was read."""
        return opaque.write(self, op, operands)

    def append(self, proto: onnx.NodeProto, domain: str, version: int) -> None:
        """A finished node; the file will import its domain at that version."""
        if domain:
            self.domains[domain] = version
        self.nodes.append(proto)

    def tensor(self, proto: onnx.TensorProto, label: str) -> str:
        """An initialiser of an element type that the IR has not."""
        name = self.unique(proto.name or label)
        self.tensors[name] = onnx.TensorProto()
        self.tensors[name].CopyFrom(proto)
        self.tensors[name].name = name
        return name

    # ---- whole graphs

    def emit(self, graph: Graph, names: dict[Value, str]) -> None:
        """Append the nodes of an expanded graph; ``names`` holds its inputs' names and receives the rest."""
        for value in graph.inputs:
            self.note_input(names[value], value.type)
        for node in graph.nodes:
            if isinstance(node.op, Input):
                continue
            if isinstance(node.op, Weight):
                names[node.results[0]] = self._weight(node.op, graph)
            elif isinstance(node.op, Constant):
                names[node.results[0]] = self.array(node.op.value.data)
            else:
                self._emit_node(node, names)

    def _emit_node(self, node: Node, names: dict[Value, str]) -> None:
        self.origin = node.origin or node.op.name
        types = tuple(None if v is None else v.type for v in node.inputs)
        operands = [None if v is None else names[v] for v in node.inputs]
        # ONNX Runtime computes next to nothing in bfloat16: what computes is written in float32 between casts.
        widen = any(type is not None and type.dtype is bf16 for type in types) and not isinstance(node.op, _ANY_DTYPE)
        if widen:
            self.inputs = tuple(None if t is None else _wide(t) for t in types)
            self.outputs = tuple(map(_wide, node.types))
            pairs = zip(operands, types, strict=True)
            operands = [self.cast(x, f32) if x and t and t.dtype is bf16 else x for x, t in pairs]
        else:
            self.inputs, self.outputs = types, node.types
        try:
            results = node.op.onnx(self, *operands)
        except UnsupportedError as error:
            raise UnsupportedError(f"{describe(node)}: {error}") from error
        except KcompileError:
            raise
        except Exception as error:
            raise RuntimeError(f"{describe(node)}: the onnx facet failed: {type(error).__name__}: {error}") from error
        results = results if isinstance(results, tuple) else (results,)
        for value, name in zip(node.results, results, strict=True):
            name = self.cast(name, bf16) if widen and value.type.dtype is bf16 else name
            names[value] = name
            self.note(name, value.type)

    def _weight(self, op: Weight, graph: Graph) -> str:
        array = graph.weights.get(op.label)
        if array is None:
            raise UnsupportedError(f"weight {op.label!r} has no values to write")
        key = ("weight", op.label)
        if key not in self._array_names:
            if op.label in self.root.reserved:
                self.root.reserved.remove(op.label)
                self.root._taken.remove(op.label)
            self._array_names[key] = self.array(np.asarray(array), op.label)
        return self._array_names[key]

    def region(
        self,
        graph: Graph,
        label: str,
        extra_inputs: Sequence[tuple[str, Type]] = (),
        captured: Sequence[str] = (),
    ) -> onnx.GraphProto:
        """A graph attribute: ``extra_inputs`` come first (Loop's counter), then the graph's inputs.

        The last of the graph's inputs are not inputs of the attribute but the outer tensors ``captured``.
        """
        child = Emitter(self.opset, self)
        graph = expand(graph, partial(has_facet, opset=self.opset), "onnx")
        infos = [child.info(child.unique(f"{label}/{name}"), type) for name, type in extra_inputs]
        own = graph.inputs[: len(graph.inputs) - len(captured)]
        names = {v: child.unique(f"{label}/{v.op.label}") for v in own}  # type: ignore[attr-defined]
        infos += [child.info(names[v], v.type) for v in own]
        names.update(zip(graph.inputs[len(own) :], captured, strict=True))
        child.emit(graph, names)
        # A body's output must be made in the body, so an input or an initialiser goes through Identity.
        made = {name for node in child.nodes for name in node.output}
        ends, seen = [], set()
        for value in graph.outputs:
            name = names[value]
            if name not in made or name in seen:
                name = child.Identity(name)
            seen.add(name)
            ends.append(child.info(name, value.type))
        return helper.make_graph(child.nodes, self.unique(label), infos, ends)

    def inline(self, graph: Graph, operands: Sequence[str]) -> tuple[str, ...]:
        """The results of a graph whose nodes are appended here, on the given tensors."""
        kept = self.inputs, self.outputs, self.origin
        graph = expand(graph, partial(has_facet, opset=self.opset), "onnx")
        names = dict(zip(graph.inputs, operands, strict=True))
        self.emit(graph, names)
        self.inputs, self.outputs, self.origin = kept
        return tuple(names[v] for v in graph.outputs)

    def info(self, name: str, type: Type) -> onnx.ValueInfoProto:
        """Name and type of a graph's input or output; symbolic dims by their text."""
        return helper.make_value_info(name, type_proto(type))


def _wide(type: Type) -> Type:
    return type.with_dtype(f32) if type.dtype is bf16 else type


# Operators that only move numbers, or hold graphs of their own: they take bfloat16 as it is.
_ANY_DTYPE = (Cast, Concat, Cond, ExpandDims, Gather, Opaque, Reshape, Scan, Slice, Squeeze, Transpose, WhileLoop)

# Two of these with the same operands are still two.
_DISTINCT = frozenset(
    {"Bernoulli", "Dropout", "Identity", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike"}
)  # fmt: skip


def _node_key(op_type: str, operands: list[str], attributes: dict[str, Any], domain: str, count: int) -> Any:
    """What makes two nodes the same; None for a node that never is (random ones, those with branches)."""
    if op_type in _DISTINCT or any(isinstance(v, onnx.GraphProto) for v in attributes.values()):
        return None
    return op_type, domain, tuple(operands), count, repr(sorted(attributes.items()))


def has_facet(op: Op, opset: int) -> bool:
    """Whether an operator can be written at this opset without its decomposition."""
    return callable(op.onnx) and opset >= op.onnx_since

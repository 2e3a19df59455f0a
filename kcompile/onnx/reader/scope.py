"""Turns the nodes of an ONNX graph into values of the IR, one after the other."""

from __future__ import annotations

import copy
import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from kcompile.errors import FileFormatError, KcompileError, ParseError, printable
from kcompile.ir import Constant, Type, Value, Weight, constant, input_value, origin, weight
from kcompile.ir.dim_text import parse_dim
from kcompile.ir.dims import Dim, DimLike, symbol, symbols_of
from kcompile.ir.op import symbols_in
from kcompile.ir.types import OpaqueType, type_of
from kcompile.onnx.model import LEAST_OPSET
from kcompile.onnx.opaque import form_of, nodes_below
from kcompile.onnx.protos import DTYPES, type_from, type_proto
from kcompile.onnx.reader import control, sizes
from kcompile.onnx.reader.reading import Call, Decline
from kcompile.onnx.reader.table import READERS
from kcompile.onnx.sizes import solvable
from kcompile.operators.opaque import Opaque
from kcompile.operators.windows import to_last

LARGEST_SPARSE = 1 << 28  # elements of a sparse initialiser written out
SMALL = 1 << 16  # elements of a tensor whose content takes part in shape inference
# What a reader may run into where a node's attributes or operands are not what its operator takes. The node
# is then carried through as it is, and ONNX's own checker and runtime have their say.
MALFORMED = (KcompileError, ValueError, TypeError, IndexError, ArithmeticError)


@dataclass
class Account:
    """How the nodes of a file were read: counts by operator, and why some were carried through whole."""

    read: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, dict[str, None]] = field(default_factory=dict)


class Scope:
    """The values of a graph by name, with what is known of them."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
        self.versions.setdefault("", LEAST_OPSET)
        self.values: dict[str, Value] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.sizes: dict[Value, sizes.Sizes] = {}
        self.account = Account()
        self.readable: set[str] = set()  # symbols that an input shows
        self._symbols: dict[str, Dim] = {}
        self._taken: set[str] = set()
        self._declared = _declared(model.graph)
        self._numbers = 0
        self._turned = _turns_images(model.graph)

    # ---- leaves

    def inputs(self, graph: GraphProto, names: Sequence[str]) -> list[Value]:
        """The graph's inputs of these names as values."""
        infos = {v.name: v for v in graph.input}
        for name in names:
            for dim in infos[name].type.tensor_type.shape.dim:
                self.dim(dim)  # names first, so that fresh ones are others
        for name in names:
            self.values[name] = input_value(name, type_from(infos[name].type, self.dim))
        for name in names:
            for dim in self.values[name].type.shape:
                self.readable |= {s for s in symbols_of(dim) if solvable(dim, s)}
        return [self.values[name] for name in names]

    def initializer(self, tensor: TensorProto) -> None:
        """An initialiser as a weight; one number as a constant."""
        if tensor.data_type not in DTYPES:
            node = helper.make_node("Constant", [], [tensor.name], value=tensor)
            (value,) = self._whole(node, [])
            assert value is not None
            self.values[tensor.name] = value
            return
        self._array(tensor.name, _content(tensor))

    def sparse(self, sparse: onnx.SparseTensorProto) -> None:
        """A sparse initialiser, written out."""
        name, dims = sparse.values.name, list(sparse.dims)
        count = int(np.prod(dims, dtype=object))
        if count > LARGEST_SPARSE or min(dims, default=0) < 0:
            raise FileFormatError(f"the sparse initialiser {printable(name)!r} of {count} elements is too large")
        values, places = _content(sparse.values), _content(sparse.indices)
        flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), dims)
        array = np.zeros(count, values.dtype)
        if flat.size and (flat.min() < 0 or flat.max() >= count):
            raise FileFormatError(f"the sparse initialiser {printable(name)!r} has an index outside of its shape")
        array[flat] = values
        self._array(name, array.reshape(dims))

    def _array(self, name: str, array: np.ndarray) -> None:
        if array.size == 1:
            self.values[name] = constant(array)
            return
        label = name
        while label in self.weights and not _same(self.weights[label], array):
            label += "~"  # subgraphs may use a name again
        self.values[name] = weight(label, type_of(array))
        self.weights[label] = array

    def dim(self, proto: Any) -> DimLike:
        """A dimension: a number, the size of its name, or a new one."""
        if proto.HasField("dim_value") and proto.dim_value >= 0:
            return proto.dim_value
        name = proto.dim_param
        if not name:
            return self.fresh()
        if name not in self._symbols:
            known = self._expression(name)
            self._symbols[name] = known if known is not None else self.fresh(name)
        return self._symbols[name]

    def _expression(self, text: str) -> Any:
        """A name that is an expression of known sizes, as the IR writes them."""
        try:
            found = parse_dim(text)
        except ParseError:
            return None
        known = {s for d in self._symbols.values() for s in symbols_of(d)}
        composite = isinstance(found, Dim) and found.name is None
        return found if composite and symbols_of(found) <= known else None

    def fresh(self, name: str = "unknown") -> Dim:
        """A symbol that is not taken, called ``name`` as far as that is an identifier."""
        plain = name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name
        base = name if plain else "d_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        label, count = base, 0
        while label in self._taken:
            count += 1
            label = f"{base}_{count}"
        self._taken.add(label)
        return symbol(label)

    # ---- nodes

    def node(self, node: NodeProto) -> None:
        """One more node: its results join the values."""
        operands = [self.values[name] if name else None for name in node.input]
        domain = "" if node.domain == "ai.onnx" else node.domain
        label, reason = f"{domain}.{node.op_type}".lstrip("."), ""
        with origin(_place(node)):
            try:
                results = self._translated(node, domain, operands)
            except Decline as declined:
                reason = str(declined)
            except MALFORMED as error:
                reason = f"{type(error).__name__}: {error}"
            if reason:
                results = self._whole(node, operands)
            results, folded = self._folded(node, domain, operands, results)
        if reason and not folded:
            self.account.whole[label] += 1
            self.account.reasons.setdefault(label, {})[reason] = None
        else:
            self.account.read[label] += 1
        for name, value in zip(node.output, results, strict=False):
            if name and value is not None:
                self.values[name] = value

    def _translated(self, node: NodeProto, domain: str, operands: list[Value | None]) -> Sequence[Value | None]:
        if node.op_type == "Constant" and not domain:
            return [self._constant(node)]
        if node.op_type in control.READERS and not domain:
            return self._controlled(node, operands)
        reader = None if domain else READERS.get(node.op_type)
        if reader is None:
            raise Decline("the IR has no such operator")
        if node.op_type != "Identity" and any(isinstance(v.type, OpaqueType) for v in operands if v is not None):
            raise Decline("the IR has no such type")
        wanted = [bool(name) for name in node.output]
        version, known = self.versions[""], (self.content, self.known_sizes)
        call = Call(node.op_type, version, operands, attributes(node), wanted, *known, self._turned)
        found = reader(call)
        call.finish()
        results = found if isinstance(found, tuple) else (found,)
        for i, used in enumerate(wanted):
            if used and (i >= len(results) or results[i] is None):
                raise Decline(f"result {i} is used")
        for value in results:
            if value is not None:
                self._reachable(value, operands)
        return results

    def _controlled(self, node: NodeProto, operands: list[Value | None]) -> Sequence[Value]:
        kept = copy.deepcopy(self.account)
        try:
            return control.READERS[node.op_type](self, node, operands)
        except (Decline, *MALFORMED):
            self.account = kept
            raise

    def body(self, graph: GraphProto, inputs: Sequence[Value]) -> list[Value]:
        """The results of a subgraph on these values; the names in it are forgotten again."""
        outer = dict(self.values)
        self._declared.update(_declared(graph))
        try:
            self.values.update(zip((v.name for v in graph.input), inputs, strict=True))
            for tensor in graph.initializer:
                self.initializer(tensor)
            for sparse in graph.sparse_initializer:
                self.sparse(sparse)
            for inner in graph.node:
                self.node(inner)
            return [self.values[v.name] for v in graph.output]
        finally:
            self.values = outer

    def number(self) -> int:
        """A number that no other value of the file has."""
        self._numbers += 1
        return self._numbers

    def _reachable(self, value: Value, operands: list[Value | None]) -> None:
        """Decline where an operator has a size in it that neither the inputs nor its operands show."""
        stack, ends = [value], {v for v in operands if v is not None}
        while stack:
            top = stack.pop()
            if top in ends:
                continue
            read = [v for v in top.inputs if v is not None]
            for name in symbols_in(top.op) - self.readable:
                if not any(solvable(d, name) for v in read for d in v.type.shape):
                    raise Decline(f"the size {name} is computed")
            stack += read

    def _constant(self, node: NodeProto) -> Value:
        given = attributes(node)
        name, value = next(iter(given.items()))
        if name == "value" and isinstance(value, np.ndarray) and node.attribute[0].t.data_type in DTYPES:
            array = value
        elif name in ("value_float", "value_floats"):
            array = np.asarray(value, np.float32)
        elif name in ("value_int", "value_ints"):
            array = np.asarray(value, np.int64)
        else:
            raise Decline(f"a constant by {name}")
        self._array(node.output[0], array)
        return self.values[node.output[0]]

    def _folded(
        self, node: NodeProto, domain: str, operands: list[Value | None], results: Sequence[Value | None]
    ) -> tuple[Sequence[Value | None], bool]:
        """The results, the first a constant where the sizes that it holds are numbers; and whether it is one."""
        first = results[0] if results else None
        if domain or first is None or isinstance(first.type, OpaqueType):
            return results, False
        held = [None if v is None else self.known_sizes(v) for v in operands]
        types = [None if v is None else v.type for v in operands]
        found = sizes.follow(node.op_type, held, attributes(node), types)
        if found is None or found.shape != first.type.shape:
            return results, False
        array = sizes.as_array(found, first.type)
        if array is not None:
            return [constant(array), *results[1:]], True
        self.sizes[first] = found
        return results, False

    # ---- what is known

    def content(self, value: Value) -> np.ndarray | None:
        """The array of a constant or an initialiser."""
        if isinstance(value.op, Constant):
            return value.op.value.data
        return self.weights.get(value.op.label) if isinstance(value.op, Weight) else None

    def known_sizes(self, value: Value) -> sizes.Sizes | None:
        """The sizes that a tensor of integers holds."""
        if value in self.sizes:
            return self.sizes[value]
        array = self.content(value)
        return None if array is None else sizes.of_array(array)

    # ---- nodes that are carried through

    def _whole(self, node: NodeProto, operands: list[Value | None]) -> Sequence[Value | None]:
        form, names = form_of(node)
        captured = [self.values[name] for name in names]
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in self.versions:
            raise FileFormatError(f"{printable(node.op_type)} is of a domain that the file does not import")
        random, sure = self._draws(node)
        if random or not sure:
            self._numbers += 1
        present = [bool(name) for name in node.output]
        types = self._types(node, [*node.input, *names], [*operands, *captured])
        op = Opaque(
            node.op_type,
            domain,
            self.versions[domain],
            form,
            tuple(t for t, there in zip(types, present, strict=True) if there),
            len(names),
            tuple(i for i, there in enumerate(present) if not there),
            self._numbers if random or not sure else 0,
            random,
        )
        made = iter(op(*operands, *captured))
        return [next(made) if there else None for there in present]

    def _draws(self, node: NodeProto) -> tuple[bool, bool]:
        """(whether a node draws random numbers, whether that is sure)."""
        inner = list(nodes_below([node]))
        standard = [n for n in inner if n.domain in ("", "ai.onnx", "ai.onnx.ml")]
        return any(n.op_type in RANDOM for n in standard), len(standard) == len(inner)

    def _types(self, node: NodeProto, names: Sequence[str], operands: list[Value | None]) -> list[Type]:
        """The results' types: inferred from the operands', else as the file declares them."""
        inferred = self._inferred(node, dict(zip(names, operands, strict=True)))
        result = []
        for name in node.output:
            candidates = [p for p in (inferred.get(name), self._declared.get(name)) if p is not None]
            whole = [p for p in candidates if p.tensor_type.HasField("shape") and p.tensor_type.elem_type]
            result.append(type_from((whole or candidates or [onnx.TypeProto()])[0], self.dim))
        return result

    def _inferred(self, node: NodeProto, operands: dict[str, Value | None]) -> dict[str, onnx.TypeProto]:
        """What ONNX's shape inference says of one node alone."""
        known = {name: v for name, v in operands.items() if name and v is not None}
        arrays = {n: a for n, v in known.items() if (a := self.content(v)) is not None and a.size <= SMALL}
        graph = helper.make_graph(
            [node],
            "node",
            [helper.make_value_info(n, type_proto(v.type)) for n, v in known.items() if n not in arrays],
            [ValueInfoProto(name=name) for name in node.output if name],
            [numpy_helper.from_array(a, n) for n, a in arrays.items()],
        )
        imports = [helper.make_opsetid(d, v) for d, v in self.versions.items()]
        model = helper.make_model(graph, opset_imports=imports, ir_version=self.model.ir_version)
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError):
            return {}
        return {v.name: v.type for v in inferred.graph.output if v.type.WhichOneof("value")}


RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes by name: numbers, text, lists, arrays; subgraphs are left out."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            found[attribute.name] = _content(attribute.t) if attribute.t.data_type in DTYPES else None
        elif attribute.type == AttributeProto.STRING:
            found[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif attribute.type == AttributeProto.STRINGS:
            found[attribute.name] = [s.decode("utf-8", "replace") for s in attribute.strings]
        elif attribute.type in (AttributeProto.INT, AttributeProto.FLOAT):
            found[attribute.name] = helper.get_attribute_value(attribute)
        elif attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            found[attribute.name] = list(helper.get_attribute_value(attribute))
        elif attribute.type != AttributeProto.GRAPH:
            found[attribute.name] = None
    return found


def _content(tensor: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise FileFormatError(f"the tensor {printable(tensor.name)!r} is damaged: {printable(error)}") from error


def _declared(graph: GraphProto) -> dict[str, onnx.TypeProto]:
    return {v.name: v.type for v in (*graph.value_info, *graph.output) if v.type.WhichOneof("value")}


def _turns_images(graph: GraphProto) -> bool:
    """Whether images stand with their channels last in a part of the graph."""
    turns = [list(to_last(rank)) for rank in (3, 4, 5)]
    return any(n.op_type == "Transpose" and attributes(n).get("perm") in turns for n in graph.node)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _place(node: NodeProto) -> str:
    """Where a node stands, for messages and for the names in the new file."""
    return node.name.removesuffix(f"/{node.op_type}").strip("/")

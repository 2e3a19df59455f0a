"""`difference`: what differs between two ONNX models, in structure and in weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx

from kcompile.onnx.describe import attribute_text, operator_text, type_text
from kcompile.onnx.diff.align import aligned
from kcompile.onnx.diff.weights import WeightChange, compared, stored
from kcompile.onnx.diff.wiring import Source, Wiring


@dataclass(frozen=True)
class NodeChange:
    """A node that is added, removed or changed: its operator, its name in either file, what is different about it."""

    status: str
    operator: str
    before: str | None
    after: str | None
    details: tuple[str, ...] = ()


@dataclass
class Difference:
    """What differs. ``model`` holds (property, before, after), ``ends`` (what, before, after)."""

    nodes: tuple[int, int]
    paired: int
    changes: list[NodeChange] = field(default_factory=list)
    ends: list[tuple[str, str, str]] = field(default_factory=list)
    opsets: list[tuple[str, str, str]] = field(default_factory=list)
    model: list[tuple[str, str, str]] = field(default_factory=list)
    weights: list[WeightChange] = field(default_factory=list)

    @property
    def same_structure(self) -> bool:
        """Whether the nodes are the same and wired alike; names of nodes and tensors don't matter."""
        return not self.changes

    @property
    def same_weights(self) -> bool:
        return all(w.status in ("equal", "renamed") for w in self.weights)

    @property
    def same(self) -> bool:
        """Whether both files compute the same behind the same interface; metadata doesn't matter."""
        return self.same_structure and self.same_weights and not self.ends and not self.opsets


def difference(first: onnx.ModelProto, second: onnx.ModelProto) -> Difference:
    """Compare two models. Nodes are paired as `aligned` says, so that names may differ."""
    a, b = Wiring(first), Wiring(second)
    weights_a, weights_b = stored(first), stored(second)
    pairs = aligned(a, b, weights_a, weights_b)
    changes, twins = compared(weights_a, weights_b, _read_alike(a, b, pairs))
    found = Difference((len(a.nodes), len(b.nodes)), len(pairs), weights=changes)
    same = _Sameness(a, b, pairs, lambda s, t: twins.get(s) == t or weights_a[s].digest == weights_b[t].digest)
    found.changes = [*_node_changes(a, b, pairs, same)]
    found.ends = [*_ends("input", first.graph.input, second.graph.input, set(weights_a), set(weights_b))]
    found.ends += _ends("output", first.graph.output, second.graph.output, set(), set())
    if found.same_structure:
        moved = zip(a.outputs, b.outputs, second.graph.output, strict=False)
        found.ends += [("output", a.name(s), f"{v.name} is another tensor") for s, t, v in moved if not same(s, t)]
    found.opsets = [*_properties(_opsets(first), _opsets(second))]
    found.model = [*_properties(_header(first), _header(second))]
    return found


class _Sameness:
    """Whether two operands come from the same place."""

    def __init__(self, a: Wiring, b: Wiring, pairs: dict[int, int], same_weight: Callable[[str, str], bool]):
        self.pairs, self.same_weight = pairs, same_weight
        names = {name: i for i, name in enumerate(b.input_names)}
        by_name = set(a.input_names) == set(names)
        self.inputs = {i: names[n] if by_name else i for i, n in enumerate(a.input_names)}

    def __call__(self, s: Source, t: Source) -> bool:
        if s[0] != t[0] or s[0] == "unknown":
            return s == t
        if s[0] == "node":
            return self.pairs.get(s[1]) == t[1] and s[2] == t[2]
        if s[0] == "input":
            return self.inputs.get(s[1]) == t[1]
        return s[0] == "nothing" or self.same_weight(s[1], t[1])


def _read_alike(a: Wiring, b: Wiring, pairs: dict[int, int]) -> Iterator[tuple[str, str]]:
    for i, j in pairs.items():
        for s, t in zip(a.sources[i], b.sources[j], strict=False):
            if s[0] == t[0] == "weight":
                yield s[1], t[1]


def _node_changes(a: Wiring, b: Wiring, pairs: dict[int, int], same: _Sameness) -> Iterator[NodeChange]:
    for i, node in enumerate(a.nodes):
        if i not in pairs:
            yield NodeChange("removed", operator_text(node), _label(node), None, _described(node))
            continue
        j = pairs[i]
        details = [*_attributes(node, b.nodes[j], a.forms[i] != b.forms[j])]
        for k in range(max(len(a.sources[i]), len(b.sources[j]))):
            s, t = ((w.sources[n][k] if k < len(w.sources[n]) else ("nothing",)) for w, n in ((a, i), (b, j)))
            if not same(s, t):
                details.append(f"operand {k}: {_place(a, s)} -> {_place(b, t)}")
        if details:
            yield NodeChange("changed", operator_text(node), _label(node), _label(b.nodes[j]), tuple(details))
    for j in sorted(set(range(len(b.nodes))) - set(pairs.values())):
        node = b.nodes[j]
        yield NodeChange("added", operator_text(node), None, _label(node), _described(node))


def _label(node: onnx.NodeProto) -> str:
    return node.name or next((o for o in node.output if o), "")


def _described(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(f"{a.name} = {attribute_text(a)}" for a in node.attribute)


def _attributes(a: onnx.NodeProto, b: onnx.NodeProto, differ: bool) -> Iterator[str]:
    """What differs in the attributes; ``differ`` says that something does, which may lie within a subgraph."""
    if not differ:
        return
    old, new = ({x.name: attribute_text(x) for x in n.attribute} for n in (a, b))
    told = False
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            told = True
            yield f"{name}: {old.get(name, 'not there')} -> {new.get(name, 'not there')}"
    if operator_text(a) != operator_text(b):
        yield f"operator: {operator_text(a)} -> {operator_text(b)}"
    elif [bool(o) for o in a.output] != [bool(o) for o in b.output]:
        yield "the outputs that are used"
    elif not told:
        yield "the content of an attribute"


def _place(wiring: Wiring, source: Source) -> str:
    return source[0] if source[0] == "nothing" else f"{source[0]} {wiring.name(source) or source[1]}"


def _ends(what: str, a: Any, b: Any, weights_a: set[str], weights_b: set[str]) -> Iterator[tuple[str, str, str]]:
    """Inputs or outputs that differ: paired by name, then in order."""
    old = {v.name: type_text(v.type) for v in a if v.name not in weights_a}
    new = {v.name: type_text(v.type) for v in b if v.name not in weights_b}
    gone, come = [n for n in old if n not in new], [n for n in new if n not in old]
    pairs = [(n, n) for n in old if n in new] + list(zip(gone, come, strict=False))
    for x, y in pairs:
        if (x, old[x]) != (y, new[y]):
            yield what, f"{x} {old[x]}", f"{y} {new[y]}"
    yield from ((what, f"{n} {old[n]}", "") for n in gone[len(come) :])
    yield from ((what, "", f"{n} {new[n]}") for n in come[len(gone) :])
    common = [[n for n in names if n in old and n in new] for names in (old, new)]
    if common[0] != common[1]:
        yield f"order of {what}s", ", ".join(old), ", ".join(new)


def _opsets(model: onnx.ModelProto) -> dict[str, str]:
    return {f"opset {o.domain or 'ai.onnx'}": str(o.version) for o in model.opset_import} | {
        f"function {f.domain}.{f.name}": f"{len(f.node)} nodes, {_digest(f)}" for f in model.functions
    }


def _digest(message: Any) -> str:
    return hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=8).hexdigest()


def _header(model: onnx.ModelProto) -> dict[str, str]:
    return {
        "IR version": str(model.ir_version),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "graph name": model.graph.name,
        **{f"metadata {p.key}": p.value for p in model.metadata_props},
    }


def _properties(a: dict[str, str], b: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    yield from ((k, a.get(k, ""), b.get(k, "")) for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k))

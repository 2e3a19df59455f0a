"""Rules, and the driver that applies lists of them until none fires.

A rule is a pure function of a `Match` with a pattern above it. It returns what takes the place of
the matched value, or raises `Skip` with the reason why this match is left alone. The driver checks
that the replacement has exactly the type of what it replaces, gives new nodes their origin, and
keeps count of uses, once for all rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from kcompile.errors import KcompileError
from kcompile.ir import Graph, Node, Op, Type, Value, constant, is_leaf
from kcompile.ir.graph import topological
from kcompile.ir.op import Constant, Input, Weight
from kcompile.passes.arrays import Arrays
from kcompile.passes.patterns import Found, Pattern

# A rule may fire several times at a node; a list of rules that fires more often than this many
# times for each node that the graph had at first is taken to go round in circles.
FIRINGS_PER_NODE = 16


class Skip(Exception):  # noqa: N818 - not an error: the rule declines
    """Raised by a rule that leaves a match alone; the reason is shown by ``inspect --explain``.

    Without a reason the rule is not about this match at all, which nobody needs to be told.
    """


@dataclass(frozen=True)
class Rule:
    """A named rewrite of what ``pattern`` matches."""

    name: str
    pattern: Pattern
    function: Callable[[Match], Value | tuple[Value, ...]]


@dataclass(frozen=True)
class Fired:
    """A rule that replaced ``before`` (matched nodes) by ``after`` (new nodes) at a layer."""

    rule: str
    origin: str
    before: tuple[Node, ...]
    after: tuple[Node, ...]


@dataclass(frozen=True)
class Skipped:
    """A rule that declined, and why."""

    rule: str
    origin: str
    reason: str


@dataclass
class Log:
    """What happened. ``skipped`` holds the refusals of the last sweep only: those that stand."""

    fired: list[Fired] = field(default_factory=list)
    skipped: dict[Skipped, None] = field(default_factory=dict)


def rule(name: str, pattern: Pattern) -> Callable[[Callable[[Match], Any]], Rule]:
    """Makes a `Rule` of a function of a `Match`."""
    return lambda function: Rule(name, pattern, function)


class Match:
    """One place where a rule's pattern fits: bound values are attributes (``m.x``, ``m.batch_norm``)."""

    def __init__(self, sweep: _Sweep, root: Value, bound: dict[str, Value | None]):
        self._sweep, self.root, self.bound = sweep, root, bound

    def __getattr__(self, name: str) -> Any:
        try:
            return self.bound[name]
        except KeyError:
            raise AttributeError(f"the pattern binds no {name!r}, only {sorted(self.bound)}") from None

    @property
    def type(self) -> Type:
        """The type that the replacement must have."""
        return self.root.type

    def op(self, name: str) -> Any:
        """The operator that made a bound value."""
        return self.bound[name].op  # type: ignore[union-attr]

    def array(self, name: str, default: Any = None) -> np.ndarray:
        """The array of a bound value, floats widened to float64; ``default`` where it is absent."""
        value = self.bound[name]
        data = default if value is None else self._sweep.arrays.known(value)
        assert data is not None, f"{name} has no array: write '={name}' in the pattern"
        array = np.asarray(data)
        # numpy calls ml_dtypes' bfloat16 kind 'V'.
        return array.astype(np.float64) if array.dtype.kind in "fV" else array

    def known(self, value: Value) -> np.ndarray | None:
        """The array of any value where it is known."""
        return self._sweep.arrays.known(value)

    def uses(self, value: Value) -> int:
        """How often a value is read; being an output or an update of the graph counts."""
        return self._sweep.uses[value]

    def is_read(self, i: int) -> bool:
        """Whether anything reads result ``i`` of the matched node."""
        return self._sweep.is_read(self.root.node.results[i])

    def used_once(self, *names: str) -> None:
        """Skip unless each of these values has one use."""
        for name in names:
            value = self.bound[name]
            if value is not None and self.uses(value) > 1:
                skip(f"{name} is used {self.uses(value)} times")

    def weight(self, like: Value, array: np.ndarray, role: str = "") -> Value:
        """``array``, rounded to the dtype of ``like``, as a weight or constant as ``like`` is one.

        A weight is given a fresh label made from that of ``like``, with ``role`` for its last part
        where given; the same array under the same label is the same weight. Skips where a number is
        too large for the dtype.
        """
        with np.errstate(over="ignore"):
            data = np.asarray(array).astype(like.type.dtype.numpy)
        if like.type.dtype.is_float and like.type.dtype.bits < 64:
            same = np.array_equal(np.isfinite(data), np.isfinite(array))
            require(same, f"a number overflows {like.type.dtype}")
        if isinstance(like.op, Constant):
            return constant(data)
        assert isinstance(like.op, Weight)
        label = like.op.label
        if role:
            label = f"{label.rpartition('/')[0]}/{role}".lstrip("/")
        return self._sweep.arrays.add(label, data)


def skip(reason: str) -> NoReturn:
    """Raise `Skip`."""
    raise Skip(reason)


def require(condition: bool, reason: str) -> None:
    """Skip with the reason unless ``condition``: something that the user could change stands in the way."""
    if not condition:
        raise Skip(reason)


def applies(condition: bool) -> None:
    """Skip in silence unless ``condition``, which belongs to the pattern but can't be written in it."""
    if not condition:
        raise Skip


def apply_rules(graph: Graph, rules: Sequence[Rule], reads_weights: bool, log: Log) -> Graph:
    """``graph`` rewritten by ``rules`` until none fires; the graph itself where none did.

    ``reads_weights``: whether ``"=name"`` binds weights (those with an array that no update
    changes) or only constants. Raises KcompileError naming the rule that breaks a type or never settles.
    """
    by_class: dict[type[Op], list[Rule]] = {}
    for entry in rules:
        for cls in entry.pattern.classes:
            by_class.setdefault(cls, []).append(entry)
    if not any(type(node.op) in by_class for node in graph.nodes):
        return graph
    left = FIRINGS_PER_NODE * (len(graph.nodes) + 4)
    while True:
        sweep = _Sweep(graph, by_class, reads_weights, left)
        changed = sweep.run()
        log.fired += sweep.fired
        if not sweep.fired:
            log.skipped.update(dict.fromkeys(sweep.skipped))
            return graph
        left -= len(sweep.fired)
        graph = changed


class _Sweep:
    """One walk over a graph, operands before users, that builds the rewritten graph."""

    def __init__(self, graph: Graph, rules: Mapping[type[Op], list[Rule]], reads_weights: bool, limit: int):
        self.graph, self.rules, self.limit = graph, rules, limit
        self.arrays = Arrays(graph, reads_weights)
        self.nodes: dict[Any, Node] = {}
        self.canonical: dict[Value, Value] = {}
        self.uses: Counter[Value] = Counter()
        # Of the node at hand, whose readers come later.
        self._reads: Counter[Value] = Counter()
        self.fired: list[Fired] = []
        self.skipped: list[Skipped] = []

    def run(self) -> Graph:
        old_uses = {v: len(users) for v, users in self.graph.users().items()}
        table: dict[Value, Value] = {}
        for node in self.graph.nodes:
            inputs = tuple(None if v is None else table[v] for v in node.inputs)
            # Replacements have the type of what they replace, so types need no inferring here.
            new, made = self._intern(node.op, inputs, node.types, node.origin)
            if not made:
                self._unread(inputs)
            self._reads = Counter({v: old_uses[old] for old, v in zip(node.results, new.results, strict=True)})
            results = new.results if isinstance(node.op, Input) else self._settle(new.results)
            for old, value in zip(node.results, results, strict=True):
                table[old] = value
                self.uses[value] += old_uses[old]
        if not self.fired:
            return self.graph
        return self.graph.replace(
            inputs=[table.get(v, v) for v in self.graph.inputs],
            outputs=[table[v] for v in self.graph.outputs],
            updates=[(label, table[v]) for label, v in self.graph.updates],
            weights=self.arrays.weights,
        )

    def is_read(self, value: Value) -> bool:
        return self.uses[value] + self._reads[value] > 0

    # ---- firing

    def _settle(self, results: tuple[Value, ...]) -> tuple[Value, ...]:
        """Apply rules at a node, then at what replaced it, until none fires."""
        while results:
            node = results[0].node
            if results != node.results:
                return self._settle_apart(results)
            after = self._fire(node)
            if after is None:
                return results
            for old, value in zip(results, after, strict=True):
                self._reads[value] += self._reads[old]
            results = after
        return results

    def _settle_apart(self, results: tuple[Value, ...]) -> tuple[Value, ...]:
        """The same for results that several nodes made, or that are not all of one node's: node by node."""
        table: dict[Value, Value] = {}
        for node in dict.fromkeys(v.node for v in results):
            rest = [table.get(v, v) for v in results if v.node is not node]
            # What the other nodes made may have no reader yet, and must not go with what only it reads.
            self.uses.update(rest)
            settled = node.results if is_leaf(node.op) else self._settle(node.results)
            self.uses.subtract(rest)
            table.update(zip(node.results, settled, strict=True))
        return tuple(table[v] for v in results)

    def _fire(self, node: Node) -> tuple[Value, ...] | None:
        for entry in self.rules.get(type(node.op), ()):
            for found in entry.pattern.match(node.results[0], self.arrays.known):
                try:
                    replacement = entry.function(Match(self, node.results[0], found.bound))
                except Skip as reason:
                    if str(reason):
                        self.skipped.append(Skipped(entry.name, node.origin, str(reason)))
                    continue
                return self._replace(entry, node, found, replacement)
        return None

    def _replace(self, entry: Rule, node: Node, found: Found, replacement: Any) -> tuple[Value, ...]:
        values = replacement if isinstance(replacement, tuple) else (replacement,)
        types = tuple(v.type for v in values)
        if types != node.types:
            raise KcompileError(
                f"internal error: the rule {entry.name!r} replaces {node!r} by {list(types)}: types must stay"
            )
        values, made = self._adopt(values, found.nodes, node.origin)
        if values == node.results:
            raise KcompileError(f"internal error: the rule {entry.name!r} replaces {node!r} by itself")
        # Held while the old node goes, since it may be the only reader of what replaces it.
        self.uses.update(values)
        if not any(self.uses[v] for v in node.results):
            self._release(node)
        self.uses.subtract(values)
        self.fired.append(Fired(entry.name, node.origin, found.nodes, tuple(made)))
        if len(self.fired) > self.limit:
            most = Counter(f.rule for f in self.fired).most_common(1)[0][0]
            raise KcompileError(f"internal error: the rule {most!r} never settles in graph {self.graph.name!r}")
        return values

    def _adopt(
        self, values: Sequence[Value], matched: tuple[Node, ...], origin: str
    ) -> tuple[tuple[Value, ...], list[Node]]:
        """Take new nodes in, each with the origin of the matched operator of its kind, else the root's."""
        origins: dict[type[Op], str] = {}
        for node in matched:
            origins.setdefault(type(node.op), node.origin)
        made = []
        for node in list(topological(values, (), self.canonical)):
            inputs = tuple(None if v is None else self.canonical[v] for v in node.inputs)
            where = "" if is_leaf(node.op) else origins.get(type(node.op), origin)
            kept, new = self._intern(node.op, inputs, node.types, where)
            if new:
                self.uses.update(v for v in inputs if v is not None)
                made.append(kept)
            self.canonical.update(zip(node.results, kept.results, strict=True))
        return tuple(self.canonical[v] for v in values), [n for n in made if not is_leaf(n.op)]

    # ---- nodes and their uses

    def _intern(
        self, op: Op, inputs: tuple[Value | None, ...], types: tuple[Type, ...], origin: str
    ) -> tuple[Node, bool]:
        """The one node of this operator on these operands, and whether it is new."""
        key = (op, tuple(id(v) for v in inputs), types)
        kept = self.nodes.get(key)
        if kept is not None:
            return kept, False
        made = Node(op, inputs, types, origin)
        self.nodes[key] = made
        self.canonical.update((v, v) for v in made.results)
        return made, True

    def _release(self, node: Node) -> None:
        """A node that nothing reads: its operands lose a use, and go too where it was the last."""
        stack = [node]
        while stack:
            dead = stack.pop()
            self.nodes.pop((dead.op, tuple(id(v) for v in dead.inputs), dead.types), None)
            stack += self._unread(dead.inputs)

    def _unread(self, inputs: tuple[Value | None, ...]) -> list[Node]:
        """Take one use off each operand; returns the nodes that are left without any."""
        read = [v for v in inputs if v is not None]
        self.uses.subtract(read)
        owners = dict.fromkeys(v.node for v in read)
        return [n for n in owners if not any(self.uses[v] > 0 for v in n.results) and not is_leaf(n.op)]

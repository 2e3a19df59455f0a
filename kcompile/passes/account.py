"""What each rule and pass changed in a graph, in operators, bytes of weights and floating-point operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from kcompile.ir import Graph, Node, Op, Type
from kcompile.passes.cost import LENGTH, Cost, Sizes, graph_cost, nodes_cost
from kcompile.passes.pipeline import DEPLOY, Pipeline, Result, Step

# Where what a rule matched goes on being read, where equal nodes became one, where what fed only a removed node went too.
REST = "shared, merged and unread nodes"


@dataclass(frozen=True)
class Entry:
    """A rule or a pass at one place: how often, and what that changed."""

    name: str
    place: str
    times: int
    effect: Cost


@dataclass(frozen=True)
class Account:
    """How a pipeline got from one graph to another; the entries add up to ``after - before``.

    ``length`` is what free sizes other than the batch (1) were taken for. ``skipped`` holds (rule,
    place, reason).
    """

    entries: tuple[Entry, ...]
    skipped: tuple[tuple[str, str, str], ...]
    before: Cost
    after: Cost
    length: int


def account(graph: Graph, result: Result, pipeline: Pipeline = DEPLOY, length: int = LENGTH) -> Account:
    """The account of a pipeline's result on ``graph``."""
    sizes = Sizes(graph, length=length)
    entries = [*_rules(result, sizes), *_functions(graph, result.steps, pipeline, sizes)]
    before, after = graph_cost(graph, sizes), graph_cost(result.graph, sizes)
    rest = after - before - sum((e.effect for e in entries), Cost())
    if rest:
        entries.append(Entry(REST, "", 1, rest))
    skipped = dict.fromkeys((s.rule, s.origin, s.reason) for s in result.skipped)
    return Account(tuple(entries), tuple(skipped), before, after, length)


def _rules(result: Result, sizes: Sizes) -> list[Entry]:
    times: Counter[tuple[str, str]] = Counter()
    effects: dict[tuple[str, str], Cost] = {}
    for fired in result.fired:
        key = fired.rule, fired.origin
        times[key] += 1
        effect = nodes_cost(fired.after, sizes) - nodes_cost(fired.before, sizes)
        effects[key] = effects.get(key, Cost()) + effect
    return [Entry(*key, times[key], effect) for key, effect in effects.items()]


def _functions(graph: Graph, steps: Iterable[Step], pipeline: Pipeline, sizes: Sizes) -> list[Entry]:
    """One entry for each pass that is no list of rules: the exact difference between the graphs around it."""
    functions = {p.name for p in pipeline.passes if not isinstance(p.work, tuple)}
    times: Counter[str] = Counter()
    effects: dict[str, Cost] = {}
    places: dict[str, dict[str, None]] = {}
    for step in steps:
        if step.name in functions and step.graph != graph:
            times[step.name] += 1
            effect = graph_cost(step.graph, sizes) - graph_cost(graph, sizes)
            effects[step.name] = effects.get(step.name, Cost()) + effect
            places.setdefault(step.name, {}).update(dict.fromkeys(changed_places(graph, step.graph)))
        graph = step.graph
    return [Entry(name, _shown(list(places[name])), times[name], effect) for name, effect in effects.items()]


def changed_places(before: Graph, after: Graph) -> list[str]:
    """The origins of operators that only one of the graphs has, in the order of the graphs."""
    first, second = (Counter(_identity(n) for n in g.operators()) for g in (before, after))
    return list(dict.fromkeys(origin for _, _, origin in [*(first - second), *(second - first)] if origin))


def _identity(node: Node) -> tuple[Op, tuple[Type, ...], str]:
    return node.op, node.types, node.origin


def _shown(places: list[str], most: int = 2) -> str:
    rest = len(places) - most
    return ", ".join(places[:most]) + (f" and {rest} more" if rest > 0 else "")

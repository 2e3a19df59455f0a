"""Finds where an optimised file begins to differ from the model: the pass, or the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.errors import KcompileError, printable
from kcompile.ir import Graph, Node
from kcompile.ir import dtype as ir_dtype
from kcompile.keras import verification
from kcompile.keras.verification import Mismatch, Run, difference
from kcompile.passes.pipeline import Result


def first_difference(graph: Graph, result: Result, mismatch: Mismatch, reference: Run, opset: int) -> str:
    """One clause that names the first pass whose graph differs, or the first layer that ONNX computes otherwise."""
    wanted = reference(mismatch.feeds)
    before = graph
    for step in result.steps:
        if step.graph == before:
            continue
        try:
            differs = _differs(wanted, _evaluator(step.graph)(mismatch.feeds))
        except (KcompileError, RuntimeError, ValueError, IndexError) as error:
            text = printable(" ".join(str(error).split()))
            return f"the graph after the pass {step.name!r} does not run: {text}{_touched(before, step.graph, result)}"
        if differs:
            return f"the first difference is after the pass {step.name!r}{_touched(before, step.graph, result)}"
        before = step.graph
    return _first_layer(result.graph, mismatch.feeds, opset)


def _touched(before: Graph, after: Graph, result: Result) -> str:
    """Layers with operators that the pass made, and the rules that fired there."""
    known = set(map(_identity, before.operators()))
    made = {_identity(n): n.origin for n in after.operators() if _identity(n) not in known}
    layers = set(made.values())
    rules = sorted({f.rule for f in result.fired if any(_identity(n) in made for n in f.after)})
    places = sorted(printable(place) for place in layers if place)[:5]
    parts = [f"layers {', '.join(places)}"] if places else []
    parts += [f"rules {', '.join(rules)}"] if rules else []
    return f" ({'; '.join(parts)})" if parts else ""


def _identity(node: Node) -> tuple[Any, ...]:
    return node.op, node.types, node.origin


def _evaluator(graph: Graph) -> Run:
    try:
        import torch  # noqa: F401
    except ImportError:
        from kcompile.onnx.model import to_onnx

        return verification.run_onnx(to_onnx(graph).SerializeToString())
    return verification.run_torch(graph)


def _differs(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> bool:
    return any(_differ(np.asarray(a), np.asarray(b)) for a, b in zip(wanted, got, strict=True))


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    found = difference(a, b)
    return isinstance(found, str) or found > verification.TOLERANCE.get(ir_dtype(a.dtype).name, 0.0)


def _first_layer(graph: Graph, feeds: dict[str, np.ndarray], opset: int) -> str:
    """Every value of the optimised graph as an output, in both; the first that differs names its layer."""
    from kcompile.onnx.model import to_onnx

    values = [v for n in graph.operators() for v in n.results]
    names = [f"value_{i}" for i in range(len(values))]
    opened = graph.replace(outputs=values, output_names=names)
    try:
        ours = _evaluator(opened)(feeds)
        theirs = verification.run_onnx(to_onnx(opened, opset).SerializeToString())(feeds)
    except KcompileError as error:
        return f"the place was not found: {error}"
    for value, a, b in zip(values, ours, theirs, strict=True):
        if _differ(np.asarray(a), np.asarray(b)):
            return (
                f"the first layer that differs is {printable(value.origin) or '(none)'!r} (operator {value.op.name!r})"
            )
    return "only ONNX Runtime's own optimiser makes the difference: every layer agrees with it off"

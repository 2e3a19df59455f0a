"""Finds where an optimised file begins to differ from the model: the pass, or the layer."""

from __future__ import annotations

import numpy as np

from kcompile.errors import KcompileError
from kcompile.ir import Graph
from kcompile.keras import verification
from kcompile.keras.verification import Mismatch, Run, difference
from kcompile.passes.pipeline import Result


def first_difference(graph: Graph, result: Result, mismatch: Mismatch, reference: Run, opset: int) -> str:
    """One clause that names the first pass whose graph differs, or the first layer that ONNX computes otherwise."""
    wanted = reference(mismatch.feeds)
    for step in result.steps:
        if _differs(wanted, _evaluator(step.graph)(mismatch.feeds), graph):
            places = sorted({f.origin for f in result.fired if f.origin})
            where = f" (it touched {', '.join(places[:5])})" if places else ""
            return f"the first difference is after the pass {step.name!r}{where}"
    return _first_layer(result.graph, mismatch.feeds, opset)


def _evaluator(graph: Graph) -> Run:
    try:
        import torch  # noqa: F401
    except ImportError:
        from kcompile.onnx.model import to_onnx

        return verification.run_onnx(to_onnx(graph).SerializeToString())
    return verification.run_torch(graph)


def _differs(wanted: object, got: object, graph: Graph) -> bool:
    for value, a, b in zip(graph.outputs, wanted, got, strict=True):  # type: ignore[call-overload]
        found = difference(np.asarray(a), np.asarray(b))
        if isinstance(found, str) or found > verification.TOLERANCE.get(value.type.dtype.name, 0.0):
            return True
    return False


def _first_layer(graph: Graph, feeds: dict[str, np.ndarray], opset: int) -> str:
    """Every value of the optimised graph as an output, in both; the first that differs names its layer."""
    from kcompile.onnx.model import to_onnx

    values = [v for n in graph.operators() for v in n.results]
    names = [f"value_{i}" for i in range(len(values))]
    opened = graph.replace(outputs=values, output_names=names)
    try:
        ours, theirs = _evaluator(opened)(feeds), verification.run_onnx(to_onnx(opened, opset).SerializeToString())(feeds)
    except KcompileError as error:
        return f"the place was not found: {error}"
    for value, a, b in zip(values, ours, theirs, strict=True):
        found = difference(np.asarray(a), np.asarray(b))
        if isinstance(found, str) or found > verification.TOLERANCE.get(value.type.dtype.name, 0.0):
            return f"the first layer that differs is {value.origin or '(none)'!r} (operator {value.op.name!r})"
    return "only ONNX Runtime's own optimiser makes the difference: every layer agrees with it off"

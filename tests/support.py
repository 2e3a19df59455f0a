"""What tests share: one graph through every backend, and comparison at a stated tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.ir import Graph, Op, Type, input_value, show, symbol, verify
from kcompile.ir import parse as parse_graph
from kcompile.ir.types import type_of
from kcompile.onnx.model import to_onnx
from kcompile.operators.registry import OPERATORS
from kcompile.runtime.session import run

RTOL = 1e-5


def graph_of(op: Op, *types: Type | None, name: str = "g") -> Graph:
    """A graph of one operator with inputs ``x0``, ``x1``, ...; None is an absent operand."""
    inputs = [None if t is None else input_value(f"x{i}", t) for i, t in enumerate(types)]
    results = op(*inputs)
    return Graph(name, [v for v in inputs if v is not None], results if isinstance(results, tuple) else (results,))


def run_torch(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The graph in torch."""
    import torch

    from kcompile.engine.lower import lower

    with torch.no_grad():
        outputs = lower(graph)(*(torch.from_numpy(np.array(a)) for a in arrays))
    return [o.numpy() for o in outputs]


def run_onnx(graph: Graph, arrays: Sequence[np.ndarray], opset: int | None = None) -> list[np.ndarray]:
    """The graph as a checked ONNX file in ONNX Runtime, optimiser off."""
    import onnx

    model = to_onnx(graph, opset)
    onnx.checker.check_model(model, full_check=True)
    return run(model.SerializeToString(), dict(zip(graph.input_names, arrays, strict=True)))


def close(a: np.ndarray, b: np.ndarray, rtol: float = RTOL, atol: float | None = None, what: str = "") -> None:
    """Same dtype and shape, and values within ``rtol`` of the larger of each value and the output's scale."""
    assert a.dtype == b.dtype, f"{what}: dtype {a.dtype} against {b.dtype}"
    assert a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}"
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b, err_msg=what)
        return
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale if atol is None else atol, err_msg=what)


def symbolic(
    types: Sequence[Type | None], arrays: Sequence[np.ndarray | None], dims: dict[tuple[int, int], str]
) -> list:
    """``types`` with the dims ``{(operand, axis): symbol name}`` made symbolic."""
    made: list[Type | None] = []
    for i, type in enumerate(types):
        if type is None:
            made.append(None)
            continue
        made.append(type.with_shape([symbol(dims[i, a]) if (i, a) in dims else d for a, d in enumerate(type.shape)]))
    return made


def check_op(
    op: Op,
    *arrays: np.ndarray | None,
    expected: Any = None,
    dims: dict[tuple[int, int], str] | None = None,
    opsets: Sequence[int | None] = (None,),
    onnx: bool = True,
    rtol: float = RTOL,
    atol: float | None = None,
) -> list[np.ndarray]:
    """An operator in torch and in ONNX Runtime: same types as inferred, same values (and ``expected``).

    ``dims`` makes axes symbolic: ``{(0, 0): "N"}`` calls axis 0 of operand 0 ``N``. The graph's text
    is parsed back on the way. Returns torch's results.
    """
    types = [None if a is None else type_of(a) for a in arrays]
    graph = verify(graph_of(op, *symbolic(types, arrays, dims or {})))
    assert parse_graph(show(graph), OPERATORS) == graph
    static = graph_of(op, *types)
    given = [a for a in arrays if a is not None]
    results = run_torch(graph, given)
    sizes = {name: array.shape[axis] for (i, axis), name in (dims or {}).items() if (array := arrays[i]) is not None}
    for value, result in zip((*graph.outputs, *static.outputs), (*results, *results), strict=True):
        type = value.type.substitute(sizes)
        assert type == type_of(result), f"{op}: inferred {value.type}, torch gave {type_of(result)}"
    if expected is not None:
        wanted = expected if isinstance(expected, (list, tuple)) else [expected]
        for got, want in zip(results, wanted, strict=True):
            close(got, np.asarray(want), rtol, atol, f"{op}: torch against the reference")
    for opset in opsets if onnx else ():
        for got, want in zip(run_onnx(graph, given, opset), results, strict=True):
            close(got, want, rtol, atol, f"{op}: ONNX Runtime (opset {opset}) against torch")
    return results

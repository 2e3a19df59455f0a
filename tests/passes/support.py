"""What the tests of passes share: rules and passes by name, random weights and inputs, the four-way comparison."""

from __future__ import annotations

import zlib

import numpy as np

from kcompile.ir import Graph, Type
from kcompile.ir.dims import evaluate as evaluate_dim
from kcompile.onnx.model import to_onnx
from kcompile.passes.folding import fold_constants
from kcompile.passes.pipeline import DEPLOY, TRAIN, FoldConstants
from kcompile.passes.rewrite import Log, Rule, apply_rules
from kcompile.runtime.session import run
from tests.support import close, run_onnx, run_torch

_ALL = [*TRAIN.passes, *DEPLOY.passes]
PASSES = {p.name: p for p in _ALL}
RULES: dict[str, Rule] = {r.name: r for p in _ALL if isinstance(p.work, tuple) for r in p.work}
# Two batch sizes, two of everything else that is free.
SIZES = (
    {"N": 1, "M": 2, "T": 6, "H": 7, "W": 5},
    {"N": 3, "M": 1, "T": 4, "H": 4, "W": 6},
)


def evaluate(graph: Graph) -> list[np.ndarray]:
    """Outputs of a graph without inputs: our own emission in ONNX Runtime, its optimiser off."""
    return run(to_onnx(graph).SerializeToString(), {})


def random_array(label: str, type: Type, sizes: dict[str, int], salt: int = 0) -> np.ndarray:
    """Seeded by the label; one with "var" or "positive" in its name has values from 0.5 to 1.5."""
    rng = np.random.default_rng([zlib.crc32(label.encode()), salt])
    shape = [evaluate_dim(d, sizes) for d in type.shape]
    if type.dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    if type.dtype.is_integer:
        return rng.integers(0, 5, shape).astype(type.dtype.numpy)
    positive = "var" in label or "positive" in label
    return (rng.uniform(0.5, 1.5, shape) if positive else rng.normal(0, 1, shape)).astype(type.dtype.numpy)


def with_weights(graph: Graph) -> Graph:
    """The graph with random arrays for its weights."""
    arrays = {k: random_array(k, v.type, {}) for k, v in graph.weight_values().items()}
    return graph.replace(weights=arrays)


def apply(graph: Graph, name: str, reads_weights: bool = True) -> tuple[Graph, Log]:
    """The rule or pass called ``name`` on its own."""
    log = Log()
    if name in RULES:
        return apply_rules(graph, [RULES[name]], reads_weights, log), log
    work = PASSES[name].work
    if isinstance(work, FoldConstants):
        return fold_constants(graph, reads_weights, evaluate), log
    assert callable(work)
    return work(graph), log


def same_values(before: Graph, after: Graph, rtol: float = 1e-5) -> None:
    """Both graphs compute the same in torch and in ONNX Runtime, at every entry of `SIZES`."""
    for salt, sizes in enumerate(SIZES):
        arrays = [random_array(v.op.label, v.type, sizes, salt) for v in before.inputs]
        expected = run_torch(before, arrays)
        others = {"ORT before": run_onnx(before, arrays), "torch after": run_torch(after, arrays)}
        others["ORT after"] = run_onnx(after, arrays)
        for what, results in others.items():
            for got, want in zip(results, expected, strict=False):
                close(got, want, rtol, what=f"{what} against torch before, {sizes}")

"""TRAIN keeps gradients: on whole models, and on each golden graph at inputs that hit zeros, ties and bounds."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.engine.lower import lower
from kcompile.ir import Graph
from kcompile.passes.pipeline import TRAIN, optimize
from tests.passes.models import MODELS
from tests.passes.support import SIZES, evaluate, random_array
from tests.passes.test_golden import CASES, golden_graph
from tests.support import close

torch = pytest.importorskip("torch")


def _gradients(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Of a fixed weighted sum of the float outputs, by the float inputs."""
    inputs = [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in arrays]
    total = torch.zeros(())
    for output in lower(graph)(*inputs):
        if output.is_floating_point():
            factors = np.random.default_rng(0).normal(size=tuple(output.shape)).astype(np.float32)
            total = total + (output * torch.from_numpy(factors)).sum()
    wanted = [x for x in inputs if x.requires_grad]
    if not total.requires_grad:
        return [np.zeros_like(x.detach().numpy()) for x in wanted]
    found = torch.autograd.grad(total, wanted, allow_unused=True)
    return [np.zeros_like(x.detach().numpy()) if g is None else g.numpy() for x, g in zip(wanted, found, strict=True)]


def _check(graph: Graph, step: float) -> None:
    after = optimize(graph, TRAIN, evaluate=evaluate).graph
    for salt, sizes in enumerate(SIZES):
        arrays = [random_array(v.op.label, v.type, sizes, salt) for v in graph.inputs]
        if step:
            arrays = [np.round(a / step) * a.dtype.type(step) if a.dtype.kind == "f" else a for a in arrays]
        for got, want in zip(_gradients(after, arrays), _gradients(graph, arrays), strict=True):
            close(got, want)


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    _check(MODELS[name](), 0)


@pytest.mark.parametrize(("path", "i"), CASES)
def test_golden_graphs_at_round_numbers(path, i) -> None:
    _check(golden_graph(path, i), 0.5)

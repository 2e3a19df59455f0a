"""Gradients of torch facets against autograd through a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from kcompile.engine.lower import lower
from kcompile.ir import Op
from kcompile.ir.types import type_of
from tests.support import RTOL, close, graph_of


def _run(function: Callable[..., Any], given: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Gradients of a fixed weighting of all float results with respect to the float operands."""
    tensors = [None if a is None else torch.from_numpy(np.array(a)) for a in given]
    wanted = [t.requires_grad_() for t in tensors if t is not None and t.is_floating_point()]
    results = function(*tensors)
    results = results if isinstance(results, (list, tuple)) else [results]
    generator = torch.Generator().manual_seed(0)
    loss = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [np.zeros(w.shape, np.float32) if g is None else g.numpy() for g, w in zip(gradients, wanted, strict=True)]


def compare_gradients(
    mine: Callable[..., Any], reference: Callable[..., Any], *given: np.ndarray | None, rtol: float = RTOL
) -> None:
    """Both functions of torch tensors have the same gradients with respect to all float operands."""
    for got, want in zip(_run(mine, given), _run(reference, given), strict=True):
        close(got, want, rtol, what="gradient")
        assert np.abs(want).sum() > 0, "the reference gradient is zero, which proves nothing"


def check_gradients(op: Op, reference: Callable[..., Any], *given: np.ndarray | None, rtol: float = RTOL) -> None:
    """The operator's gradients are the reference's, which takes and gives torch tensors."""
    module = lower(graph_of(op, *(None if a is None else type_of(a) for a in given)))
    compare_gradients(lambda *xs: module(*(x for x in xs if x is not None)), reference, *given, rtol=rtol)

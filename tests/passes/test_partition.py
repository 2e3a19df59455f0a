"""The program of one rank: ranks side by side give what one process gives, gradients too.

`tests/distribution` has whole models in processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from kcompile.engine import collectives, distributed
from kcompile.engine.lower import lower
from kcompile.ir import Graph, Type, Value, input_value, parse_type, symbol, verify
from kcompile.operators.collectives import GatherParts
from kcompile.operators.shape import Transpose
from kcompile.passes.partition import by_rows
from tests.distribution.threads import ranks
from tests.passes.partition_cases import APART, TOGETHER
from tests.support import close

BATCH, OWN = symbol("N"), symbol("N_own")
ROWS = 7


def placed(label: str, type: Type) -> tuple[Value, Value]:
    """An input with its rows along axis 0, and the same as a value of the type."""
    axis = next((i for i, size in enumerate(type.shape) if size == BATCH), 0)
    if not axis:
        given = input_value(label, type)
        return given, given
    order = (axis, *(i for i in range(type.rank) if i != axis))
    given = input_value(label, type.with_shape(type.shape[i] for i in order))
    back = tuple(order.index(i) for i in range(type.rank))
    return given, Transpose(back)(given)


def graph_of(make: Any, *types: str) -> Graph:
    inputs = [placed(f"x{i}", parse_type(text)) if text else (None, None) for i, text in enumerate(types)]
    results = make(*(v for _, v in inputs))
    return Graph("g", [v for v, _ in inputs if v is not None], results if isinstance(results, tuple) else (results,))


def numbers(graph: Graph) -> list[torch.Tensor]:
    """An operand for each input: floats, integers below 2, truths."""
    rng = np.random.default_rng(0)
    made = []
    for value in graph.inputs:
        type = value.type.substitute({"N": ROWS})
        x: Any = rng.standard_normal(type.shape)
        x = x if type.dtype.is_float else x > 0
        made.append(torch.from_numpy(np.asarray(x, type.dtype.numpy)).requires_grad_(type.dtype.is_float))
    return made


def outcome(graph: Graph, operands: Sequence[torch.Tensor], differ: Sequence[torch.Tensor], share: float) -> Any:
    """What a graph gives, and gradients of a share of the sum of its cubes."""
    results = lower(graph)(*operands)
    loss = torch.zeros((), requires_grad=True) + sum((r.double() ** 3).sum() for r in results if r.requires_grad)
    (loss * share).backward()
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in differ]
    return [r.detach().numpy() for r in results], [g.numpy() for g in gradients]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", [*APART, *TOGETHER])
def test_operators(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    make, *types = {**APART, **TOGETHER}[name]
    whole = verify(graph_of(make, *types))
    own = verify(by_rows(whole, BATCH, OWN, {}, None))
    # Rows are gathered for the results alone, which all ranks have whole.
    gathers = [n for n in own.nodes if isinstance(n.op, GatherParts) and n.results[0] not in own.outputs]
    assert bool(gathers) is (name in TOGETHER)
    operands = numbers(whole)
    results, gradients = outcome(whole, operands, [x for x in operands if x.requires_grad], 1.0)
    by_row = [BATCH in v.type.shape[:1] for v in whole.inputs]

    def rank(number: int) -> Any:
        begin, end = collectives.run(ROWS, False)
        parts = [(x.detach()[begin:end] if split else x.detach()) for split, x in zip(by_row, operands, strict=True)]
        parts = [p.requires_grad_(x.requires_grad) for p, x in zip(parts, operands, strict=True)]
        return outcome(own, [*parts, distributed.told(ROWS)], [p for p in parts if p.requires_grad], 1 / count)

    found = ranks(monkeypatch, count).run(rank)
    digits = 2e-3 if "half precision" in name else 1e-5
    for its_results, _ in found:
        for got, want in zip(its_results, results, strict=True):
            close(got, want, digits, what="result")
    of_floats = [split for split, x in zip(by_row, operands, strict=True) if x.requires_grad]
    for split, want, *parts in zip(of_floats, gradients, *(its for _, its in found), strict=True):
        close(np.concatenate(parts) if split else sum(parts), want, digits, what="gradient")

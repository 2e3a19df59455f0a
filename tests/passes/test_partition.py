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
from kcompile.ir import Graph, Input, Type, Value, input_value, parse_type, symbol, verify, weight
from kcompile.ir.types import f32
from kcompile.operators.activation import Relu
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.collectives import GatherParts
from kcompile.operators.control import Recompute
from kcompile.operators.linear import MatMul
from kcompile.operators.normalization import BatchNormTraining
from kcompile.operators.reduction import Mean
from kcompile.operators.shape import Transpose
from kcompile.operators.updates import AdamStep
from kcompile.passes.partition import Part, Split, by_rows, by_weights, jointly
from kcompile.passes.partition_plan import Plan
from kcompile.passes.partition_rules import RULES
from tests.distribution.threads import ranks
from tests.passes.partition_cases import APART, TOGETHER, UPDATES
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
    """An operand for each input: floats, integers below 2, a few truths."""
    rng = np.random.default_rng(0)
    made = []
    for value in graph.inputs:
        type = value.type.substitute({"N": ROWS, "M": 1})
        x: Any = rng.standard_normal(type.shape)
        x = x if type.dtype.is_float else x > (1.0 if type.dtype.is_bool else 0.0)
        made.append(torch.from_numpy(np.asarray(x, type.dtype.numpy)).requires_grad_(type.dtype.is_float))
    return made


def outcome(graph: Graph, operands: Sequence[torch.Tensor], differ: Sequence[torch.Tensor], share: float) -> Any:
    """What a graph gives, and gradients of a share of the sum of its cubes."""
    results = lower(graph)(*operands)
    loss = torch.zeros((), requires_grad=True) + sum((r.double() ** 3).sum() for r in results if r.requires_grad)
    (loss * share).backward()
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in differ]
    return [r.detach().numpy() for r in results], [g.numpy() for g in gradients]


def count_of(graph: Graph, kind: type) -> int:
    return sum(isinstance(n.op, kind) for n in graph.nodes)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", [*APART, *TOGETHER])
def test_operators(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    make, *types = {**APART, **TOGETHER}[name]
    whole = verify(graph_of(make, *types))
    own = verify(by_rows(whole, BATCH, OWN, {}, None))
    # Rows are gathered for the results alone, which all ranks have whole.
    gathers = [n for n in own.nodes if isinstance(n.op, GatherParts) and n.results[0] not in own.outputs]
    assert bool(gathers) is (name in TOGETHER)
    assert count_of(own, Recompute) == count_of(whole, Recompute)
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


def chunk(x: torch.Tensor, axis: int) -> tuple[torch.Tensor, Split]:
    """This rank's run of a weight, and how it is split."""
    size = x.shape[axis]
    begin, end = collectives.run(size, True)
    return x.narrow(axis, begin, end - begin), Split(axis, Part(size, end - begin, True))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", UPDATES)
def test_updates(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Of variables that are split: what is updated stays so, what is put out is whole."""
    make, talk, *operands = UPDATES[name]
    values = [input_value(f"x{i}", parse_type(text)) for i, (text, _) in enumerate(operands)]
    results = make(*values)
    results = results if isinstance(results, tuple) else (results,)
    updates = [(f"x{i}", v) for i, v in enumerate(results) if v.type == values[i].type]
    whole = Graph("g", values, results, updates=updates)
    given = [x.detach().abs() for x in numbers(whole)]
    wanted = lower(whole)(*given)

    def rank(number: int) -> Any:
        cut = {i: chunk(given[i], axis) for i, (_, axis) in enumerate(operands) if axis is not None}
        splits = {f"x{i}": split for i, (_, split) in cut.items()}
        graph = verify(by_weights(whole, splits))
        said = {n.op.name for n in graph.nodes if not (isinstance(n.op, GatherParts) and n.results[0] in graph.outputs)}
        assert said & {"all_reduce", "gather_parts", "own_part"} == set(talk.split())
        assert count_of(graph, AdamStep) == count_of(whole, AdamStep)
        parts = [cut[i][0] if i in cut else x for i, x in enumerate(given)]
        assert [v.type.shape for v in graph.inputs] == [tuple(x.shape) for x in parts]
        found = lower(graph)(*parts)
        axes = [splits[label].axis if label in splits else None for label, _ in updates]
        ends = [x if a is None else chunk(x, a)[0] for a, x in zip(axes, wanted[len(results) :], strict=True)]
        for got, want in zip(found, [*wanted[: len(results)], *ends], strict=True):
            close(got.numpy(), want.numpy())

    ranks(monkeypatch, count).run(rank)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("whole_batch", [False, True], ids=["rows", "whole batch"])
def test_weights_in_parts(monkeypatch: pytest.MonkeyPatch, whole_batch: bool, axis: int, count: int) -> None:
    """They are gathered to be read, and their gradients come in parts; the loss is this rank's share of it."""
    x, w, state = Input("x", Type(f32, (BATCH, 4)))(), weight("w", Type(f32, (4, 5))), weight("s", Type(f32, (5,)))
    y = MatMul()(x, w)
    moved = Add()(state, Mean((0,))(y))
    graph = Graph("g", [x], [Mean()(Multiply()(y, y)), y], updates=[("s", moved)])
    rows, kernel, start = (torch.linspace(-1, 2, n).reshape(s) for n, s in ((28, (7, 4)), (20, (4, 5)), (5, (5,))))
    kernel = torch.nn.Parameter(kernel)
    wanted = lower(graph, {"w": kernel, "s": start})(rows)
    (gradient,) = torch.autograd.grad(wanted[0], kernel)

    def rank(number: int) -> None:
        part, split = chunk(kernel.detach(), axis)
        own = torch.nn.Parameter(part.contiguous())
        begin, end = collectives.run(ROWS, False)
        splits, share = {"w": split}, 1 / count
        if whole_batch:
            made, operands = jointly(graph, splits, share), [rows]
        else:
            made, operands = by_rows(graph, BATCH, OWN, splits, share), [rows[begin:end], distributed.told(ROWS)]
        loss, *found = lower(verify(made), {"w": own, "s": start})(*operands)
        close((loss * count).detach().numpy(), wanted[0].detach().numpy())
        for got, want in zip(found, wanted[1:], strict=True):
            close(got.detach().numpy(), want.detach().numpy())
        loss.backward()
        close(own.grad.numpy(), chunk(gradient, axis)[0].numpy())

    ranks(monkeypatch, count).run(rank)


def test_the_batch_is_the_first_axis() -> None:
    """Of inputs; one that has its length elsewhere is whole."""
    x, y = Input("x", Type(f32, (4, BATCH)))(), Input("y", Type(f32, (BATCH, 3)))()
    made = by_rows(Graph("g", [x, y], [MatMul()(x, y)]), BATCH, OWN, {}, None)
    assert [str(v.type) for v in made.inputs] == ["f32[4, N]", "f32[N_own, 3]", "i8[N]"]
    assert [n.op.name for n in made.nodes if not isinstance(n.op, Input)] == ["own_part", "mat_mul", "all_reduce"]


def test_what_is_whole_stays_as_it_is() -> None:
    """An operator that would be taken apart to run on parts."""
    x, y = Input("x", Type(f32, (BATCH, 4)))(), Input("y", Type(f32, (5, 4)))()
    made = by_rows(Graph("g", [x, y], [x, BatchNormTraining()(y)[0]]), BATCH, OWN, {}, None)
    assert count_of(made, BatchNormTraining) == 1


@pytest.mark.parametrize("order", [(1, 0), (0,)], ids=["another type", "an error"])
def test_a_rule_that_does_not_fit_is_not_taken(monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]) -> None:
    """The operator gets its operands whole, as one without a rule."""
    monkeypatch.setitem(RULES, Relu, lambda node, axes, part: Plan((0,), (0,), Transpose(order)))
    x = Input("x", Type(f32, (BATCH, 4)))()
    made = by_rows(Graph("g", [x], [Relu()(x)]), BATCH, OWN, {}, None)
    assert [n.op.name for n in made.nodes if not isinstance(n.op, Input)] == ["gather_parts", "relu"]

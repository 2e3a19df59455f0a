"""Control flow against the same thing written in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.engine.lower import lower
from kcompile.errors import InferError
from kcompile.ir import Graph, Type, constant, input_value, symbol
from kcompile.ir.types import f32, i64
from kcompile.operators.activation import Mish, Relu
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.control import Cond, Recompute, Scan, WhileLoop, inline
from kcompile.operators.logic import Less
from kcompile.operators.reduction import Sum
from tests.operators.gradients import check_gradients
from tests.support import check_op

ROWS, NUMBER, COUNT = Type(f32, (symbol("N"), 4)), Type(f32, ()), Type(i64, ())
OPSETS = (17, 20, 23)


def region(function, **types: Type) -> Graph:
    """A graph of a Python function of values."""
    inputs = [input_value(name, type) for name, type in types.items()]
    results = function(*inputs)
    return Graph(function.__name__, inputs, results if isinstance(results, tuple) else (results,))


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def product(x, y):
    return Multiply()(x, y), x


def total(x, y):
    return Add()(x, y), Mish()(x)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("yes", [True, False])
def test_cond(batch, yes):
    x, y = rows(batch, 4), scalar(3)
    mish = torch.nn.functional.mish(torch.from_numpy(x)).numpy()
    op = Cond(region(product, x=ROWS, y=NUMBER), region(total, x=ROWS, y=NUMBER))
    expected = [x * y, x] if yes else [x + y, mish]
    check_op(op, np.array(yes), x, y, expected=expected, dims={(1, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_recompute(batch):
    x, y = rows(batch, 4), scalar(3)
    op = Recompute(region(product, x=ROWS, y=NUMBER))
    check_op(op, x, y, expected=[x * y, x], dims={(0, 0): "N"}, opsets=OPSETS)


def below_five(i, x, c):
    return Less()(i, constant(5, i64))


def grown(i, x, c):
    return Add()(i, constant(1, i64)), Multiply()(x, c)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 4, 9])
def test_while_loop(batch, start):
    x, c = rows(batch, 4), scalar(1.5)
    types = {"i": COUNT, "x": ROWS, "c": NUMBER}
    op = WhileLoop(region(below_five, **types), region(grown, **types))
    steps = max(5 - start, 0)
    expected = [np.int64(start + steps), x * np.float32(1.5**steps)]
    check_op(op, np.array(start), x, c, expected=expected, dims={(1, 0): "N"}, opsets=OPSETS)


def accumulated(s, e, c):
    return Add()(s, Multiply()(e, c)), Sum((1,))(s), s


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan(batch, length, reverse):
    start, steps, c = rows(batch, 4), rows(length, batch, 4), scalar(2)
    before, state = [None] * length, start
    for i in reversed(range(length)) if reverse else range(length):
        before[i], state = state, state + steps[i] * 2
    op = Scan(region(accumulated, s=ROWS, e=ROWS, c=NUMBER), states=1, sequences=1, reverse=reverse)
    expected = [state, np.stack(before).sum(2), np.stack(before)]
    dims = {(0, 0): "N", (1, 0): "T", (1, 1): "N"}
    check_op(op, start, steps, c, expected=expected, dims=dims, opsets=OPSETS)


def test_scan_of_no_steps():
    # ONNX Runtime's Scan refuses an empty sequence: torch only.
    start = rows(3, 4)
    op = Scan(region(accumulated, s=ROWS, e=ROWS, c=NUMBER), states=1, sequences=1)
    expected = [start, np.zeros((0, 3), np.float32), np.zeros((0, 3, 4), np.float32)]
    check_op(op, start, rows(0, 3, 4), scalar(2), expected=expected, dims={(1, 0): "T"}, onnx=False)


def only_outputs(a, b):
    return Add()(a, b)


def test_scan_without_states():
    a, b = rows(5, 3, 4), rows(5, 3, 4)
    op = Scan(region(only_outputs, a=ROWS, b=ROWS), states=0, sequences=2, reverse=True)
    check_op(op, a, b, expected=a + b, dims={(0, 0): "T", (1, 0): "T", (0, 1): "N", (1, 1): "N"})


def nested(s, e):
    doubled = Scan(region(only_outputs, a=Type(f32, (4,)), b=Type(f32, (4,))), states=0, sequences=2)(e, e)
    return Add()(s, doubled[0]), Relu()(s)


def test_loops_within_loops():
    start, steps = rows(3, 4), rows(5, 3, 4)
    states = np.cumsum(np.concatenate([start[None], 2 * steps]), 0, dtype=np.float32)
    op = Scan(region(nested, s=ROWS, e=ROWS), states=1, sequences=1)
    check_op(op, start, steps, expected=[states[-1], np.maximum(states[:-1], 0)], dims={(1, 0): "T"})


def test_gradients():
    op = Scan(region(accumulated, s=ROWS, e=ROWS, c=NUMBER), states=1, sequences=1)

    def reference(start, steps, c):
        states = torch.cumsum(torch.cat([start[None], steps * c]), 0)
        return states[-1], states[:-1].sum(2), states[:-1]

    check_gradients(op, reference, rows(3, 4), rows(5, 3, 4), scalar(2))
    branch = Cond(region(product, x=ROWS, y=NUMBER), region(total, x=ROWS, y=NUMBER))
    check_gradients(branch, lambda p, x, y: (x * y, x), np.array(True), rows(3, 4), scalar(2))
    again = Recompute(region(total, x=ROWS, y=NUMBER))
    check_gradients(again, lambda x, y: (x + y, torch.nn.functional.mish(x)), rows(3, 4), scalar(2))


def test_inline_puts_values_in_place_of_inputs():
    x = input_value("other", Type(f32, (7, 4)))
    one, two = inline(region(product, x=ROWS, y=NUMBER), [x, constant(scalar(2))])
    results = lower(Graph("g", [x], [one, two]))(torch.ones(7, 4))
    assert one.type.shape == (7, 4)
    assert torch.equal(results[0], torch.full((7, 4), 2.0))


def rank(x, y):
    return Sum((1,))(x), x


TWO = {"x": ROWS, "y": NUMBER}
EITHER = Cond(region(product, **TWO), region(total, **TWO))
STEPS = Scan(region(accumulated, s=ROWS, e=ROWS, c=NUMBER), states=1, sequences=1)


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        (Cond(region(product, **TWO), region(rank, **TWO)), (np.array(True), rows(3, 4), scalar(1)), "then gives"),
        (Recompute(region(product, **TWO)), (rows(3, 5), scalar(1)), "body takes"),
        (EITHER, (scalar(1), rows(3, 4), scalar(1)), "predicate must be bool"),
        (EITHER, (np.array(True), rows(3, 5), scalar(1)), "then takes"),
        (STEPS, (rows(3, 4), rows(3, 4), scalar(1)), "body takes"),
        (Scan(region(only_outputs, a=ROWS, b=ROWS), 2, 0), (rows(3, 4), rows(3, 4)), "needs a sequence"),
    ],
)
def test_refusals(op, operands, message):
    with pytest.raises(InferError, match=f"{op.name}: {message}"):
        check_op(op, *operands)

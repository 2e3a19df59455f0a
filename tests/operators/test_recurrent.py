"""Recurrent operators against real Keras's layers, with and without masks, states and reversal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.errors import InferError
from kcompile.ir import Graph, Type, constant, input_value, symbol
from kcompile.ir.types import f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from tests.operators.gradients import check_gradients
from tests.oracle import keras, layer
from tests.support import check_op

BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 5
NAMED = {(0, 0): "N", (0, 1): "T"}
RIGHT = [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]]
HOLES = [[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1]]
MASKS = {"none": None, "right": np.array(RIGHT, bool), "holes": np.array(HOLES, bool)}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def operands(gates: int, bias: tuple[int, ...] | None = None, features: int = FEATURES, units: int = UNITS) -> list:
    """kernel, recurrent kernel, bias."""
    return [random(features, gates * units), random(units, gates * units) / 2, None if bias is None else random(*bias)]


def given(states: int, present: bool) -> list[np.ndarray | None]:
    return [random(BATCH, UNITS) + i if present else None for i in range(states)]


def expected(kind, op, x, weights, states, mask) -> list[np.ndarray]:
    """The same layer in Keras: sequence, then final states."""
    options = {"use_bias": weights[2] is not None, "zero_output_for_mask": op.zero_masked, "activation": op.activation}
    if op.name != "simple_rnn":
        options["recurrent_activation"] = op.recurrent_activation
    if op.name == "gru":
        options["reset_after"] = op.reset_after
    made = kind(UNITS, return_sequences=True, return_state=True, go_backwards=op.reverse, **options)
    call = {"mask": mask, "initial_state": states if states[0] is not None else None}
    return layer(made, [w for w in weights if w is not None], x, **call)


def check(kind, op, weights, mask, with_states, **options) -> None:
    states = given(2 if op.name == "lstm" else 1, with_states)
    x = random(BATCH, TIME, FEATURES)
    want = expected(kind, op, x, weights, states, mask)
    check_op(op, x, *weights, *states, mask, expected=want, dims=NAMED, **options)
    swapped = op.replace(time_major=True)
    want[0] = want[0].swapaxes(0, 1)
    check_op(swapped, x.swapaxes(0, 1).copy(), *weights, *states, mask, expected=want, dims={(0, 0): "T", (0, 1): "N"})


every = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=list(MASKS))
with_states = pytest.mark.parametrize("states", [False, True], ids=["zeros", "states"])


@every
@masks
@with_states
@pytest.mark.parametrize("zero_masked", [False, True], ids=["repeat", "zero"])
def test_lstm(reverse, mask, states, zero_masked):
    op = Lstm(reverse=reverse, zero_masked=zero_masked)
    check(keras.layers.LSTM, op, operands(4, (4 * UNITS,)), mask, states, opsets=(17, 20, 23))


@every
@masks
@with_states
@pytest.mark.parametrize(("reset_after", "bias"), [(True, (2, 3 * UNITS)), (True, None), (False, (3 * UNITS,))])
def test_gru(reverse, mask, states, reset_after, bias):
    op = Gru(reset_after=reset_after, reverse=reverse, zero_masked=states)
    check(keras.layers.GRU, op, operands(3, bias), mask, states, opsets=(17, 20, 23))


@every
@masks
@with_states
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_simple_rnn(reverse, mask, states, activation):
    op = SimpleRnn(activation, reverse=reverse, zero_masked=not states)
    check(keras.layers.SimpleRNN, op, operands(1, (UNITS,)), mask, states, opsets=(17, 20, 23))


@masks
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize(
    ("op", "gates"), [(Lstm(), 4), (Gru(), 3), (Gru(reset_after=False), 3), (SimpleRnn(), 1)], ids=repr
)
def test_aligned_is_the_flip_of_the_order_of_processing(mask, op, gates, time_major):
    states = [None] * (2 if op.name == "lstm" else 1)
    x, axis = random(BATCH, TIME, FEATURES), 0 if time_major else 1
    x = x.swapaxes(0, 1).copy() if time_major else x
    dims = {(0, 1 - axis): "N", (0, axis): "T"}
    op = op.replace(reverse=True, time_major=time_major)
    sequence, *finals = check_op(op, x, *operands(gates), *states, mask, dims=dims)
    expected = [np.flip(sequence, axis), *finals]
    check_op(op.replace(aligned=True), x, *operands(gates), *states, mask, expected=expected, dims=dims)


ACTIVATIONS = ["tanh", "sigmoid", "relu", "hard_sigmoid", "linear", "leaky_relu", "elu", "softsign", "softplus"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("recurrent_activation", ["hard_sigmoid", "sigmoid", "elu"])
def test_other_activations(activation, recurrent_activation):
    mask = MASKS["holes"]
    lstm, gru = Lstm(activation, recurrent_activation), Gru(activation, recurrent_activation, reverse=True)
    weights = operands(4, (4 * UNITS,)), operands(3, (2, 3 * UNITS))
    weights[0][1] /= 4
    weights[1][1] /= 4
    check(keras.layers.LSTM, lstm, weights[0], mask, True)
    check(keras.layers.GRU, gru, weights[1], mask, False)


def test_gru_bias_of_one_row():
    kernel, recurrent, bias = operands(3, (2, 3 * UNITS))
    bias[1] = 0
    x = random(BATCH, TIME, FEATURES)
    want = expected(keras.layers.GRU, Gru(), x, [kernel, recurrent, bias], [None], None)
    check_op(Gru(), x, kernel, recurrent, bias[0], None, None, expected=want)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(("op", "gates"), [(Lstm(), 4), (Gru(), 3), (SimpleRnn(), 1)], ids=["lstm", "gru", "simple"])
def test_smallest(batch, time, op, gates):
    mask = np.zeros((batch, time), bool)
    states = [None] * (2 if op.name == "lstm" else 1)
    weights = operands(gates, None, features=1, units=1)
    for m in (None, mask, ~mask):
        check_op(op, random(batch, time, 1), *weights, *states, m, dims=NAMED)


@pytest.mark.parametrize(("op", "gates"), [(Lstm(), 4), (Gru(), 3), (SimpleRnn(), 1)], ids=["lstm", "gru", "simple"])
def test_no_sequences(op, gates):
    # ONNX Runtime 1.32 ends the process (std::terminate) in LSTM and GRU for a batch of 0: torch only.
    states = [None] * (2 if op.name == "lstm" else 1)
    for mask in (None, np.zeros((0, TIME), bool)):
        check_op(op, random(0, TIME, FEATURES), *operands(gates), *states, mask, dims=NAMED, onnx=False)


def test_a_mask_of_large_states_stays_exact():
    # A saturated gate must carry the cell state through masked steps bit by bit.
    x = random(BATCH, 50, FEATURES) * 20
    mask = np.random.default_rng(0).random((BATCH, 50)) > 0.5
    weights = operands(4, (4 * UNITS,))
    weights[1] *= 3
    states = given(2, True)
    want = expected(keras.layers.LSTM, Lstm(), x, weights, states, mask)
    check_op(Lstm(), x, *weights, *states, mask, expected=want, dims=NAMED)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_unmasked_lstm_is_one_node(reverse):
    x = input_value("x", Type(f32, (symbol("N"), symbol("T"), FEATURES)))
    weights = [constant(w) for w in operands(4, (4 * UNITS,))]
    sequence, h, _ = Lstm(reverse=reverse)(x, *weights, None, None, None)

    def kinds(*outputs):
        return [n.op_type for n in to_onnx(Graph("g", [x], outputs)).graph.node]

    assert kinds(h) == ["Transpose", "LSTM", "Squeeze"]
    flip = ["Slice"] if reverse else []
    aligned = Lstm(reverse=reverse, aligned=True)(x, *weights, None, None, None)[0]
    assert kinds(aligned) == ["Transpose", "LSTM", "Squeeze", "Transpose"]
    assert kinds(sequence) == ["Transpose", "LSTM", "Squeeze", *flip, "Transpose"]


def loop(op, x, kernel, recurrent, bias, *rest):
    """LSTM and GRU from their definitions, step by step, in torch."""
    *states, mask = rest
    states = [torch.zeros(x.shape[0], UNITS) if s is None else s for s in states]
    y, outputs = torch.zeros(x.shape[0], UNITS), []
    for step in reversed(range(x.shape[1])) if op.reverse else range(x.shape[1]):
        h = states[0]
        if op.name == "lstm":
            i, f, g, o = (x[:, step] @ kernel + h @ recurrent + bias).chunk(4, 1)
            c = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
            new = [o.sigmoid() * c.tanh(), c]
        else:
            (a, b, c), (d, e, f) = (x[:, step] @ kernel + bias[0]).chunk(3, 1), (h @ recurrent + bias[1]).chunk(3, 1)
            z = (a + d).sigmoid()
            new = [z * h + (1 - z) * (c + (b + e).sigmoid() * f).tanh()]
        kept = torch.ones(x.shape[0], 1, dtype=torch.bool) if mask is None else mask[:, step, None]
        y = torch.where(kept, new[0], y)
        states = [torch.where(kept, a, b) for a, b in zip(new, states, strict=True)]
        outputs.append(y)
    return [torch.stack(outputs, 1), *states]


@every
@masks
@pytest.mark.parametrize(
    ("op", "weights"),
    [(Lstm(), operands(4, (4 * UNITS,))), (Gru(), operands(3, (2, 3 * UNITS)))],
    ids=["lstm", "gru"],
)
def test_gradients(op, weights, mask, reverse):
    op = op.replace(reverse=reverse)
    states = given(2 if op.name == "lstm" else 1, True)
    x = random(BATCH, TIME, FEATURES)
    masked = [] if mask is None else [mask]
    check_gradients(op, lambda *xs: loop(op, *xs, *([None][len(masked) :])), x, *weights, *states, *masked)


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        (Lstm("gelu"), [random(2, 3, 4), random(4, 8), random(2, 8)], "activation 'gelu' is not one of tanh"),
        (Lstm(), [random(2, 3), random(4, 8), random(2, 8)], "rank 3"),
        (Lstm(), [random(2, 3, 4), random(5, 8), random(2, 8)], "sizes 4 and 5 differ"),
        (Gru(), [random(2, 3, 4), random(4, 8), random(2, 8)], "kernel"),
        (Gru(reset_after=False), [random(2, 3, 4), random(4, 6), random(2, 6), random(2, 6)], "bias must be"),
        (SimpleRnn(), [random(2, 3, 4), random(4, 2), random(2, 2), None, None, random(2, 3)], "mask must be bool"),
        (SimpleRnn(), [random(2, 3, 4), random(4, 2), random(2, 2), None, None, np.ones((2, 4), bool)], "length of x"),
    ],
)  # fmt: skip
def test_refusals(op, operands, message):
    with pytest.raises(InferError, match=f"{op.name}.*{message}"):
        check_op(op, *operands)

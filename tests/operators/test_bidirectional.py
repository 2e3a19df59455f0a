"""Both directions in one operator, against real Keras's layers run forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import Type, input_value
from kcompile.ir.types import f32
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from tests.operators.test_recurrent import BATCH, FEATURES, TIME, UNITS, expected, masks, random
from tests.oracle import keras
from tests.support import check_op

LAYERS = {
    "lstm": (keras.layers.LSTM, Lstm(zero_masked=True), 4, (4 * UNITS,)),
    "gru": (keras.layers.GRU, Gru(zero_masked=True), 3, (2, 3 * UNITS)),
    "gru before": (keras.layers.GRU, Gru(reset_after=False, zero_masked=True), 3, (3 * UNITS,)),
    "simple_rnn": (keras.layers.SimpleRNN, SimpleRnn("leaky_relu", zero_masked=True), 1, (UNITS,)),
    "no bias": (keras.layers.GRU, Gru(activation="relu", recurrent_activation="hard_sigmoid", zero_masked=True), 3, None),
}  # fmt: skip


@masks
@pytest.mark.parametrize("time_major", [False, True], ids=["batch first", "time first"])
@pytest.mark.parametrize("name", LAYERS)
def test_both_directions(name, time_major, mask):
    kind, one, gates, bias = LAYERS[name]
    x = random(BATCH, TIME, FEATURES)
    weights = [
        [random(FEATURES, gates * UNITS) * s, random(UNITS, gates * UNITS) / 3, None if bias is None else random(*bias)]
        for s in (1, -1)
    ]
    states = [None] * (2 if one.name == "lstm" else 1)
    ahead = expected(kind, one, x, weights[0], states, mask)
    back = expected(kind, one.replace(reverse=True), x, weights[1], states, mask)
    sequence = np.stack([ahead[0], np.flip(back[0], 1)], 2).transpose(1, 2, 0, 3)
    want = [sequence, *(np.stack(pair) for pair in zip(ahead[1:], back[1:], strict=True))]
    fields = {k: v for k, v in one.attributes().items() if k in Bidirectional.fields}
    op = Bidirectional(one.name, **{**fields, "time_major": time_major})
    given = x.swapaxes(0, 1).copy() if time_major else x
    dims = {(0, 0): "T", (0, 1): "N"} if time_major else {(0, 0): "N", (0, 1): "T"}
    check_op(op, given, *weights[0], *weights[1], mask, expected=want, dims=dims, opsets=(17, 20, 23))


def test_refused():
    x, kernel, recurrent = (input_value(str(s), Type(f32, s)) for s in ((2, 3, 4), (4, 6), (2, 6)))
    other = input_value("r", Type(f32, (3, 9)))
    with pytest.raises(InferError, match="the layer 'rnn' is not one of lstm, gru, simple_rnn"):
        Bidirectional("rnn")(x, kernel, recurrent, None, kernel, recurrent, None)
    with pytest.raises(InferError, match="takes x, 6 weights and a mask"):
        Bidirectional("gru")(x, kernel, recurrent, None)
    with pytest.raises(InferError, match="the same units"):
        Bidirectional("gru")(x, kernel, recurrent, None, input_value("k", Type(f32, (4, 9))), other, None)
    with pytest.raises(InferError, match="have a bias, or neither"):
        Bidirectional("gru")(x, kernel, recurrent, input_value("b", Type(f32, (2, 6))), kernel, recurrent, None)

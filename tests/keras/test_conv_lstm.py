"""Convolutional LSTMs against real Keras: the oracle of `test_layers`, masks, states and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.keras import test_layers as oracle
from tests.keras.support import array, close, keras, numbers, real
from tests.keras.test_layers import Case, cases, options
from tests.keras.test_layers_more import agree

LINE, IMAGE, VOLUME = (5, 7, 3), (5, 6, 7, 3), (3, 4, 5, 4, 2)
CASES: list[Case] = [
    *cases("ConvLSTM2D", IMAGE, configs=[
        {"filters": 2, "kernel_size": 3, **o} for o in options(
            kernel_size=[(2, 3)], strides=[2, (1, 2)], padding=["same", "SAME"], dilation_rate=[2], activation=["relu"],
            recurrent_activation=["hard_sigmoid"], use_bias=[False], unit_forget_bias=[False], kernel_regularizer=["l2"],
            recurrent_constraint=["unit_norm"], dropout=[0.2], recurrent_dropout=[0.3], seed=[3],
            return_sequences=[True], return_state=[True], go_backwards=[True], activity_regularizer=["l2"],
        )
    ]),
    *cases("ConvLSTM2D", IMAGE, configs=[
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "return_sequences": True},
        {"filters": 2, "kernel_size": 2, "return_sequences": True, "go_backwards": True, "return_state": True},
        {"filters": 2, "kernel_size": 3, "data_format": "channels_first", "shapes": ((5, 3, 6, 7),)},
        {"filters": 2, "kernel_size": 3, "shapes": ((None, 6, 7, 3),), "return_sequences": True},
    ]),
    *cases("ConvLSTM1D", LINE, configs=[
        {"filters": 2, "kernel_size": 3, **o}
        for o in options(padding=["same"], strides=[2], dilation_rate=[2], return_sequences=[True])
    ]),
    *cases("ConvLSTM1D", (None, 7, 3), configs=[{"filters": 2, "kernel_size": 3}]),
    *cases("ConvLSTM3D", VOLUME, configs=[
        {"filters": 2, "kernel_size": 2, **o} for o in options(padding=["same"], return_sequences=[True])
    ]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer(case: Case) -> None:
    oracle.test_layer(case)


MASK = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1], [1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True}, {"go_backwards": True}, {"return_state": True}], ids=str
)
def test_masked(options: dict[str, Any]) -> None:
    agree(lambda L: L.ConvLSTM2D(2, 2, **options), numbers((3, 5, 4, 4, 2)), mask=MASK)


def test_stateful_goes_on_where_it_stopped() -> None:
    x = numbers((2, 6, 5, 2))
    whole = keras.layers.ConvLSTM1D(3, 3, padding="same")
    parts = keras.layers.ConvLSTM1D(3, 3, padding="same", stateful=True)
    wanted = array(whole(x))
    parts.build(x.shape)
    parts.set_weights(whole.get_weights())
    parts(x[:, :4])
    np.testing.assert_allclose(array(parts(x[:, 4:])), wanted, rtol=1e-5, atol=1e-6)
    parts.reset_state()
    np.testing.assert_allclose(array(parts(x)), wanted, rtol=1e-5, atol=1e-6)


def test_initial_state() -> None:
    x, h, c = numbers((2, 3, 5, 2)), numbers((2, 5, 3), 1), numbers((2, 5, 3), 2)
    agree(lambda L: L.ConvLSTM1D(3, 3, padding="same", return_state=True), x, initial_state=[h, c])


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}])
def test_dropout_is_drawn_once_for_all_steps(rates: dict[str, float]) -> None:
    layer = keras.layers.ConvLSTM1D(2, 1, seed=3, **rates)
    x = np.ones((64, 4, 3, 2), "float32")
    trained, tested = array(layer(x, training=True)), array(layer(x))
    assert not np.allclose(trained, tested)
    assert len(np.unique(trained.reshape(64, -1).round(5), axis=0)) > 32


def test_files_are_kerass(tmp_path: Any) -> None:
    """Written by either Keras, read by the other; one way and both."""
    x = numbers((2, 4, 6, 6, 2))
    for writer, reader in ((keras, real), (real, keras)):
        layers = writer.layers
        model = writer.Sequential(
            [
                writer.Input(x.shape[1:]),
                layers.ConvLSTM2D(3, 3, return_sequences=True),
                layers.Bidirectional(layers.ConvLSTM2D(2, 2)),
            ]
        )
        model.save(tmp_path / "m.keras")
        close(array(reader.models.load_model(tmp_path / "m.keras")(x)), array(model(x)))


def test_trains() -> None:
    model = keras.Sequential(
        [
            keras.Input((4, 6, 6, 1)),
            keras.layers.ConvLSTM2D(4, 3, dropout=0.1, recurrent_dropout=0.1),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    x = numbers((16, 4, 6, 6, 1))
    losses = model.fit(x, x.mean((1, 2, 3)), epochs=4, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("given, words", [
    ({"padding": "causal"}, "padding"), ({"strides": 2, "dilation_rate": 2}, "not compatible"), ({"filters": 0}, "positive"),
])  # fmt: skip
def test_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        keras.layers.ConvLSTM2D(**{"filters": 2, "kernel_size": 3, **given})


def test_a_free_space_is_refused() -> None:
    with pytest.raises(ValueError, match="fixed sizes"):
        keras.layers.ConvLSTM1D(2, 3)(keras.Input((5, None, 3)))

"""Initialisers, regularisers, constraints and activations as objects: config, statistics, values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import array, close, keras, numbers, real, same
from tests.keras.test_layers import plain

INITIALIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Zeros", {}), ("Ones", {}), ("Constant", {"value": 2.5}), ("Identity", {"gain": 2.0}), ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 0.3}), ("TruncatedNormal", {"stddev": 0.5}), ("RandomUniform", {}),
    ("RandomUniform", {"minval": 0.0, "maxval": 2.0}), ("GlorotUniform", {}), ("GlorotNormal", {}), ("HeUniform", {}),
    ("HeNormal", {}), ("LecunUniform", {}), ("LecunNormal", {}), ("Orthogonal", {}), ("Orthogonal", {"gain": 0.5}),
    ("VarianceScaling", {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"}),
    ("VarianceScaling", {"mode": "fan_avg", "distribution": "untruncated_normal"}),
]  # fmt: skip
SHAPES = [(300, 200), (3, 3, 40, 60), (60, 1000)]


@pytest.mark.parametrize("name, config", INITIALIZERS, ids=str)
def test_statistics_and_config(name: str, config: dict[str, Any]) -> None:
    """Mean, deviation, least and largest value are those of real Keras's numbers, within their own noise."""
    seeded = {**config, "seed": 7} if name not in ("Zeros", "Ones", "Constant", "Identity") else config
    ours, theirs = getattr(keras.initializers, name)(**seeded), getattr(real.initializers, name)(**seeded)
    # Real Keras's Identity forgets its gain.
    assert plain(ours.get_config()) == (plain(theirs.get_config()) or plain(config))
    assert type(type(ours).from_config(plain(theirs.get_config()))) is type(ours)
    for shape in {"Identity": [(30, 20)], "Orthogonal": [(60, 40), (3, 3, 10, 30)]}.get(name, SHAPES):
        got, wanted = array(ours(shape)), array(theirs(shape))
        assert (got.shape, got.dtype) == (wanted.shape, np.float32)
        noise = 5 * wanted.std() / np.sqrt(wanted.size) + 1e-6
        assert abs(got.mean() - wanted.mean()) < 2 * noise
        assert abs(got.std() - wanted.std()) < 2 * noise
        if "uniform" in name.lower() or "runcated" in name or "Uniform" in str(config):
            np.testing.assert_allclose([got.min(), got.max()], [wanted.min(), wanted.max()], atol=0.1 * wanted.std())
        np.testing.assert_array_equal(array(ours(shape)), got, err_msg="the same object gives the same numbers")
        again = type(ours)(**seeded)
        np.testing.assert_array_equal(array(again(shape)), got, err_msg="the same seed gives the same numbers")


def test_orthogonal_is_orthogonal() -> None:
    for shape in [(4, 9), (9, 4), (2, 3, 5)]:
        m = keras.initializers.Orthogonal()(shape).reshape(-1, shape[-1])
        square = m @ m.T if m.shape[0] < m.shape[1] else m.T @ m
        np.testing.assert_allclose(square, np.eye(len(square)), atol=1e-5)


def test_unseeded_ones_differ_and_set_random_seed_repeats() -> None:
    def draw() -> np.ndarray:
        return keras.layers.Dense(5).build((None, 4)) or keras.initializers.GlorotUniform()((4, 5))

    assert not np.array_equal(draw(), draw())
    first = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dropout(0.5)])
        first.append([*model.get_weights(), array(model(np.ones((2, 4), "float32"), training=True))])
    same(first[0], first[1])


NAMES = ["zeros", "ones", "glorot_uniform", "he_normal", "random_normal", "orthogonal", "lecun_uniform", "truncated_normal",
         "uniform", "normal", "variance_scaling", "identity"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert type(keras.initializers.get(name)).__name__ == type(real.initializers.get(name)).__name__


def test_other_ways_to_name_an_initializer() -> None:
    for room in (keras, real):
        config = {"class_name": "HeNormal", "config": {"seed": 3}}
        assert room.initializers.get(config).seed == 3
        assert type(room.initializers.get(room.initializers.Ones)).__name__ == "Ones"
        assert room.initializers.get(None) is None
        with pytest.raises(ValueError, match="glorot_uniforn"):
            room.initializers.get("glorot_uniforn")
    with pytest.raises(ValueError, match="did you mean 'glorot_uniform'"):
        keras.initializers.get("glorot_uniforn")
    layer = keras.layers.Dense(3, kernel_initializer=lambda shape, dtype=None: np.full(shape, 2.0))
    layer.build((None, 2))
    same(layer.kernel.numpy(), np.full((2, 3), 2.0, "float32"))


REGULARIZERS: list[tuple[str, dict[str, Any]]] = [
    ("L1", {}), ("L2", {"l2": 0.3}), ("L1L2", {"l1": 0.1, "l2": 0.2}), ("L1L2", {}), ("L1L2", {"l1": 0.1}),
]  # fmt: skip
CONSTRAINTS: list[tuple[str, dict[str, Any]]] = [
    ("MaxNorm", {}), ("MaxNorm", {"max_value": 0.5, "axis": 1}), ("NonNeg", {}), ("UnitNorm", {}),
    ("UnitNorm", {"axis": (0, 1)}), ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.8, "rate": 0.7}),
]  # fmt: skip


@pytest.mark.parametrize("name, config", [*REGULARIZERS, *CONSTRAINTS], ids=str)
def test_regularizers_and_constraints(name: str, config: dict[str, Any]) -> None:
    module = "regularizers" if ("regularizers", name) and name.startswith("L") else "constraints"
    ours, theirs = (getattr(getattr(room, module), name)(**config) for room in (keras, real))
    assert plain(ours.get_config()) == plain(theirs.get_config())
    w = torch.from_numpy(numbers((4, 3)))
    close(array(ours(w)), array(theirs(w)))
    again = getattr(keras, module).get({"class_name": name, "config": plain(theirs.get_config())})
    close(array(again(w)), array(theirs(w)))


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}), ("relu", {"negative_slope": 0.1, "max_value": 0.8, "threshold": 0.2}), ("relu", {"max_value": 1.0}),
    ("elu", {"alpha": 0.5}), ("softmax", {"axis": 0}), ("gelu", {}), ("gelu", {"approximate": True}), ("exponential", {}),
    ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.4}), ("linear", {}), ("log_softmax", {}), ("glu", {}),
    ("threshold", {"threshold": 0.1, "default_value": 2.0}), ("squareplus", {"b": 2}), ("celu", {"alpha": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", CALLS, ids=str)
def test_activations(name: str, options: dict[str, Any]) -> None:
    x = numbers((4, 6))
    ours, theirs = (getattr(room.activations, name)(torch.from_numpy(x), **options) for room in (keras, real))
    same(ours, theirs)


def test_activations_by_name_and_back() -> None:
    for function in keras.activations.FUNCTIONS:
        assert keras.activations.get(function.__name__) is function
        assert keras.activations.serialize(function) == real.activations.serialize(
            getattr(real.activations, function.__name__)
        )
        assert json.dumps(keras.activations.serialize(function))
    assert keras.activations.get(None) is keras.activations.linear
    for name in ("swish", "hard_swish"):
        assert keras.activations.get(name).__name__ == real.activations.get(name).__name__


RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("normal", {"mean": 1.0, "stddev": 2.0}), ("uniform", {"minval": -1.0, "maxval": 3.0}),
    ("truncated_normal", {"stddev": 0.5}), ("randint", {"minval": 2, "maxval": 9}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", RANDOM, ids=str)
def test_random_numbers(name: str, options: dict[str, Any]) -> None:
    got, wanted = (array(getattr(room.random, name)((300, 200), **options)).astype("float64") for room in (keras, real))
    noise = 10 * wanted.std() / np.sqrt(wanted.size)
    assert abs(got.mean() - wanted.mean()) < noise
    assert abs(got.std() - wanted.std()) < noise
    np.testing.assert_allclose([got.min(), got.max()], [wanted.min(), wanted.max()], rtol=0.3)
    seeded = [array(getattr(keras.random, name)((5,), seed=3, **options)) for _ in range(2)]
    np.testing.assert_array_equal(seeded[0], seeded[1])
    generator = keras.random.SeedGenerator(3)
    pair = [array(getattr(keras.random, name)((50,), seed=generator, **options)) for _ in range(2)]
    assert not np.array_equal(pair[0], pair[1])


def test_dropout_while_training() -> None:
    x = np.ones((200, 300), "float32")
    for room in (keras, real):
        layer = room.layers.Dropout(0.3, seed=1)
        y = array(layer(x, training=True))
        assert set(np.unique(y.round(5))) == {0.0, np.float32(1 / 0.7).round(5)}
        assert abs((y == 0).mean() - 0.3) < 0.01
        assert not np.array_equal(y, array(layer(x, training=True)))
        rows = array(room.layers.Dropout(0.5, noise_shape=(None, 1))(x, training=True)) if room is keras else None
        assert rows is None or ((rows == rows[:, :1]).all() and 0 < (rows[:, 0] == 0).mean() < 1)

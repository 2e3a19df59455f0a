"""What a script may import and call by Keras's names, and what a variable may be where Python wants a number."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from kcompile.cli.alias import keras_alias
from tests.keras.support import keras, real

MODULES = {
    "keras.preprocessing.sequence": "pad_sequences", "keras.preprocessing.image": "img_to_array",
    "keras.datasets.mnist": "load_data", "keras.datasets.cifar10": "load_data", "keras.datasets.imdb": "load_data",
    "keras.layers": "Dense", "keras.optimizers.schedules": "CosineDecay", "keras.ops.numpy": "mean",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules_that_scripts_import_from(name: str) -> None:
    with keras_alias():
        assert callable(getattr(importlib.import_module(name), MODULES[name]))


BACKEND = [n for n in dir(real.backend) if not n.startswith("_")]


@pytest.mark.parametrize("name", BACKEND)
def test_the_functions_of_keras_backend(name: str) -> None:
    assert callable(getattr(keras.backend, name))


def test_keras_backend_is_keras_config() -> None:
    assert keras.backend.epsilon() == real.backend.epsilon() and keras.backend.backend() == "torch"
    assert (keras.backend.floatx(), keras.backend.image_data_format()) == ("float32", "channels_last")
    assert keras.backend.is_keras_tensor(keras.Input((2,))) and not keras.backend.is_keras_tensor(np.ones(2))
    keras.backend.clear_session()
    assert [keras.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    assert [keras.backend.get_uid("part") for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("value", [3, 2.5, 0.0, [1.0], [1.0, 2.0]])
@pytest.mark.parametrize("kind", [int, float])
def test_a_variable_as_a_number(kind: Any, value: Any) -> None:
    ours, theirs = keras.Variable(np.array(value, "float32")), real.Variable(np.array(value, "float32"))
    if np.ndim(value):
        for variable in (ours, theirs):
            with pytest.raises(TypeError):
                kind(variable)
    else:
        assert kind(ours) == kind(theirs)


S, IMAGE = (5, 4), (8, 8, 3)
PATHS: dict[str, tuple[Any, Any]] = {
    "MultiHeadAttention": (S, lambda k, x: k.layers.MultiHeadAttention(2, 3)(x, x)),
    "GroupQueryAttention": (S, lambda k, x: k.layers.GroupQueryAttention(3, 2, 1)(x, x)),
    "Bidirectional": (S, lambda k, x: k.layers.Bidirectional(k.layers.LSTM(3))(x)),
    "TimeDistributed": (S, lambda k, x: k.layers.TimeDistributed(k.layers.Dense(3))(x)),
    "RNN of cells": (S, lambda k, x: k.layers.RNN([k.layers.GRUCell(2), k.layers.LSTMCell(3)])(x)),
    "SpectralNormalization": (S, lambda k, x: k.layers.SpectralNormalization(k.layers.Dense(3))(x)),
    "SeparableConv2D": (IMAGE, lambda k, x: k.layers.SeparableConv2D(3, 2)(x)),
    "nested": (S, lambda k, x: k.Sequential([k.layers.Dense(2), k.layers.BatchNormalization()], name="inner")(x)),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_of_weights(name: str) -> None:
    shape, build = PATHS[name]
    found = []
    for room in (keras, real):
        room.utils.clear_session()
        start = room.Input(shape)
        found.append([w.path for w in room.Model(start, build(room, start)).weights])
    assert found[0] == found[1]


def test_lookups_say_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"'TextVectorization'; map text and ids to integers before the model"):
        keras.layers.TextVectorization()
    assert not hasattr(keras.layers, "StringLookup") and not hasattr(keras.layers, "Nothing")

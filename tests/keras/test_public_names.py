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

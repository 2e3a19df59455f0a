"""A step's tensors go when it ends: none waits for Python's collector of cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras

X, Y = np.ones((12, 8, 8, 1), "float32"), np.ones((12, 1), "float32")
RUNS: dict[str, Callable[[Any], Any]] = {
    "fit": lambda m: m.fit(X, Y, batch_size=4, epochs=2, verbose=0, validation_data=(X, Y)),
    "evaluate": lambda m: m.evaluate(X, Y, batch_size=4, verbose=0),
    "predict": lambda m: m.predict(X, batch_size=4, verbose=0),
    "train_on_batch": lambda m: m.train_on_batch(X, Y),
    "call": lambda m: m(X),
}


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("name", RUNS)
def test_no_tensor_is_left_in_a_cycle(name: str, eagerly: bool) -> None:
    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=eagerly)
    RUNS[name](model)  # tracing leaves cycles, once
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(2):
            RUNS[name](model)
        gc.collect()
        # FakeTensors are what torch.compile, in tests before these, leaves in its caches.
        assert [x for x in gc.garbage if type(x) in (torch.Tensor, torch.nn.Parameter)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()

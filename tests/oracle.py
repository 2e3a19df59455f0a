"""Real Keras on torch, the reference that operators and layers are compared with."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"

import keras

assert keras.backend.backend() == "torch", "keras was imported before tests.oracle, with another backend"


def arrays(result: Any) -> list[np.ndarray]:
    """What a Keras call returned, as numpy arrays."""
    results = result if isinstance(result, (list, tuple)) else [result]
    return [keras.ops.convert_to_numpy(r) for r in results]


def layer(kind: Any, weights: list[np.ndarray], *inputs: np.ndarray, **call: Any) -> list[np.ndarray]:
    """The outputs of a Keras layer with these weights."""
    kind.build(inputs[0].shape)
    kind.set_weights(weights)
    return arrays(kind(*inputs, **call))

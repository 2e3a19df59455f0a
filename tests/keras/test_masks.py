"""Which masks leave a layer, against real Keras: a mask that is lost on the way silently changes what comes after."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.keras.support import array, keras, real

TOKENS = np.array([[3, 1, 2, 4, 0, 0], [1, 0, 0, 0, 0, 0], [2, 2, 1, 3, 4, 1]])

# What is made of h, a masked sequence [N, 6, 8].
LAYERS: dict[str, Callable[[Any, Any], Any]] = {
    "Dense": lambda k, h: k.layers.Dense(4)(h),
    "EinsumDense": lambda k, h: k.layers.EinsumDense("abc,cd->abd", (None, 4))(h),
    "Identity": lambda k, h: k.layers.Identity()(h),
    "Masking": lambda k, h: k.layers.Masking(1e9)(h),
    "Lambda": lambda k, h: k.layers.Lambda(lambda x: x * 2, mask=lambda inputs, mask: mask)(h),
    "Activation": lambda k, h: k.layers.Activation("gelu")(h),
    "ReLU": lambda k, h: k.layers.ReLU()(h),
    "LeakyReLU": lambda k, h: k.layers.LeakyReLU()(h),
    "ELU": lambda k, h: k.layers.ELU()(h),
    "PReLU": lambda k, h: k.layers.PReLU(shared_axes=[1])(h),
    "ActivityRegularization": lambda k, h: k.layers.ActivityRegularization(0.1)(h),
    "Dropout": lambda k, h: k.layers.Dropout(0.5)(h),
    "SpatialDropout1D": lambda k, h: k.layers.SpatialDropout1D(0.5)(h),
    "AlphaDropout": lambda k, h: k.layers.AlphaDropout(0.5)(h),
    "GaussianNoise": lambda k, h: k.layers.GaussianNoise(0.5)(h),
    "GaussianDropout": lambda k, h: k.layers.GaussianDropout(0.5)(h),
    "LayerNormalization": lambda k, h: k.layers.LayerNormalization()(h),
    "BatchNormalization": lambda k, h: k.layers.BatchNormalization()(h),
    "GroupNormalization": lambda k, h: k.layers.GroupNormalization(2)(h),
    "UnitNormalization": lambda k, h: k.layers.UnitNormalization()(h),
    "RMSNormalization": lambda k, h: k.layers.RMSNormalization()(h),
    "Rescaling": lambda k, h: k.layers.Rescaling(2.0)(h),
    "Normalization": lambda k, h: k.layers.Normalization(mean=0.0, variance=1.0)(h),
    "LSTM": lambda k, h: k.layers.LSTM(3, return_sequences=True)(h),
    "GRU, last": lambda k, h: k.layers.GRU(3)(h),
    "SimpleRNN, states": lambda k, h: k.layers.SimpleRNN(3, return_sequences=True, return_state=True)(h)[0],
    "Bidirectional": lambda k, h: k.layers.Bidirectional(k.layers.GRU(3, return_sequences=True))(h),
    "TimeDistributed": lambda k, h: k.layers.TimeDistributed(k.layers.Dense(2))(h),
    "MultiHeadAttention": lambda k, h: k.layers.MultiHeadAttention(2, 4)(h, h),
    "MultiHeadAttention, causal": lambda k, h: k.layers.MultiHeadAttention(2, 4)(h, h, use_causal_mask=True),
    "MultiHeadAttention, plain query": lambda k, h: k.layers.MultiHeadAttention(2, 4)(k.ops.relu(h), h),
    "MultiHeadAttention, scores": lambda k, h: k.layers.MultiHeadAttention(2, 4)(h, h, return_attention_scores=True)[0],
    "GroupQueryAttention": lambda k, h: k.layers.GroupQueryAttention(4, 2, 1)(h, h),
    "Attention": lambda k, h: k.layers.Attention()([h, h]),
    "AdditiveAttention": lambda k, h: k.layers.AdditiveAttention()([h, h]),
    "Add": lambda k, h: k.layers.Add()([h, k.layers.Dense(8)(h)]),
    "Add, one without": lambda k, h: k.layers.Add()([h, k.ops.relu(h)]),
    "Multiply": lambda k, h: k.layers.Multiply()([h, h]),
    "Concatenate": lambda k, h: k.layers.Concatenate()([h, k.layers.Dense(2)(h)]),
    "Concatenate, in time": lambda k, h: k.layers.Concatenate(1)([h, h]),
    "post-normalised block": lambda k, h: k.layers.LayerNormalization()(h + k.layers.MultiHeadAttention(2, 4)(h, h)),
    "two blocks": lambda k, h: block(k, block(k, h)),
    "Sequential": lambda k, h: k.Sequential([k.layers.Dense(3), k.layers.LayerNormalization()])(h),
    "GlobalAveragePooling1D": lambda k, h: k.layers.GlobalAveragePooling1D()(h),
    "Conv1D": lambda k, h: k.layers.Conv1D(4, 3, padding="same")(h),
    "Flatten": lambda k, h: k.layers.Flatten()(h),
    "Reshape": lambda k, h: k.layers.Reshape((6, 2, 4))(h),
    "Permute": lambda k, h: k.layers.Permute((1, 2))(h),
    "ZeroPadding1D": lambda k, h: k.layers.ZeroPadding1D(1)(h),
    "UpSampling1D": lambda k, h: k.layers.UpSampling1D(2)(h),
    "MaxPooling1D": lambda k, h: k.layers.MaxPooling1D(2)(h),
}


def block(k: Any, h: Any) -> Any:
    """A Transformer's block, normalised before its parts."""
    normed = k.layers.LayerNormalization()(h)
    h = k.layers.Add()([h, k.layers.MultiHeadAttention(2, 4)(normed, normed)])
    return k.layers.Add()([h, k.layers.Dense(8, activation="gelu")(k.layers.LayerNormalization()(h))])


def mask_after(k: Any, make: Callable[[Any, Any], Any]) -> np.ndarray | None:
    """The mask that ``make`` leaves of that of `TOKENS`, when the model runs."""
    seen: list[Any] = []

    class Look(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any, mask: Any = None) -> Any:
            seen.append(mask)
            return x

    tokens = k.Input((6,), dtype="int32")
    h = k.layers.Embedding(5, 8, mask_zero=True)(tokens)
    model = k.Model(tokens, Look()(make(k, h)))
    seen.clear()
    model(k.ops.convert_to_tensor(TOKENS))
    return None if seen[-1] is None else array(seen[-1])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_as_in_keras(layer: str) -> None:
    found, wanted = mask_after(keras, LAYERS[layer]), mask_after(real, LAYERS[layer])
    assert (found is None) == (wanted is None)
    if wanted is not None:
        np.testing.assert_array_equal(found, wanted)


def test_blocks_with_masks_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mask_after(keras, LAYERS["two blocks"]) is not None


def test_one_mask_is_the_first_output_s() -> None:
    x, mask = np.ones((2, 3), "float32"), np.array([[True, False, True]] * 2)
    for k in (keras, real):

        class Two(k.layers.Layer):
            supports_masking = True

            def call(self, x: Any, mask: Any = None) -> Any:
                return x * 1.0, x * 2.0

        first, second = Two()(k.ops.convert_to_tensor(x), mask=k.ops.convert_to_tensor(mask))
        assert getattr(second, "_keras_mask", None) is None and array(first._keras_mask).tolist() == mask.tolist()

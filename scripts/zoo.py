"""Models of every kind that kcompile is measured on, each a function of a Keras module.

The same function builds the model with kcompile's API and with real Keras on any backend, so that
every tool is given the same model; `randomise` gives it the same weights. Sizes follow what the
kinds look like in use; batches are free everywhere, and lengths where a text or a signal has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: how it is built, and what its inputs are.

    ``inputs`` gives each input's shape without the batch (``None`` where a length is free);
    ``highest`` is the number of tokens for integer inputs, else None for floats.
    """

    name: str
    build: Callable[[Any], Any]
    inputs: tuple[tuple[int | None, ...], ...]
    highest: int | None = None
    length: int = 100
    heavy: bool = False

    def feed(self, batch: int, seed: int = 0, length: int | None = None) -> list[np.ndarray]:
        """Random inputs in the model's order."""
        rng = np.random.default_rng(seed)
        shapes = [(batch, *(length or self.length if d is None else d for d in s)) for s in self.inputs]
        if self.highest is not None:
            return [rng.integers(1, self.highest, s).astype(np.int32) for s in shapes]
        return [rng.standard_normal(s).astype(np.float32) for s in shapes]

    def checks(self) -> dict[str, list[np.ndarray]]:
        """Inputs on which a file has to be right: two batch sizes, and a second length where it is free."""
        batch = 2 if self.heavy else 5
        found = {"one": self.feed(1, seed=1), "batch": self.feed(batch, seed=2)}
        if any(None in s for s in self.inputs):
            found["length"] = self.feed(2, seed=3, length=self.length // 2 + 3)
        return found


ZOO: dict[str, Entry] = {}


def entry(*inputs: tuple[int | None, ...], **options: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Registers a builder under its name."""

    def register(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
        ZOO[build.__name__] = Entry(build.__name__, build, inputs, **options)
        return build

    return register


def randomise(model: Any, feed: list[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Weights as training might leave them, set and returned: no scale is 1, no shift 0.

    Batch normalisation is given the statistics of ``feed``, so that no layer's output vanishes or
    explodes, which would make every comparison of files vacuous.
    """
    rng = np.random.default_rng(seed)
    arrays = []
    for variable in model.weights:
        shape, path = tuple(variable.shape), variable.path
        if "seed" in path or "moving" in path or len(shape) == 0:
            arrays.append(np.asarray(variable))
        elif path.endswith("gamma"):
            arrays.append(rng.uniform(0.6, 1.4, shape).astype("float32"))
        elif len(shape) < 2 or path.endswith("bias"):
            arrays.append(rng.normal(0, 0.1, shape).astype("float32"))
        elif "embedding" in path:
            arrays.append(rng.normal(0, 0.5, shape).astype("float32"))
        else:
            # A depthwise kernel [h, w, in, 1] sums over its window only.
            fan = int(np.prod(shape[:2])) if len(shape) == 4 and shape[-1] == 1 else int(np.prod(shape[:-1]))
            arrays.append(rng.normal(0, np.sqrt(1.6 / fan), shape).astype("float32"))
    model.set_weights(arrays)
    norms = [layer for layer in _layers(model) if hasattr(layer, "moving_variance") and hasattr(layer, "momentum")]
    if norms:
        momenta = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0
        model(feed if len(feed) > 1 else feed[0], training=True)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
    # A channel that hardly varied on the few samples would be magnified, and with it every rounding.
    found = [np.asarray(a) for a in model.get_weights()]
    for i, variable in enumerate(model.weights):
        if variable.path.endswith("moving_variance"):
            found[i] = np.maximum(found[i], found[i].mean() / 3)
    model.set_weights(found)
    return found


def _layers(model: Any) -> list[Any]:
    """All layers, those of nested models too."""
    found = []
    for layer in model.layers:
        found += [layer, *(_layers(layer) if hasattr(layer, "layers") else [])]
    return found


def conv_block(
    keras: Any, x: Any, filters: int, size: int = 3, strides: int = 1, activation: str | None = "relu"
) -> Any:
    """Convolution without bias, batch normalisation, activation."""
    layers = keras.layers
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def depthwise_block(keras: Any, x: Any, strides: int = 1, size: int = 3, activation: Any = "relu") -> Any:
    layers = keras.layers
    x = layers.DepthwiseConv2D(size, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return _activated(keras, x, activation)


def _activated(keras: Any, x: Any, activation: Any) -> Any:
    if activation == "relu6":
        return keras.layers.ReLU(6.0)(x)
    return keras.layers.Activation(activation)(x) if activation else x


@entry((784,))
def mlp(keras: Any) -> Any:
    layers = keras.layers
    x = inputs = keras.Input((784,))
    for units in (256, 128):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


@entry((28, 28, 1))
def cnn(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = conv_block(keras, inputs, 32)
    x = layers.MaxPooling2D()(conv_block(keras, x, 32))
    x = layers.MaxPooling2D()(conv_block(keras, x, 64))
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Dropout(0.5)(x)))


@entry((32, 32, 3))
def resnet(keras: Any) -> Any:
    """ResNet-20 for CIFAR (He et al., 2015)."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = conv_block(keras, inputs, 16)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            y = conv_block(keras, conv_block(keras, x, filters, strides=strides), filters, activation=None)
            if strides == 2:
                x = conv_block(keras, x, filters, 1, 2, activation=None)
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


@entry((96, 96, 3))
def mobilenet(keras: Any) -> Any:
    """Depthwise separable blocks (MobileNet, Howard et al., 2017), pixels rescaled in the model."""
    layers = keras.layers
    inputs = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = conv_block(keras, x, 16, strides=2, activation="relu")
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = conv_block(keras, depthwise_block(keras, x, strides), filters, 1)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


@entry((64, 64, 3))
def efficientnet(keras: Any) -> Any:
    """Inverted residuals with squeeze and excitation, swish (EfficientNet, Tan and Le, 2019)."""
    layers = keras.layers
    inputs = keras.Input((64, 64, 3))
    x = layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.2, 0.3, 0.4])(inputs)
    x = conv_block(keras, x, 16, strides=2, activation="swish")
    for expand, filters, strides, size in ((1, 16, 1, 3), (4, 24, 2, 3), (4, 24, 1, 3), (4, 40, 2, 5), (4, 40, 1, 5)):
        width = x.shape[-1]
        y = conv_block(keras, x, width * expand, 1, activation="swish") if expand > 1 else x
        y = depthwise_block(keras, y, strides, size, "swish")
        s = layers.Reshape((1, 1, width * expand))(layers.GlobalAveragePooling2D()(y))
        s = layers.Conv2D(max(width // 4, 1), 1, activation="swish")(s)
        s = layers.Conv2D(width * expand, 1, activation="sigmoid")(s)
        y = conv_block(keras, layers.Multiply()([y, s]), filters, 1, activation=None)
        x = layers.Add()([x, layers.Dropout(0.1)(y)]) if strides == 1 and width == filters else y
    x = layers.GlobalAveragePooling2D()(conv_block(keras, x, 128, 1, activation="swish"))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


@entry((64, 64, 3))
def unet(keras: Any) -> Any:
    """Ronneberger et al., 2015, with upsampling."""
    layers = keras.layers
    x = inputs = keras.Input((64, 64, 3))
    skips = []
    for filters in (16, 32, 64):
        x = conv_block(keras, conv_block(keras, x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv_block(keras, x, 128)
    for filters in (64, 32, 16):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips.pop()])
        x = conv_block(keras, conv_block(keras, x, filters), filters)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


@entry((32, 32, 3))
def convnext(keras: Any) -> Any:
    """Depthwise 7x7, layer normalisation, inverted bottleneck with gelu (Liu et al., 2022)."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 4, strides=4)(inputs)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    for stage, width in enumerate((32, 64)):
        if stage:
            x = layers.Conv2D(width, 2, strides=2)(layers.LayerNormalization(epsilon=1e-6)(x))
        for _ in range(2):
            y = layers.DepthwiseConv2D(7, padding="same")(x)
            y = layers.LayerNormalization(epsilon=1e-6)(y)
            y = layers.Dense(width)(layers.Activation("gelu")(layers.Dense(4 * width)(y)))
            x = layers.Add()([x, y])
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


@entry((28, 28, 1))
def autoencoder(keras: Any) -> Any:
    layers = keras.layers
    x = inputs = keras.Input((28, 28, 1))
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    code = layers.Dense(16)(layers.Flatten()(x))
    x = layers.Reshape((7, 7, 32))(layers.Dense(7 * 7 * 32, activation="relu")(code))
    for filters in (32, 16):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))


@entry((None,), highest=1000)
def lstm(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((None,), dtype="int32")
    x = layers.LSTM(64)(layers.Embedding(1000, 32)(inputs))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


@entry((None,), highest=1000)
def bidirectional_gru(keras: Any) -> Any:
    """Two layers deep, one label a token."""
    layers = keras.layers
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(1000, 32)(inputs)
    x = layers.Bidirectional(layers.GRU(32, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(32, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(8, activation="softmax")(x))


def positions(keras: Any, length: int, width: int) -> Any:
    """A layer that adds a learned position to each of up to ``length`` tokens."""

    class Positions(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(length, width), initializer="normal", name="embeddings")

        def call(self, x: Any) -> Any:
            return x + self.table[: keras.ops.shape(x)[1]]

    return Positions()


def _block(keras: Any, x: Any, width: int, heads: int, causal: bool) -> Any:
    """A pre-norm Transformer block."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=causal)
    x = layers.Add()([x, y])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
    return layers.Add()([x, y])


@entry((None,), highest=1000, length=128)
def transformer(keras: Any) -> Any:
    """An encoder for classification: 4 layers, width 256."""
    layers = keras.layers
    inputs = keras.Input((None,), dtype="int32")
    x = positions(keras, 256, 256)(layers.Embedding(1000, 256)(inputs))
    for _ in range(4):
        x = _block(keras, x, 256, 4, causal=False)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


@entry((None,), highest=256, length=64)
def gpt(keras: Any) -> Any:
    """A decoder: 4 layers, width 192, the next character's scores."""
    layers = keras.layers
    inputs = keras.Input((None,), dtype="int32")
    x = positions(keras, 256, 192)(layers.Embedding(256, 192)(inputs))
    for _ in range(4):
        x = _block(keras, x, 192, 6, causal=True)
    return keras.Model(inputs, layers.Dense(256)(layers.LayerNormalization(epsilon=1e-6)(x)))


@entry((32, 32, 3))
def mixer(keras: Any) -> Any:
    """MLP-Mixer (Tolstikhin et al., 2021): 64 patches, width 64."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 64))(layers.Conv2D(64, 4, strides=4)(inputs))
    for _ in range(3):
        y = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(x))
        y = layers.Dense(64)(layers.Dense(128, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.Dense(64)(layers.Dense(256, activation="gelu")(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(10)(x))


@entry((50,), (50,))
def two_tower(keras: Any) -> Any:
    """One tower for two inputs: a similarity."""
    layers = keras.layers
    tower = keras.Sequential(
        [
            keras.Input((50,)), layers.Dense(128, activation="relu"), layers.BatchNormalization(),
            layers.Dense(64, activation="relu"), layers.BatchNormalization(), layers.Dense(32),
        ]
    )  # fmt: skip
    left, right = keras.Input((50,)), keras.Input((50,))
    return keras.Model([left, right], layers.Dot(1, normalize=True)([tower(left), tower(right)]))


@entry((224, 224, 3), heavy=True)
def resnet50(keras: Any) -> Any:
    """In full size, with Keras's paddings (He et al., 2015)."""
    layers = keras.layers
    inputs = keras.Input((224, 224, 3))

    def block(x: Any, filters: int, size: int = 1, strides: int = 1, padding: str = "same") -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding=padding)(x)
        return layers.BatchNormalization(epsilon=1.001e-5)(x)

    x = block(layers.ZeroPadding2D(3)(inputs), 64, 7, 2, "valid")
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(layers.ReLU()(x)))
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for index in range(blocks):
            strides = 2 if stage and not index else 1
            short = block(x, 4 * filters, 1, strides) if not index else x
            y = layers.ReLU()(block(x, filters, 1, strides))
            y = layers.ReLU()(block(y, filters, 3))
            x = layers.ReLU()(layers.Add()([short, block(y, 4 * filters)]))
    return keras.Model(inputs, layers.Dense(1000, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@entry((224, 224, 3), heavy=True)
def mobilenet_v2(keras: Any) -> Any:
    """In full size, with Keras's paddings (Sandler et al., 2018)."""
    layers = keras.layers
    inputs = keras.Input((224, 224, 3))
    x = layers.ReLU(6.0)(conv_block(keras, inputs, 32, strides=2, activation=None))
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, filters, blocks, first in stages:
        for index in range(blocks):
            strides, width = first if not index else 1, x.shape[-1]
            y = layers.ReLU(6.0)(conv_block(keras, x, width * expand, 1, activation=None)) if expand > 1 else x
            if strides == 2:
                y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y)
            y = layers.DepthwiseConv2D(3, strides=strides, use_bias=False, padding="same" if strides == 1 else "valid")(
                y
            )
            y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
            y = conv_block(keras, y, filters, 1, activation=None)
            x = layers.Add()([x, y]) if strides == 1 and width == filters else y
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(conv_block(keras, x, 1280, 1, activation=None)))
    return keras.Model(inputs, layers.Dense(1000, activation="softmax")(x))

"""Models that draw random numbers, in all the ways that a model may: their noise is that of the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile import keras
from tests.distribution.cases import Case, classes

L, ops, random = keras.layers, keras.ops, keras.random


def dropouts() -> Case:
    """Each kind of dropout, seeded and not, and decisions shared over rows; the last batch has 2 samples."""
    x, y = classes(20, 50, 5, 6)
    model = keras.Sequential(
        [
            L.Input((5, 6)), L.SpatialDropout1D(0.2), L.Dense(8, activation="selu"), L.AlphaDropout(0.2),
            L.GaussianNoise(0.3, seed=4), L.Dropout(0.3, noise_shape=(None, 1, None)), L.Dropout(0.3, noise_shape=(1, 5, 8)),
            L.Flatten(), L.Dense(16), L.GaussianDropout(0.2), L.Dropout(0.4, seed=7), L.Dropout(0.2), L.Dense(3),
        ]
    )  # fmt: skip
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[:7], y[:7]))


def branches() -> Case:
    """Dropout on branches that meet in another order than they were made, and in layers that are computed again."""
    x, y = classes(21, 30, 6)
    inputs = keras.Input((6,))
    first, second = (L.Dropout(0.3)(L.Dense(8, activation="relu")(inputs)) for _ in range(2))
    with keras.RematScope(mode="full"):
        third = L.Dense(8)(L.Dropout(0.5)(second))
    h = L.Concatenate()([third, L.BatchNormalization()(second), L.GaussianNoise(0.1)(first)])
    model = keras.Model(inputs, L.Dense(3)(h))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 7}, (x, y))


class Sampling(L.Layer):
    """A latent vector for each row, drawn from what an encoder says; also while predicting."""

    def __init__(self, seed: int | None):
        super().__init__()
        self.seed_generator = random.SeedGenerator(seed)

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        self.add_loss(-0.1 * ops.mean(1 + log_variance - ops.square(mean) - ops.exp(log_variance)))
        noise = random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def autoencoder(seed: int | None = 5) -> Case:
    """Variational: seeded."""
    x, _ = classes(22, 44, 6)
    inputs = keras.Input((6,))
    h = L.Dense(10, activation="relu")(inputs)
    z = Sampling(seed)([L.Dense(2)(h), L.Dense(2)(h)])
    model = keras.Model(inputs, L.Dense(6)(L.Dense(10, activation="relu")(z)))
    model.compile("adam", "mse")
    return Case(model, {"x": x, "y": x, "batch_size": 10}, (x[:9], x[:9]))


def unseeded_autoencoder() -> Case:
    """The same with torch's own generator."""
    return autoencoder(None)


def recurrent_dropout() -> Case:
    """Masks of inputs and states, one for all steps; a cell in a loop."""
    x, y = classes(23, 30, 6, 3)
    model = keras.Sequential(
        [
            L.Input((6, 3)), L.Bidirectional(L.LSTM(4, dropout=0.2, recurrent_dropout=0.3, return_sequences=True)),
            L.GRU(5, recurrent_dropout=0.2, dropout=0.1, seed=3, return_sequences=True),
            L.RNN(L.SimpleRNNCell(4, dropout=0.2, recurrent_dropout=0.2)), L.Dense(3),
        ]
    )  # fmt: skip
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[:5], y[:5]))


def attention() -> Case:
    """Dropout of attention weights and of embeddings, behind a padding mask."""
    rng = np.random.default_rng(24)
    x = rng.integers(1, 20, (26, 7)).astype("int32")
    x[np.arange(7) >= rng.integers(2, 8, 26)[:, None]] = 0
    ids = keras.Input((None,), dtype="int32")
    e = L.Dropout(0.1)(L.Embedding(20, 8, mask_zero=True)(ids))
    a = L.LayerNormalization()(e + L.MultiHeadAttention(2, 4, dropout=0.3, use_bias=False)(e, e))
    model = keras.Model(ids, L.Dense(1, activation="sigmoid")(L.GlobalAveragePooling1D()(a)))
    model.compile(keras.optimizers.SGD(0.2), "binary_crossentropy")
    y = rng.integers(0, 2, (26, 1)).astype("float32")
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[:5], y[:5]))


def augmentation() -> Case:
    """Layers that change images at random, in the model."""
    x, y = classes(25, 22, 8, 8, 3)
    model = keras.Sequential(
        [
            L.Input((8, 8, 3)), L.RandomFlip(seed=1), L.RandomRotation(0.1), L.RandomTranslation(0.1, 0.1),
            L.RandomContrast(0.3), L.RandomBrightness(0.2, value_range=(-3, 3)), L.RandomErasing(seed=2, value_range=(-3, 3)),
            L.RandomCrop(6, 6), L.Conv2D(4, 3, activation="relu"), L.SpatialDropout2D(0.2), L.GlobalAveragePooling2D(), L.Dense(3),
        ]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[:5], y[:5]))


class Draws(L.Layer):
    """Every function of `keras.random`, the batch along any axis of what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = random.SeedGenerator(9)

    def call(self, x: Any) -> Any:
        rows, seed = ops.shape(x)[0], self.seed_generator
        noise = ops.transpose(random.uniform((6, rows))) + random.truncated_normal((rows, 6), seed=seed)
        noise += ops.cast(random.randint((rows, 1), 0, 4), "float32") + random.normal((6,), seed=seed)
        noise += ops.cast(random.categorical(x, 6, seed=seed), "float32")
        noise += random.gamma((rows, 6), ops.softplus(x)) + random.beta((rows, 1), 2.0, 3.0, seed=seed)
        noise += random.binomial((rows, 6), 5.0, ops.sigmoid(ops.stop_gradient(x))) + random.shuffle(x, seed=seed)
        return x + 0.2 * ops.reshape(random.dropout(ops.reshape(noise, (-1, 2, 3)), 0.3), (-1, 6))


def draws() -> Case:
    """A layer of one's own."""
    x, y = classes(26, 23, 6)
    model = keras.Sequential([L.Input((6,)), L.Dense(6), Draws(), L.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[:5], y[:5]))


NOISE = {
    f.__name__: f
    for f in (
        dropouts, branches, autoencoder, unseeded_autoencoder, recurrent_dropout, attention, augmentation, draws,
    )
}  # fmt: skip

"""Models and their data for the comparison of one process with several; seeded, the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kcompile import keras

L, ops = keras.layers, keras.ops


@dataclass
class Case:
    """A compiled model, what `fit` is given, and data that it evaluates and predicts."""

    model: Any
    fit: dict[str, Any]
    held_out: tuple[Any, Any] = field(default=(None, None))


def classes(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype("float32"), rng.integers(0, 3, shape[0]).astype("int32")


def mlp() -> Case:
    """Weights of samples, a regulariser, and 50 samples in batches of 8: the last has 2."""
    x, y = classes(0, 50, 6)
    model = keras.Sequential(
        [L.Input((6,)), L.Dense(16, activation="tanh", kernel_regularizer="l2"), L.Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    weights = np.linspace(0.1, 2, 50).astype("float32")
    return Case(model, {"x": x, "y": y, "batch_size": 8, "sample_weight": weights}, (x[:7], y[:7]))


def tiny_batches() -> Case:
    """A last batch with one sample, fewer than there are ranks; weights of classes; clipping by the global norm."""
    x, y = classes(1, 9, 4)
    model = keras.Sequential([L.Input((4,)), L.Dense(5, activation="relu"), L.BatchNormalization(), L.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.05), loss, metrics=["accuracy"])
    return Case(model, {"x": x, "y": y, "batch_size": 4, "class_weight": {0: 0.5, 1: 2.0, 2: 1.0}}, (x, y))


def cnn() -> Case:
    """Batch normalisation over uneven parts (11 samples), validation.

    No biases before it: their gradient is 0 but for rounding, which Adam makes as large as any other.
    """
    x, y = classes(2, 44, 8, 8, 3)
    model = keras.Sequential(
        [
            L.Input((8, 8, 3)), L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
            L.Conv2D(6, 3, use_bias=False), L.BatchNormalization(), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(3),
        ]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, metrics=["accuracy", "sparse_top_k_categorical_accuracy"])
    return Case(model, {"x": x, "y": y, "batch_size": 11, "validation_split": 0.25}, (x[:9], y[:9]))


def transformer() -> Case:
    """A padding mask, an area under the curve, clipping by norm, a schedule."""
    rng = np.random.default_rng(3)
    x = rng.integers(1, 20, (40, 7)).astype("int32")
    x[np.arange(7) >= rng.integers(2, 8, 40)[:, None]] = 0
    y = rng.integers(0, 2, (40, 1)).astype("float32")
    ids = keras.Input((None,), dtype="int32")
    e = L.Embedding(20, 8, mask_zero=True)(ids)
    a = L.LayerNormalization()(e + L.MultiHeadAttention(2, 4, use_bias=False)(e, e))
    f = L.LayerNormalization()(a + L.Dense(8)(L.Dense(16, activation="gelu")(a)))
    model = keras.Model(ids, L.Dense(1, activation="sigmoid")(L.GlobalAveragePooling1D()(f)))
    rate = keras.optimizers.schedules.ExponentialDecay(1e-2, 3, 0.7)
    model.compile(keras.optimizers.Adam(rate, clipnorm=0.5), "binary_crossentropy", metrics=["accuracy", "auc"])
    return Case(model, {"x": x, "y": y, "batch_size": 10}, (x[:11], y[:11]))


def accumulation() -> Case:
    """Gradients of three batches for one step, and moving averages of the weights."""
    x, y = classes(4, 42, 5)
    model = keras.Sequential([L.Input((5,)), L.Dense(8, activation="elu"), L.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.RMSprop(1e-2, gradient_accumulation_steps=3, use_ema=True, ema_overwrite_frequency=4)
    model.compile(optimizer, loss)
    return Case(model, {"x": x, "y": y, "batch_size": 6}, (x, y))


def recurrent() -> Case:
    """LSTM and GRU, two outputs with a loss each."""
    x, y = classes(5, 30, 6, 3)
    inputs = keras.Input((6, 3))
    h = L.Bidirectional(L.LSTM(4, return_sequences=True))(inputs)
    outputs = {
        "kind": L.Dense(3, activation="softmax", name="kind")(L.GRU(4)(h)),
        "size": L.Dense(1, name="size")(h[:, 0]),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        "adam", {"kind": "sparse_categorical_crossentropy", "size": "huber"}, loss_weights={"kind": 0.3, "size": 2}
    )
    targets = {"kind": y, "size": x[:, :1, 0]}
    return Case(model, {"x": x, "y": targets, "batch_size": 8}, (x[:5], {k: v[:5] for k, v in targets.items()}))


def adafactor() -> Case:
    """Slots that are smaller than their variable; constraints."""
    x, y = classes(6, 24, 6)
    model = keras.Sequential([L.Input((6,)), L.Dense(10, kernel_constraint="max_norm"), L.ReLU(), L.Dense(3)])
    model.compile("adafactor", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x, y))


def rematerialised() -> Case:
    """Layers whose values are computed again for their gradients; batch normalisation among them."""
    x, y = classes(8, 30, 6)
    inputs = keras.Input((6,))
    with keras.RematScope(mode="full"):
        h = L.Dense(12, activation="gelu")(inputs)
        h = L.BatchNormalization()(h)
    model = keras.Model(inputs, L.Dense(3)(h))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x, y))


def loss_scaling() -> Case:
    """A loss scale so large that the first steps overflow on the ranks."""
    x, y = classes(7, 24, 6)
    x[3] *= 1e20
    model = keras.Sequential([L.Input((6,)), L.Dense(10, activation="relu"), L.Dense(3)])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=2.0**120)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, {"x": x, "y": y, "batch_size": 8}, (x[4:], y[4:]))


CASES: dict[str, Callable[[], Case]] = {
    f.__name__: f
    for f in (mlp, tiny_batches, cnn, transformer, accumulation, recurrent, adafactor, rematerialised, loss_scaling)
}


# Functions of a batch x [N, 4] and a weight w [4, 4]; those in the first table need no rows of other ranks.
APART: dict[str, Callable[[Any, Any], Any]] = {
    "product": lambda x, w: x @ w,
    "product of the weight": lambda x, w: w @ ops.transpose(x),
    "sum over rows": lambda x, w: ops.sum(x @ w, 0),
    "mean over rows": lambda x, w: ops.mean(x @ w, 0, keepdims=True),
    "variance": lambda x, w: ops.var(x @ w, 0),
    "gram matrix": lambda x, w: ops.transpose(x @ w) @ x,
    "einsum": lambda x, w: ops.einsum("ni,ij,nj->n", x, w, x),
    "einsum over rows": lambda x, w: ops.einsum("ni,ij->ij", x, w),
    "row counts": lambda x, w: ops.sum(x @ w, 0) / ops.cast(ops.shape(x)[0], "float32"),
    "reshape": lambda x, w: ops.reshape(ops.reshape(x @ w, (-1, 2)), (-1, 4, 1)) * ops.reshape(w, (1, 4, 4)),
    "flat": lambda x, w: ops.reshape(x @ w, (-1,)),
    "transpose": lambda x, w: ops.transpose(x @ w) * 2.0,
    "any and all": lambda x, w: ops.where(ops.any(x > 1.5, 0), w, 2 * w) + ops.where(ops.all(x > -9.0), w, 0 * w),
    "concat of features": lambda x, w: ops.concatenate([x @ w, x], -1),
    "split of features": lambda x, w: ops.split(x @ w, 2, -1)[1],
    "slice of features": lambda x, w: (x @ w)[:, 1:3],
    "padded features": lambda x, w: ops.pad(x @ w, ((0, 0), (1, 2))),
    "rolled features": lambda x, w: ops.roll(x @ w, 1, -1),
    "taken rows of the weight": lambda x, w: ops.take(w, ops.cast(ops.abs(x[:, 0]) > 1, "int32"), axis=0),
    "taken along an axis": lambda x, w: ops.take_along_axis(x @ w, ops.argmax(x, -1)[:, None], -1),
    "one-hot": lambda x, w: ops.one_hot(ops.argmax(x, -1), 4) @ w,
    "softmax": lambda x, w: ops.softmax(x @ w),
    "sorted features": lambda x, w: ops.sort(x @ w, -1) + ops.cumsum(x @ w, -1),
    "top 2": lambda x, w: ops.top_k(x @ w, 2)[0],
    "maximum of features": lambda x, w: ops.max(x @ w, -1) + ops.logsumexp(x @ w, -1),
    "rows of zeros": lambda x, w: ops.zeros((ops.shape(x)[0], 4)) + x @ w,
    "expanded": lambda x, w: ops.broadcast_to(w[0], (ops.shape(x)[0], 4)) * x,
    "tiled features": lambda x, w: ops.tile(x @ w, (1, 2)),
    "convolution": lambda x, w: ops.conv(x[:, :, None], w[:2, :1, None], padding="same"),
    "pooling": lambda x, w: ops.max_pool((x @ w)[:, :, None], 2),
    "scatter": lambda x, w: ops.scatter(ops.cast(x[:, :1] > 0, "int32"), (x @ w)[:, 0], (2,)),
    "layer norm": lambda x, w: ops.layer_normalization(x @ w, epsilon=1e-3),
    "inverse": lambda x, w: ops.inv(ops.transpose(x) @ x + 3 * ops.eye(4)) @ w,
    "row numbers": lambda x, w: (x @ w) * ops.cast(ops.arange(ops.shape(x)[0]), "float32")[:, None],
    "half precision": lambda x, w: ops.mean(ops.cast(4e4 * ops.tanh(ops.abs(x)) + x @ w, "float16"), 0) / 2**14,
}  # fmt: skip
TOGETHER: dict[str, Callable[[Any, Any], Any]] = {
    "maximum over rows": lambda x, w: ops.max(x @ w, 0),
    "softmax over rows": lambda x, w: ops.softmax(x @ w, 0),
    "sums up to each row": lambda x, w: ops.cumsum(x @ w, 0),
    "rows against rows": lambda x, w: (x @ w) @ ops.transpose(x),
    "first rows": lambda x, w: (x @ w)[:3],
    "rows turned round": lambda x, w: ops.flip(x @ w, 0) * x,
    "rows beside rows": lambda x, w: ops.concatenate([x @ w, x], 0),
    "sorted rows": lambda x, w: ops.sort(x @ w, 0),
    "padded rows": lambda x, w: ops.pad(x @ w, ((1, 0), (0, 0))),
    "all pairs": lambda x, w: ops.square((x @ w)[:, None] - x[None]),
    "a loop": lambda x, w: ops.fori_loop(0, 3, lambda i, y: y @ w, x),
}


class Applied(L.Layer):
    """A function of the tables, whose mean square is the loss."""

    def __init__(self, function: Callable[[Any, Any], Any]):
        super().__init__()
        self.function = function
        self.w = self.add_weight((4, 4), keras.initializers.RandomNormal(seed=3), name="w")

    def call(self, x: Any) -> Any:
        self.add_loss(ops.mean(ops.square(ops.cast(self.function(x, self.w), "float32"))))
        return x


def applied(function: Callable[[Any, Any], Any], rows: int = 7) -> Any:
    """A model of one function after one step, and its loss."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Applied(function)(inputs))
    model.compile(keras.optimizers.SGD(1.0))
    loss = model.train_on_batch(np.random.default_rng(5).standard_normal((rows, 4)).astype("float32"))
    return model, loss


def trained(make: Callable[[], Case], epochs: int = 3) -> dict[str, Any]:
    """What training a case, made from seed 1, gives: curves, weights, evaluation, prediction."""
    keras.utils.set_random_seed(1)
    case = make()
    history = case.model.fit(**case.fit, epochs=epochs, verbose=0).history
    x, y = case.held_out
    return {
        "curves": {k: np.array(v) for k, v in history.items()},
        "weights": [v.numpy() for v in case.model.variables],
        "optimizer": [v.numpy() for v in case.model.optimizer.variables],
        "evaluate": case.model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True),
        "predict": case.model.predict(x, batch_size=3, verbose=0),
    }

"""The oracle of `test_layers` over adaptive pooling, reversible embeddings and spectral normalisation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.keras import test_layers as oracle
from tests.keras.support import array, close, export_and_run, fill, keras, numbers, real
from tests.keras.test_layers import Case, cases, options

LINE, IMAGE, VOLUME = (7, 3), (7, 9, 3), (5, 4, 7, 2)
SIZES: dict[int, list[Any]] = {1: [1, 3, (7,), 9], 2: [1, 3, (2, 9), (7, 9), (9, 4)], 3: [2, (5, 3, 1)]}
SHAPES = {1: LINE, 2: IMAGE, 3: VOLUME}
TURNED = {1: (3, 7), 2: (3, 7, 9), 3: (2, 5, 4, 7)}

CASES: list[Case] = [
    *[
        c
        for kind in ("Average", "Max")
        for rank, sizes in SIZES.items()
        for c in cases(f"Adaptive{kind}Pooling{rank}D", SHAPES[rank], configs=[
            *({"output_size": s} for s in sizes),
            {"output_size": 2, "data_format": "channels_first", "shapes": (TURNED[rank],)},
        ])
    ],
    *cases("ReversibleEmbedding", (None,), dtype="int32", configs=[
        {"input_dim": 5, "output_dim": 3, **o} for o in options(mask_zero=[True], tie_weights=[True])
    ]),
]  # fmt: skip
ELSEWHERE = {"SpectralNormalization"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer(case: Case) -> None:
    oracle.test_layer(case)


@pytest.mark.parametrize("kind", ["Average", "Max"])
def test_adaptive_pooling_of_free_sizes(kind: str) -> None:
    """Real Keras on torch has no such graph: its eager answers at each size are the oracle."""
    x = keras.Input((None, None, 3), name="x")
    model = keras.Model(x, getattr(keras.layers, f"Adaptive{kind}Pooling2D")((3, 2))(x))
    theirs = getattr(real.layers, f"Adaptive{kind}Pooling2D")((3, 2))
    feeds = [numbers((2, h, w, 3)) for h, w in ((5, 7), (3, 2), (2, 1), (6, 6))]
    for feed, (got,) in zip(feeds, export_and_run(model, *({"x": f} for f in feeds)), strict=True):
        close(got, array(theirs(feed)), what=str(feed.shape))
        close(array(model(feed)), array(theirs(feed)), what=str(feed.shape))


@pytest.mark.parametrize(
    "config", options(tie_weights=[False], logit_soft_cap=[2.0], reverse_dtype=["float16"]), ids=str
)
def test_reversible_embedding_backwards(config: dict[str, Any]) -> None:
    ours, theirs = (room.layers.ReversibleEmbedding(7, 4, **config) for room in (keras, real))
    ids, x = np.array([[1, 2, 0]], "int32"), numbers((2, 3, 4))
    for layer in (ours, theirs):
        layer(ids)
    fill(ours, theirs)
    close(array(ours(ids)), array(theirs(ids)))
    wanted = array(theirs(x, reverse=True))
    rtol = 4e-3 if "reverse_dtype" in config else 2e-5  # four products in float16, in another order
    close(array(ours(x, reverse=True)), wanted, rtol)
    start = keras.Input((None, 4), name="x")
    (got,) = export_and_run(keras.Model(start, ours(start, reverse=True)), {"x": x})
    close(got[0], wanted, rtol)


@pytest.mark.parametrize("wrapped", ["dense", "conv", "embedding"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_normalization(wrapped: str, iterations: int) -> None:
    made = {
        "dense": (lambda L: L.Dense(3), numbers((5, 4))),
        "conv": (lambda L: L.Conv2D(3, 2), numbers((2, 5, 5, 2))),
        "embedding": (lambda L: L.Embedding(6, 3), np.array([[1, 2]], "int32")),
    }
    make, x = made[wrapped]
    ours, theirs = (room.layers.SpectralNormalization(make(room.layers), iterations) for room in (keras, real))
    for layer in (ours, theirs):
        layer(x)
    fill(ours, theirs)
    for training in (False, True, True, False):
        close(array(ours(x, training=training)), array(theirs(x, training=training)))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(a, b)
    again = type(ours).from_config(ours.get_config())
    assert again.power_iterations == iterations
    assert ours.get_config().keys() == theirs.get_config().keys()


def test_spectral_normalization_of_zeros_stays() -> None:
    layer = keras.layers.SpectralNormalization(keras.layers.Dense(3, kernel_initializer="zeros"))
    x = numbers((2, 4))
    layer(x, training=True)
    assert not layer.kernel.numpy().any() and np.isfinite(layer.vector_u.numpy()).all()


def test_spectral_normalization_trains_as_in_keras() -> None:
    x, y = numbers((8, 4)), numbers((8, 3), 1)
    models = []
    for room in (keras, real):
        layer = room.layers.SpectralNormalization(room.layers.Dense(3, name="d"), name="s")
        model = room.Sequential([room.Input((4,)), layer])
        model.compile(room.optimizers.SGD(0.1), "mse")
        models.append(model)
    fill(*models)
    for model in models:
        model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        close(a, b, 2e-5)


def test_saved_files_are_kerass(tmp_path: Any) -> None:
    ours = keras.Sequential(
        [
            keras.Input((5, 6, 3)),
            keras.layers.SpectralNormalization(keras.layers.Conv2D(2, 3)),
            keras.layers.AdaptiveMaxPooling2D(2),
        ]
    )
    ours.save(tmp_path / "m.keras")
    x = numbers((2, 5, 6, 3))
    theirs = real.models.load_model(tmp_path / "m.keras")
    close(array(theirs(x)), array(ours(x)))
    theirs.save(tmp_path / "n.keras")
    close(array(keras.models.load_model(tmp_path / "n.keras")(x)), array(ours(x)))


REGULARIZED = [{}, {"factor": 0.3}, {"mode": "columns"}]


@pytest.mark.parametrize("config", REGULARIZED, ids=str)
def test_orthogonal_regularizer(config: dict[str, Any]) -> None:
    ours, theirs = (room.regularizers.OrthogonalRegularizer(**config) for room in (keras, real))
    x = numbers((4, 3))
    close(array(ours(x)), array(theirs(real.ops.convert_to_tensor(x))))
    assert ours.get_config().keys() == theirs.get_config().keys()
    again = keras.regularizers.deserialize(keras.regularizers.serialize(ours))
    assert again.get_config() == ours.get_config()
    assert isinstance(keras.regularizers.get("orthogonal_regularizer"), type(ours))


@pytest.mark.parametrize("config", options(
    side=["imag"], window=["hamming", "blackman", "bartlett", "boxcar", "nuttall", "blackmanharris", None, list(range(1, 9))],
    scaling=["spectrum", None], periodic=[True],
), ids=str)  # fmt: skip
def test_stft_initializer(config: dict[str, Any]) -> None:
    ours, theirs = (room.initializers.STFT(**config) for room in (keras, real))
    close(ours((8, 1, 5)), array(theirs((8, 1, 5))), 1e-5)
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("room", ["constraints", "initializers", "regularizers"])
def test_serialize_and_deserialize(room: str) -> None:
    ours, theirs = getattr(keras, room), getattr(real, room)
    name = {"constraints": "max_norm", "initializers": "he_normal", "regularizers": "l2"}[room]
    config = ours.serialize(ours.get(name))
    assert config == theirs.serialize(theirs.get(name))
    assert ours.deserialize(config).get_config() == theirs.deserialize(config).get_config()


class Penalised(keras.layers.Layer):
    """Adds a loss only where it is trained."""

    def call(self, x, training=None):
        if training:
            self.add_loss(keras.ops.sum(x))
        return x


def test_losses_are_those_of_the_last_call():
    layer = Penalised()
    inner = keras.Sequential([layer])
    x = np.ones((2, 3), "float32")
    for _ in range(2):
        inner(x, training=True)
        assert [float(v) for v in inner.losses] == [6.0]
    assert copy.deepcopy(layer).losses == []
    inner(x, training=False)
    assert inner.losses == []

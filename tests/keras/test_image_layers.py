"""Image layers against real Keras: configs, inference, and training with the same numbers drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import kcompile
from kcompile.engine.function import Function
from kcompile.errors import UnsupportedError
from tests.keras.support import array, close, export_and_run, keras, real
from tests.keras.test_layers import plain
from tests.support import run_torch

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((3, 8, 7, 3)) * 255).astype("float32")
BYTES = IMAGES.astype("uint8")
UNIT = {"value_range": (0, 1)}

Config = dict[str, Any]
FILLS = [{"fill_mode": m, "fill_value": 9.0} for m in ("reflect", "wrap", "constant", "nearest")]
# layer -> configs. Act in training and after it, without numbers drawn:
FIXED: dict[str, list[Config]] = {
    "Resizing": [
        {"height": 5, "width": 11, **o} for o in (
            {}, {"interpolation": "nearest"}, {"interpolation": "bicubic"}, {"antialias": True},
            {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 3.0},
        )
    ],
    "CenterCrop": [{"height": h, "width": w} for h, w in ((4, 3), (5, 6), (8, 7), (12, 9), (3, 10))],
    "AutoContrast": [{}, {"value_range": (0, 300)}],
}  # fmt: skip
# Draw numbers while training; what real Keras draws is given to ours.
DRAWN: dict[str, list[Config]] = {
    "RandomFlip": [{}, {"mode": "horizontal"}, {"mode": "vertical"}],
    "RandomTranslation": [
        *({"height_factor": 0.4, "width_factor": (-0.2, 0.7), **f} for f in FILLS),
        {"height_factor": 0.4, "width_factor": 0.0, "interpolation": "nearest"},
    ],
    "RandomRotation": [*({"factor": 0.3, **f} for f in FILLS), {"factor": (0.1, 0.2), "interpolation": "nearest"}],
    "RandomZoom": [
        *({"height_factor": 0.3, **f} for f in FILLS), {"height_factor": (-0.5, -0.2), "width_factor": 0.4},
        {"height_factor": 0.5, "interpolation": "nearest"},
    ],
    "RandomShear": [{"x_factor": 0.4, "y_factor": (0.1, 0.3), **f} for f in FILLS],
    "RandomPerspective": [{}, {"factor": 0.5, "scale": 0.3, "fill_value": 2.0}, {"interpolation": "nearest"}],
    "RandomContrast": [{"factor": 0.4}, {"factor": (0.1, 0.9), "value_range": (0, 200)}],
    "RandomBrightness": [{"factor": 0.4}, {"factor": (-0.8, -0.3), "value_range": (20, 200)}],
    "RandomErasing": [{}, {"factor": 0.5, "scale": (0.1, 0.8), "fill_value": 7.0}, {"fill_value": [1.0, 2.0, 3.0]}],
    "RandomGrayscale": [{"factor": 1.0}, {}],
    "RandomHue": [{"factor": 0.5}, {"factor": (0.2, 1.0), "value_range": (0, 256)}],
    "RandomSaturation": [{"factor": 0.4}, {"factor": (0.5, 0.9)}],
    "RandomInvert": [{}, {"factor": 0.5}],
    "RandomSharpness": [{"factor": 0.7}, {"factor": (0.5, 1.0), "value_range": (20, 200)}],
    "RandomColorDegeneration": [{"factor": 0.7}, {"factor": (0.2, 0.4)}],
    "RandomGaussianBlur": [{}, {"factor": 0.5, "kernel_size": 5, "sigma": (0.3, 0.9)}],
    "RandomPosterization": [{"factor": 4}, {"factor": (3, 3)}, {"factor": (2, 7), "value_range": (0, 510)}],
    "Solarization": [{}, {"value_range": (0, 510)}, {"addition_factor": 0.3, "threshold_factor": (0.2, 0.7)}],
    "MixUp": [{}, {"alpha": 1.0}],
    "CutMix": [{}, {"factor": (0.5, 0.8)}],
    "Equalization": [{}, {"bins": 32}, {"value_range": (0, 300)}],
}  # fmt: skip
# What these draw has no form that both take.
COMPOSED: dict[str, list[Config]] = {
    "RandomColorJitter": [{}, {"brightness_factor": 0.2, "contrast_factor": 0.3, "saturation_factor": (0.4, 0.6), "hue_factor": 0.1}],
    "RandAugment": [{}, {"num_ops": 1, "factor": 0.2, "interpolation": "nearest"}],
    "AugMix": [{}, {"num_chains": 1, "chain_depth": 2, "all_ops": False, "alpha": 0.5, "factor": 0.4}],
    "RandomCrop": [{"height": 4, "width": 5, "seed": 3}],
}  # fmt: skip
TESTED = {*FIXED, *DRAWN, *COMPOSED, "Pipeline"}


def rows(*tables: dict[str, list[Config]]) -> list[tuple[str, Config]]:
    return [(name, config) for table in tables for name, configs in table.items() for config in configs]


def pair(name: str, config: Config, **more: Any) -> tuple[Any, Any]:
    return tuple(getattr(r.layers, name)(**config, **more) for r in (keras, real))


def turned(x: Any) -> Any:
    """Channels first, of whatever has four axes."""
    return np.moveaxis(array(x), -1, 1) if np.ndim(x) == 4 and np.shape(x)[1:] != (1, 1, 1) else x


def without(layer: Any) -> dict[str, Any]:
    """A config without the name, that both can share."""
    return {k: v for k, v in plain(layer.get_config()).items() if k != "name"}


@pytest.mark.parametrize("name, config", rows(FIXED, DRAWN, COMPOSED), ids=str)
def test_config(name: str, config: Config) -> None:
    ours, theirs = pair(name, config)
    assert without(ours) == without(theirs)
    again = type(ours).from_config(plain(ours.get_config()))
    assert plain(again.get_config()) == plain(ours.get_config())
    if name != "RandomShear" or not config.get("x_factor"):  # real Keras refuses its own config
        assert without(type(ours).from_config(plain(theirs.get_config()))) == without(theirs)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name, config", rows(FIXED), ids=str)
def test_fixed_layers(name: str, config: Config, data_format: str) -> None:
    ours, theirs = pair(name, config, data_format=data_format)
    first = data_format == "channels_first"
    for x in (IMAGES, IMAGES[:1], BYTES):
        wanted = array(theirs(turned(x) if first else x))
        if first and name == "AutoContrast":  # real Keras takes the wrong axes
            wanted = turned(pair(name, config)[1](x))
        got = [array(ours(turned(x) if first else x, training=t)) for t in (True, False)]
        if x.dtype == np.uint8 and wanted.dtype == np.uint8:
            assert np.abs(got[0].astype(int) - wanted).max() <= 1
        else:
            close(got[0], wanted, 2e-5)
        np.testing.assert_array_equal(got[0], got[1])
        alone = array(ours((turned(x) if first else x)[0]))
        np.testing.assert_allclose(alone, got[0][0], rtol=1e-6)
    shape = (None, 3, None, None) if first else (None, None, None, 3)
    if name == "CenterCrop" and (config["height"] > 8 or config["width"] > 7):
        shape = (None, *turned(IMAGES).shape[1:]) if first else (None, *IMAGES.shape[1:])
    start = keras.Input(batch_shape=shape, name="x")
    x = turned(IMAGES) if first else IMAGES
    got = export_and_run(keras.Model(start, ours(start)), {"x": x}, {"x": x[:1]})
    for (found,), images in zip(got, (x, x[:1]), strict=True):
        close(found, array(ours(images)), 2e-5, what="ONNX")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name, config", rows(DRAWN), ids=str)
def test_training_with_the_same_numbers(name: str, config: Config, data_format: str) -> None:
    if data_format == "channels_first" and config.get("fill_value") == [1.0, 2.0, 3.0]:
        pytest.skip("real Keras takes the three numbers for the last axis")
    ours, theirs = pair(name, config, data_format=data_format)
    x = turned(IMAGES) if data_format == "channels_first" else IMAGES
    for _ in range(2):
        drawn = theirs.get_random_transformation(real.ops.convert_to_tensor(x), training=True)
        # Ours first: real Keras's affine_transform writes into the matrix that it is given.
        got = array(ours.transform_images(keras.ops.convert_to_tensor(x), drawn, training=True))
        wanted = array(theirs.transform_images(real.ops.convert_to_tensor(x), drawn, training=True))
        if config.get("interpolation") == "nearest":  # one pixel off where a coordinate is next to a half
            assert (np.abs(got - wanted) > 1e-3).mean() < 0.02
        else:
            # Coordinates are good to 1e-6 of the image, which noise as steep as ours multiplies.
            close(got, wanted, 5e-5)
        mine = ours.get_random_transformation(keras.ops.convert_to_tensor(x), training=True)
        if isinstance(mine, dict):
            assert mine.keys() <= drawn.keys()


# Ranges of one number: nothing is left to chance, so whole calls are equal.
CERTAIN: list[tuple[str, Config]] = [
    ("RandomTranslation", {"height_factor": (0.25, 0.25), "width_factor": (-0.1, -0.1)}),
    ("RandomRotation", {"factor": (0.13, 0.13)}),
    ("RandomZoom", {"height_factor": (0.3, 0.3), "width_factor": (-0.2, -0.2)}),
    ("RandomBrightness", {"factor": (0.3, 0.3)}),
    ("RandomSaturation", {"factor": (0.3, 0.3)}),
    ("RandomInvert", {"factor": (1, 1)}),
    ("RandomSharpness", {"factor": (0.9, 0.9)}),
    ("RandomColorDegeneration", {"factor": (0.4, 0.4)}),
    ("RandomGaussianBlur", {"factor": (1, 1), "sigma": (0.7, 0.7)}),
    ("RandomGrayscale", {"factor": 1.0}),
    ("RandomPosterization", {"factor": (3, 3)}),
    ("Solarization", {"addition_factor": (0, 0), "threshold_factor": 0.0}),
    ("RandomColorJitter", {"brightness_factor": (0.2, 0.2), "saturation_factor": (0.4, 0.4)}),
]
# Real Keras computes these in bytes (a sum modulo 256, grey values cut), or fails.
NO_BYTES = {"RandomGrayscale", "RandomBrightness", "RandomSaturation", "RandomColorJitter", "RandomGaussianBlur"}


@pytest.mark.parametrize("name, config", CERTAIN, ids=str)
def test_calls_without_chance(name: str, config: Config) -> None:
    ours, theirs = pair(name, config)
    for x in (IMAGES, IMAGES[0], *((BYTES,) if name not in NO_BYTES else ())):
        wanted = array(theirs(x, training=True))
        close(array(ours(x, training=True)), wanted.astype("float32"), 5e-5)
        close(array(ours(x)), wanted.astype("float32"), 5e-5, what="training is the default")
        np.testing.assert_array_equal(array(ours(x, training=False)), x.astype("float32"))
    start = keras.Input((8, 7, 3), name="x")
    graph = kcompile.trace(keras.Model(start, ours(start)), training=True)
    for x in (IMAGES, IMAGES[:1]):
        close(run_torch(graph, [x])[0], array(theirs(x, training=True)), 5e-5, what="traced")


EVERY = rows(DRAWN, COMPOSED)


@pytest.mark.parametrize("name, config", EVERY, ids=str)
def test_nothing_is_left_in_the_file(name: str, config: Config) -> None:
    if name == "RandomCrop":
        pytest.skip("resizes at inference, see below")
    start = keras.Input((8, 7, 3), name="x")
    layer = getattr(keras.layers, name)(**config)
    model = keras.Model(start, keras.layers.Rescaling(2.0)(layer(start)))
    np.testing.assert_array_equal(array(layer(IMAGES, training=False)), IMAGES)
    graph = kcompile.optimize(kcompile.trace(model))
    assert [n.op.name for n in graph.nodes] == ["input", "constant", "multiply"]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name, config", [(n, c[-1]) for n, c in {**DRAWN, **COMPOSED}.items()], ids=str)
def test_traced_training(name: str, config: Config, policy: str) -> None:
    """In the train graph, of floats and bytes: finite numbers in the compute dtype, at each call others."""
    unseeded = {k: v for k, v in config.items() if k != "seed"}
    for dtype in ("float32", "uint8"):
        layer = getattr(keras.layers, name)(**unseeded, dtype=policy)
        start = keras.Input((8, 7, 3), name="x", dtype=dtype)
        graph = kcompile.trace(keras.Model(start, layer(start)), training=True)
        x = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (64, 8, 7, 3)).astype(dtype))
        function = Function(graph, {})
        with torch.no_grad():
            made = [function(x)[0] for _ in range(8)]
        assert str(made[0].dtype).removeprefix("torch.") == layer.compute_dtype
        assert all(bool(torch.isfinite(m.float()).all()) for m in made)
        assert name == "Equalization" or not all(torch.equal(made[0], m) for m in made[1:])


def test_seeds_make_runs_repeat() -> None:
    for name, config in EVERY:
        if name == "Equalization":
            continue
        given = {**config, "seed": 5}
        a, b = (getattr(keras.layers, name)(**given) for _ in range(2))
        first = array(a(IMAGES, training=True))
        np.testing.assert_array_equal(first, array(b(IMAGES, training=True)), err_msg=name)


STATISTICS: list[tuple[str, Config, Any, float, float]] = [
    # (layer, config, what of its transformation, least, greatest): uniform between the two
    ("RandomTranslation", {"height_factor": 0.4, "width_factor": 0.0}, lambda t: t["translations"][:, 1] / 8, -0.4, 0.4),
    ("RandomTranslation", {"height_factor": 0.0, "width_factor": (0.1, 0.5)}, lambda t: t["translations"][:, 0] / 7, 0.1, 0.5),
    ("RandomZoom", {"height_factor": (-0.2, 0.6)}, lambda t: t["height_zoom"], 0.8, 1.6),
    ("RandomContrast", {"factor": 0.3}, lambda t: t["contrast_factor"], 1.0, 1.3),
    ("RandomBrightness", {"factor": 0.3}, lambda t: t["rgb_delta"], -0.3 * 255, 0.3 * 255),
    ("RandomHue", {"factor": 0.6}, lambda t: t["factor"], -0.3, 0.3),
    ("RandomSharpness", {"factor": 0.6}, lambda t: t["factor"], 0.0, 0.6),
    ("RandomFlip", {}, lambda t: t["flips"], 0.0, 1.0),
    ("RandomInvert", {"factor": 0.5}, lambda t: array(t["apply_inversion"]) * 2, 0.0, 1.0),
    ("RandomGrayscale", {"factor": 0.25}, lambda t: array(t) * 2, 0.0, 1.0),
    ("RandomPosterization", {"factor": (2, 6)}, lambda t: array(t["shift_factor"]).astype(int), 2.5, 6.5),
    ("Solarization", {"addition_factor": 0.4}, lambda t: t["additions"], 0.0, 102.0),
    ("MixUp", {"alpha": 1.0}, lambda t: t["mix_weight"], 0.0, 1.0),
    ("CutMix", {}, lambda t: t["mix_weight"], 0.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, config, part, least, greatest", STATISTICS, ids=lambda x: "" if callable(x) else str(x)[:40]
)
def test_statistics(name: str, config: Config, part: Any, least: float, greatest: float) -> None:
    """Means (and extremes, of numbers with fractions) over 8,000 images, of ours and of real Keras."""
    x = np.zeros((8000, 8, 7, 3), "float32")
    slack = 0.04 * (greatest - least)
    for layer in pair(name, config, seed=3):
        made = layer.get_random_transformation(x)
        drawn = array(part(made))
        assert abs(drawn.mean(dtype="float64") - (least + greatest) / 2) < slack
        if drawn.dtype.kind == "f":
            assert least - 1e-4 <= drawn.min() < least + slack
            assert greatest - slack < drawn.max() <= greatest + 1e-4


def test_each_image_gets_its_own_numbers() -> None:
    same = np.repeat(IMAGES[:1], 16, 0)
    for name in ("RandomTranslation", "RandomRotation", "RandomZoom", "RandomContrast", "RandomErasing", "RandomHue"):
        config = {"factor": (1, 1)} if name == "RandomErasing" else DRAWN[name][0]
        made = array(getattr(keras.layers, name)(**config)(same, training=True))
        assert len(np.unique(made.reshape(16, -1).round(3), axis=0)) > 12, name


def test_mixed_labels_follow_their_images() -> None:
    """Images of one value each: what an image became tells what its label must be."""
    values = np.arange(8, dtype="float32")
    data = {
        "images": np.ones((8, 6, 6, 1), "float32") * values[:, None, None, None],
        "labels": np.eye(8, dtype="float32"),
    }
    for layer in (keras.layers.MixUp(1.0, seed=1), keras.layers.CutMix(seed=1)):
        made = layer(data, training=True)
        labels = array(made["labels"])
        np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
        means = array(made["images"]).mean((1, 2, 3))
        # A box of whole pixels is near the share that it was drawn with, not equal.
        np.testing.assert_allclose(means, labels @ values, atol=1e-5 if isinstance(layer, keras.layers.MixUp) else 2.5)
        kept = layer(data, training=False)
        np.testing.assert_array_equal(array(kept["labels"]), data["labels"])


def test_random_crop_cuts_one_window_of_a_batch() -> None:
    layer = keras.layers.RandomCrop(4, 5, seed=1)
    seen = set()
    for _ in range(40):
        made = array(layer(IMAGES, training=True))
        found = [
            (i, j) for i in range(5) for j in range(3) if np.array_equal(made, IMAGES[:, i : i + 4, j : j + 5])
        ]  # fmt: skip
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 10
    # At inference, and where the image is too small, the whole of the ratio's window (as documented).
    wanted = array(real.ops.image.resize(IMAGES, (4, 5), crop_to_aspect_ratio=True))
    close(array(layer(IMAGES, training=False)), wanted, 1e-5)
    large = keras.layers.RandomCrop(20, 20)
    close(array(large(IMAGES, training=True)), array(large(IMAGES, training=False)))
    start = keras.Input((8, 7, 3), name="x")
    close(export_and_run(keras.Model(start, layer(start)), {"x": IMAGES})[0][0], wanted, 2e-5)
    assert layer.compute_output_shape((None, 8, 7, 3)) == (None, 4, 5, 3)


def test_fit_augments(tmp_path: Any) -> None:
    """Augmentation in a fitted model, saved and loaded by both Kerases; the file has the trained layers only."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="x"),
            keras.layers.Pipeline([keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1)]),
            keras.layers.RandomRotation(0.05, seed=2),
            keras.layers.RandomErasing(0.5, value_range=(0, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 60)
    model.compile("adam", "sparse_categorical_crossentropy")
    losses = model.fit(x, y, epochs=3, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0] * 1.2
    model.save(tmp_path / "m.keras")
    wanted = model.predict(x, verbose=0)
    for room in (keras, real):
        again = room.saving.load_model(tmp_path / "m.keras")
        np.testing.assert_allclose(again.predict(x, verbose=0), wanted, rtol=1e-5)
    report = kcompile.export(model, tmp_path / "m.onnx", latency=False)
    assert report.nodes <= 3 and report.error < 1e-5


REFUSED: list[tuple[str, Config, type[Exception], str]] = [
    ("RandomFlip", {"mode": "diagonal"}, ValueError, "mode"),
    ("RandomTranslation", {"height_factor": 2.0, "width_factor": 0.1}, ValueError, "factor"),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.1, "fill_mode": "no"}, NotImplementedError, "fill_mode"),
    ("RandomRotation", {"factor": (0.1, 0.2, 0.3)}, ValueError, "factor"),
    ("RandomZoom", {"height_factor": -1.0}, ValueError, "factor"),
    ("RandomContrast", {"factor": 1.5}, ValueError, "factor"),
    ("RandomShear", {"x_factor": (-0.2, 0.1)}, ValueError, "factor"),
    ("RandomGaussianBlur", {"kernel_size": 4}, ValueError, "odd"),
    ("RandomBrightness", {"factor": 0.1, "value_range": 3}, ValueError, "value_range"),
    ("RandomGrayscale", {"factor": 2}, ValueError, "factor"),
    ("Resizing", {"height": 2, "width": 2, "data_format": "middle"}, ValueError, "data_format"),
    ("RandomFlip", {"flip": 1}, ValueError, "Unrecognized"),
]  # fmt: skip


@pytest.mark.parametrize("name, config, error, words", REFUSED, ids=str)
def test_refusals(name: str, config: Config, error: type[Exception], words: str) -> None:
    rooms = (keras,) if config.get("mode") else (keras, real)  # real Keras does nothing for an unknown mode
    for room in rooms:
        with pytest.raises(error, match=words):
            getattr(room.layers, name)(**config)


def test_what_a_layer_does_not_transform_is_refused_by_name() -> None:
    layer = keras.layers.RandomFlip(name="flip")
    with pytest.raises(UnsupportedError, match=r"flip.*bounding_boxes"):
        layer({"images": IMAGES, "bounding_boxes": IMAGES})
    with pytest.raises(ValueError, match="rank 3"):
        layer(IMAGES[0, 0])
    with pytest.raises(ValueError, match="fully defined"):
        keras.layers.RandomCrop(2, 2)(keras.Input((None, None, 3)))

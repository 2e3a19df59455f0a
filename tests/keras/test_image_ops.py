"""keras.ops.image: eager, as a functional model's node at two sizes, as ONNX, and real keras.ops.image agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompile.keras import ops
from tests.keras.support import array, close, export_and_run, keras, numbers, real

RNG = np.random.default_rng(0)
IMAGES = [RNG.random((2, 7, 6, 3)).astype("float32"), RNG.random((3, 4, 9, 3)).astype("float32")]
PHOTOS = [RNG.integers(0, 256, x.shape).astype("uint8") for x in IMAGES]
PLAIN = np.array([1, 0, 0, 0, 1, 0, 0, 0], "float32")


def transforms(count: int) -> np.ndarray:
    """Maps with a bit of everything, c0 = c1 = 0."""
    made = PLAIN + RNG.normal(0, 0.4, (count, 8)).astype("float32")
    made[:, [2, 5]] *= 5
    made[:, 6:] = 0
    return made


def points(count: int, seed: int) -> np.ndarray:
    corners = np.array([[0, 0], [5, 0], [0, 6], [5, 6]], "float32")
    return corners + np.random.default_rng(seed).uniform(-1, 1, (count, 4, 2)).astype("float32")


# name -> rows of (further array arguments by batch, keyword arguments); images come first.
Row = tuple[Any, dict[str, Any]]
FILLS = [{"fill_mode": m} for m in ("constant", "nearest", "wrap", "mirror", "reflect")]
SIZES = [{"size": s} for s in ((4, 4), (7, 6), (13, 5), (1, 1), (14, 12))]
ROWS: dict[str, list[Row]] = {
    "resize": [
        *((None, {**s, "interpolation": i}) for s in SIZES for i in ("nearest", "bilinear", "bicubic")),
        *((None, {"size": (3, 4), "interpolation": i, "antialias": True}) for i in ("nearest", "bilinear", "bicubic")),
        *((None, {**s, "crop_to_aspect_ratio": True}) for s in SIZES),
        *((None, {**s, "pad_to_aspect_ratio": True, "fill_value": 0.5}) for s in SIZES),
    ],
    "affine_transform": [
        *((transforms, {**f, "interpolation": i, "fill_value": 0.25}) for f in FILLS for i in ("nearest", "bilinear")),
    ],
    "perspective_transform": [
        *((lambda n: (points(n, 1), points(n, 2)), {"interpolation": i}) for i in ("nearest", "bilinear")),
        (lambda n: (points(n, 3), points(n, 4)), {"fill_value": 0.5}),
    ],
    "crop_images": [
        (None, {"top_cropping": 1, "left_cropping": 2, "target_height": 2, "target_width": 3}),
        (None, {"bottom_cropping": 1, "right_cropping": 0, "target_height": 2, "target_width": 3}),
        (None, {"top_cropping": 1, "bottom_cropping": 1, "left_cropping": 0, "right_cropping": 2}),
    ],
    "pad_images": [
        (None, {"top_padding": 1, "bottom_padding": 0, "left_padding": 2, "right_padding": 3}),
    ],
    "extract_patches": [
        (None, {"size": 3}), (None, {"size": (2, 3), "strides": 1}), (None, {"size": 2, "padding": "same"}),
        (None, {"size": 2, "strides": 1, "dilation_rate": 2}),
    ],
    "rgb_to_grayscale": [(None, {})],
    "rgb_to_hsv": [(None, {})],
    "hsv_to_rgb": [(None, {})],
    "gaussian_blur": [(None, {}), (None, {"kernel_size": (5, 5), "sigma": (0.5, 2.0)})],
    "sobel_edges": [(None, {})],
}  # fmt: skip
# One image without a batch axis: not in Keras (it fails or takes the wrong axes).
BATCHES_ONLY = {"sobel_edges"}
ELSEWHERE = {"elastic_transform", "extract_patches_3d", "map_coordinates", "scale_and_translate", "ssim"}
CASES = [(name, i) for name, given in ROWS.items() for i in range(len(given))]


def test_every_function_has_a_row() -> None:
    assert set(ops.image.__all__) == ROWS.keys() | ELSEWHERE


def arguments(make: Any, count: int) -> list[np.ndarray]:
    """The same at each call with one count."""
    global RNG
    RNG = np.random.default_rng(count)
    made = [] if make is None else make(count)
    return list(made) if isinstance(made, tuple) else [] if make is None else [made]


def turned(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, -3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name, index", CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_image_ops(name: str, index: int, data_format: str) -> None:
    make, options = ROWS[name][index]
    options = {**options, "data_format": data_format}
    first = data_format == "channels_first"
    ours, theirs = getattr(ops.image, name), getattr(real.ops.image, name)
    batches, wanted = [], []
    for images in IMAGES:
        given = [turned(images) if first else images, *arguments(make, len(images))]
        wanted.append(array(theirs(*(real.ops.convert_to_tensor(g.copy()) for g in given), **options)))
        close(array(ours(*given, **options)), wanted[-1], 2e-5, what="eager")
        batches.append({f"x{i}": g for i, g in enumerate(given)})
        if name not in BATCHES_ONLY and not any(g.ndim > 1 and len(g) > 1 for g in given[1:]):
            alone = theirs(*(real.ops.convert_to_tensor(g.copy()) for g in (given[0][0], *given[1:])), **options)
            close(array(ours(given[0][0], *given[1:], **options)), array(alone), 2e-5, what="one image")
    free = [(None, 3, None, None) if first else (None, None, None, 3)]
    free += [a.shape if a.ndim == 1 else (None, *a.shape[1:]) for a in list(batches[0].values())[1:]]
    inputs = [keras.Input(batch_shape=s, name=f"x{i}") for i, s in enumerate(free)]
    model = keras.Model(inputs, ours(*inputs, **options))
    for got, expected in zip(export_and_run(model, *batches), wanted, strict=True):
        close(got[0], expected, 2e-5, what="ONNX")


INTEGERS = ["resize-0", "resize-1", "resize-2", "affine_transform-1", "affine_transform-2", "rgb_to_grayscale-0",
            "crop_images-0", "pad_images-0"]  # fmt: skip


@pytest.mark.parametrize("case", INTEGERS)
def test_bytes(case: str) -> None:
    """uint8 images stay uint8, in the file too."""
    name, index = case.split("-")
    make, options = ROWS[name][int(index)]
    given = [PHOTOS[0], *arguments(make, 2)]
    wanted = array(getattr(real.ops.image, name)(*(real.ops.convert_to_tensor(g.copy()) for g in given), **options))
    got = array(getattr(ops.image, name)(*given, **options))
    assert got.dtype == wanted.dtype == np.uint8
    # One step where the sums differ in their last digit at a half.
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= 1
    inputs = [keras.Input(batch_shape=g.shape, dtype=g.dtype.name, name=f"x{i}") for i, g in enumerate(given)]
    model = keras.Model(inputs, getattr(ops.image, name)(*inputs, **options))
    in_file = export_and_run(model, {f"x{i}": g for i, g in enumerate(given)})[0][0]
    assert in_file.dtype == np.uint8
    assert np.abs(in_file.astype(int) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", ["resize-1", "affine_transform-1", "rgb_to_hsv-0", "gaussian_blur-0"])
def test_half_precision(case: str, dtype: str) -> None:
    name, index = case.split("-")
    make, options = ROWS[name][int(index)]
    # Said, since real Keras's gaussian_blur takes no format for channels first.
    options = {**options, "data_format": "channels_last"}
    more = arguments(make, 2)
    rooms = [(r, getattr(r.ops.image, name)) for r in (keras, real)]
    got, wanted = (
        f(r.ops.cast(r.ops.convert_to_tensor(IMAGES[0]), dtype), *map(r.ops.convert_to_tensor, more), **options)
        for r, f in rooms
    )
    assert got.dtype == wanted.dtype
    close(array(got.float()), array(wanted.float()), 2**-6 if dtype == "bfloat16" else 2**-8)


def test_one_map_for_a_batch() -> None:
    """Real Keras takes one map for one image only."""
    maps = transforms(1)
    for given in (maps, maps[0]):
        got = array(ops.image.affine_transform(IMAGES[0], given))
        for image, found in zip(IMAGES[0], got, strict=True):
            close(
                found, array(real.ops.image.affine_transform(image, real.ops.convert_to_tensor(maps[0].copy()))), 2e-5
            )


def test_projective_maps_follow_the_documented_formula() -> None:
    """Real Keras on torch applies c0 and c1 to the channel's number, so the formula is the oracle."""
    images, maps = IMAGES[0], transforms(2)
    maps[:, 6:] = [[0.05, -0.03], [0.01, 0.1]]
    y, x = np.mgrid[:7, :6].astype("float64")
    for image, m, got in zip(
        images, maps.astype("float64"), array(ops.image.affine_transform(images, maps)), strict=True
    ):
        k = m[6] * x + m[7] * y + 1
        places = np.stack([(m[3] * x + m[4] * y + m[5]) / k, (m[0] * x + m[1] * y + m[2]) / k]).astype("float32")
        for channel in range(3):
            wanted = array(real.ops.image.map_coordinates(image[..., channel], places, order=1))
            close(got[..., channel], wanted, 1e-4)


PLACES = {1: (9,), 2: (4, 5), 3: (2, 3, 4)}


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "wrap", "mirror", "reflect"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rank", PLACES)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_map_coordinates(rank: int, order: int, fill_mode: str, dtype: str) -> None:
    x = numbers((5, 6, 4)[:rank], 1, dtype, 50)
    places = numbers((rank, *PLACES[rank]), 2) * 6
    options = {"order": order, "fill_mode": fill_mode, "fill_value": 2}
    wanted = array(real.ops.image.map_coordinates(x, places, **options))
    got = array(ops.image.map_coordinates(x, places, **options))
    assert got.dtype == wanted.dtype
    close(got, wanted, 2e-5)
    inputs = [keras.Input(batch_shape=a.shape, dtype=a.dtype.name, name=n) for n, a in (("x", x), ("places", places))]
    model = keras.Model(inputs, ops.image.map_coordinates(*inputs, **options))
    close(export_and_run(model, {"x": x, "places": places})[0][0], wanted, 2e-5, what="ONNX")


@pytest.mark.parametrize("fill_mode", ["mirror", "reflect", "wrap", "nearest"])
def test_one_element_is_read_everywhere(fill_mode: str) -> None:
    """Real Keras divides by zero for mirror."""
    got = array(ops.image.map_coordinates(np.array([3.0], "float32"), np.array([[-2.0, 0.5, 7.0]]), 1, fill_mode))
    np.testing.assert_array_equal(got, [3, 3, 3])


SCALES = [
    {"method": m, "antialias": a} for m in ("linear", "cubic", "lanczos3", "lanczos5") for a in (True, False)
]  # fmt: skip


@pytest.mark.parametrize("options", SCALES, ids=str)
@pytest.mark.parametrize("scale", [(0.5, 0.7), (2.0, 1.5)])
def test_scale_and_translate(options: dict[str, Any], scale: tuple[float, float]) -> None:
    x, more = IMAGES[0], [np.array(scale, "float32"), np.array([0.3, -1.2], "float32")]
    call = {"output_shape": (2, 5, 8, 3), "spatial_dims": (1, 2), **options}
    wanted = array(real.ops.image.scale_and_translate(x, scale=more[0], translation=more[1], **call))
    close(array(ops.image.scale_and_translate(x, scale=more[0], translation=more[1], **call)), wanted, 2e-5)
    inputs = [keras.Input(batch_shape=a.shape, name=f"x{i}") for i, a in enumerate([x, *more])]
    outputs = ops.image.scale_and_translate(inputs[0], scale=inputs[1], translation=inputs[2], **call)
    got = export_and_run(keras.Model(inputs, outputs), {f"x{i}": a for i, a in enumerate([x, *more])})[0][0]
    close(got, wanted, 2e-5, what="ONNX")
    byte = array(real.ops.image.scale_and_translate(PHOTOS[0], scale=more[0], translation=more[1], **call))
    np.testing.assert_allclose(
        array(ops.image.scale_and_translate(PHOTOS[0], scale=more[0], translation=more[1], **call)).astype(int),
        byte.astype(int), atol=1,
    )  # fmt: skip


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_extract_patches_3d(data_format: str) -> None:
    x = numbers((2, 4, 5, 6, 2) if data_format == "channels_last" else (2, 2, 4, 5, 6))
    for options in ({"size": 2}, {"size": (1, 2, 3), "strides": 1}, {"size": 2, "padding": "same"}):
        wanted = array(real.ops.image.extract_patches_3d(x, **options, data_format=data_format))
        close(array(ops.image.extract_patches_3d(x, **options, data_format=data_format)), wanted)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_ssim(data_format: str) -> None:
    a = np.random.default_rng(0).random((2, 14, 13, 3) if data_format == "channels_last" else (2, 3, 14, 13))
    a = a.astype("float32")
    for b in (a, a[::-1].copy(), a * 0.9 + 0.05):
        wanted = array(real.ops.image.ssim(a, b, data_format=data_format))
        close(array(ops.image.ssim(a, b, data_format=data_format)), wanted, 1e-4)
        close(array(ops.image.ssim(a[0], b[0], data_format=data_format)), wanted[0], 1e-4)


def test_elastic_transform_moves_pixels_by_its_scale() -> None:
    """No two libraries draw the same: no displacement is the identity, more displacement a larger difference."""
    x = np.linspace(0, 1, 32 * 32, dtype="float32").reshape(1, 32, 32, 1)
    kept = array(ops.image.elastic_transform(x, alpha=0.0, seed=1))
    close(kept, x)
    moved = [np.abs(array(ops.image.elastic_transform(x, alpha=a, sigma=2.0, seed=1)) - x).mean() for a in (1.0, 4.0)]
    theirs = np.mean([
        np.abs(array(real.ops.image.elastic_transform(x, alpha=1.0, sigma=2.0, seed=s)) - x).mean() for s in range(8)
    ])  # fmt: skip
    assert 0 < moved[0] < moved[1]
    assert 0.5 < moved[0] / theirs < 2


REFUSED = [
    (lambda o, x: o.resize(x, (2, 2), interpolation="lanczos3"), ValueError, "nterpolation"),
    (lambda o, x: o.resize(x, (2, 2), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), ValueError, "Only one"),
    (lambda o, x: o.resize(x[0, 0], (2, 2)), ValueError, "rank"),
    (lambda o, x: o.crop_images(x, top_cropping=1, left_cropping=1), ValueError, "exactly two"),
    (lambda o, x: o.crop_images(x, 1, 1, target_height=9, target_width=2), ValueError, None),
    (lambda o, x: o.pad_images(x, 1, 1, target_height=2, target_width=9), ValueError, "bottom_padding"),
    (lambda o, x: o.affine_transform(x, PLAIN, fill_mode="none"), ValueError, "fill_mode"),
    (lambda o, x: o.rgb_to_grayscale(x[..., :2]), ValueError, "channel size"),
    (lambda o, x: o.rgb_to_hsv(PHOTOS[0]), ValueError, "float dtype"),
    (lambda o, x: o.map_coordinates(x, np.zeros((4, 2)), order=2), NotImplementedError, "order"),
    (lambda o, x: o.map_coordinates(x, np.zeros((3, 2)), order=1), ValueError, "rank of"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, words", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refusals(call: Any, error: type[Exception], words: str | None) -> None:
    for room in (keras, real):
        if words is None and room is real:  # torch gives an image of another size than was asked for
            continue
        with pytest.raises(error, match=words):
            call(room.ops.image, room.ops.convert_to_tensor(IMAGES[0]))


def test_a_model_of_image_ops_comes_back_from_a_keras_file(tmp_path: Any) -> None:
    """Written by real Keras, read here, written here, read by real Keras."""
    made = []
    for room in (real, keras):
        x = room.Input((7, 6, 3), name="x")
        y = room.ops.image.resize(x, (8, 9), "bicubic")
        y = room.ops.image.hsv_to_rgb(room.ops.image.rgb_to_hsv(y))
        y = room.ops.image.pad_images(y, 1, 1, target_height=12, target_width=12)
        y = room.ops.image.extract_patches(room.ops.image.gaussian_blur(y), 3)
        model = room.Model(x, y)
        model.save(tmp_path / f"{room.__name__}.keras")
        made.append(model)
    x = IMAGES[0]
    wanted = array(made[0](x))
    for loaded in (
        keras.saving.load_model(tmp_path / "keras.keras"),
        real.saving.load_model(tmp_path / "kcompile.keras.keras"),
    ):
        close(array(loaded(x)), wanted, 1e-4)

"""keras.utils, keras.tree, keras.preprocessing and keras.datasets against real Keras."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.errors import MissingError, UsageError
from kcompile.keras import datasets
from tests.keras.support import array, keras, numbers, real, same
from tests.keras.test_cloning import functional, nested, sequential, structured

PADDED: list[tuple[Any, dict[str, Any]]] = [
    ([[1], [2, 3], [4, 5, 6]], o) for o in (
        {}, {"maxlen": 2}, {"maxlen": 5}, {"padding": "post"}, {"truncating": "post", "maxlen": 2}, {"value": -1},
        {"dtype": "float32", "value": 0.5}, {"maxlen": 2, "padding": "post", "truncating": "post"}, {"maxlen": 1},
    )
] + [([[], [1, 2]], {}), ([[[1, 2]], [[3, 4], [5, 6]]], {}), ([["a"], ["b", "c"]], {"dtype": object, "value": "-"})]  # fmt: skip


@pytest.mark.parametrize("sequences, options", PADDED, ids=str)
def test_pad_sequences(sequences: Any, options: dict[str, Any]) -> None:
    ours, theirs = (room.utils.pad_sequences(sequences, **options) for room in (keras, real))
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    assert keras.preprocessing.sequence.pad_sequences is keras.utils.pad_sequences


@pytest.mark.parametrize("args", [(3,), ([1, 2],), ([[1]], 2, "int32", "left"), ([[1]], 2, "int32", "pre", "left"),
                                  ([[[1, 2]], [[3]]],), ([["a"]], None, "int32", "pre", "pre", "x")], ids=str)  # fmt: skip
def test_pad_sequences_refuses_what_keras_refuses(args: Any) -> None:
    for room in (keras, real):
        with pytest.raises((ValueError, TypeError)):
            room.utils.pad_sequences(*args)


@pytest.mark.parametrize("axis, order", [(-1, 2), (0, 2), (1, 1), (0, np.inf)])
def test_normalize(axis: int, order: Any) -> None:
    x = numbers((4, 5), 0, "float64")
    x[1] = 0
    if axis != 0:  # real Keras takes axis 0 for -1 and fails
        same(keras.utils.normalize(x, axis, order), real.utils.normalize(x, axis, order), 1e-12)
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    same(keras.utils.normalize(x, axis, order), x / np.where(norm == 0, 1, norm), 1e-12)


@pytest.mark.parametrize("data", [(1,), (1, 2), (1, 2, 3), [1, 2], 1, {"a": 1}], ids=str)
def test_batches_are_packed_and_unpacked(data: Any) -> None:
    ours, theirs = (room.utils.unpack_x_y_sample_weight(data) for room in (keras, real))
    assert ours == theirs
    assert keras.utils.pack_x_y_sample_weight(*ours) == real.utils.pack_x_y_sample_weight(*theirs)


WINDOWS: list[dict[str, Any]] = [
    {}, {"sequence_stride": 3}, {"sampling_rate": 2}, {"start_index": 2, "end_index": 15}, {"batch_size": 4},
    {"sequence_stride": 2, "sampling_rate": 3, "batch_size": 3}, {"batch_size": None},
]  # fmt: skip


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("with_targets", [False, True])
def test_windows_of_a_series(options: dict[str, Any], with_targets: bool) -> None:
    """Written out by hand: real Keras needs TensorFlow for it."""
    series = np.arange(20)
    targets = series[3:] * 10 if with_targets else None
    found = keras.utils.timeseries_dataset_from_array(series, targets, 3, **options)
    rows = series[options.get("start_index", 0) : options.get("end_index", 20)]
    after = None if targets is None else targets[options.get("start_index", 0) : options.get("end_index", 20)]
    rate, count = options.get("sampling_rate", 1), 0
    last = len(rows) - 2 * rate if after is None else min(len(rows) - 2 * rate, len(targets))  # type: ignore[arg-type]
    wanted = [rows[i : i + 3 * rate : rate][:3] for i in range(0, last, options.get("sequence_stride", 1))]
    for batch in found:
        windows = batch if targets is None else batch[0]
        for i, window in enumerate(windows):
            np.testing.assert_array_equal(window, wanted[count])
            if after is not None:
                assert batch[1][i] == after[count * options.get("sequence_stride", 1)]
            count += 1
    assert count == len(wanted)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert len(model.predict(found, verbose=0)) == len(wanted)
    with pytest.raises(ValueError, match="sampling_rate"):
        keras.utils.timeseries_dataset_from_array(series, None, 3, sampling_rate=0)


@pytest.mark.parametrize(
    "sizes", [{"left_size": 0.8}, {"right_size": 4}, {"left_size": 0.75, "right_size": 0.25}], ids=str
)
def test_splits(sizes: dict[str, Any]) -> None:
    x, y = numbers((20, 3)), numbers((20,))
    ours = keras.utils.split_dataset((x, y), **sizes)
    theirs = real.utils.split_dataset((x, y), **sizes)
    assert [len(part) for part in ours] == [len(part) for part in theirs]
    # The first and the last rows, as documented: real Keras on torch mixes them, shuffle or not.
    left, right = (np.concatenate([b[0] for b in part]) for part in ours)
    same([left, right], [x[: len(left)], x[20 - len(right) :]], 0)
    shuffled = keras.utils.split_dataset(x, 0.5, shuffle=True, seed=3)
    rows = np.concatenate([b for part in shuffled for b in part])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(x[:, 0]))
    with pytest.raises(UsageError, match="can't be split"):
        keras.utils.split_dataset(x, 15, 15)


# ---- images

SHAPES = [(6, 5, 3), (6, 5, 1), (6, 5, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_there_and_back(shape: Any, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    x = abs(numbers(shape)) * 40
    for scale in (True, False):
        ours, theirs = (room.utils.img_to_array(room.utils.array_to_img(x, scale=scale)) for room in (keras, real))
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    keras.utils.save_img(tmp_path / "a.png", x)
    for mode in ("rgb", "grayscale", "rgba"):
        for options in ({}, {"target_size": (4, 3)}, {"target_size": (9, 4), "interpolation": "bilinear"},
                        {"target_size": (4, 3), "keep_aspect_ratio": True}):  # fmt: skip
            ours, theirs = (room.utils.load_img(tmp_path / "a.png", mode, **options) for room in (keras, real))
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    same(keras.utils.img_to_array(keras.utils.load_img(io.BytesIO((tmp_path / "a.png").read_bytes())), "channels_first"),
         real.utils.img_to_array(real.utils.load_img(tmp_path / "a.png"), "channels_first"), 0)  # fmt: skip
    with pytest.raises(ValueError, match="interpolation"):
        keras.utils.load_img(tmp_path / "a.png", target_size=(3, 3), interpolation="best")


# ---- models


@pytest.mark.parametrize("make", [sequential, functional, nested, structured], ids=lambda m: m.__name__)
def test_drawings_hold_each_layer_and_each_edge(make: Any, tmp_path: Path) -> None:
    model = make(keras)
    text = keras.utils.model_to_dot(model, show_shapes=True, show_layer_names=True, show_dtype=True)
    for layer in model.layers:
        assert f"{layer.name} ({type(layer).__name__})" in text
    keras.utils.plot_model(model, tmp_path / "m.dot")
    assert (tmp_path / "m.dot").read_text().startswith("digraph")
    pydot = pytest.importorskip("pydot")
    (graph,) = pydot.graph_from_dot_data(text)
    wanted = real.utils.model_to_dot(make(real)) if make is not structured else None
    if wanted is not None and make is not sequential:
        assert len(graph.get_edges()) == len(wanted.get_edges())
    with pytest.raises(UsageError, match="built"):
        keras.utils.model_to_dot(keras.Sequential([keras.layers.Dense(2)]))


def test_a_program_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="Graphviz"):
        keras.utils.plot_model(sequential(keras), tmp_path / "m.png")


def test_tensors_and_their_sources() -> None:
    for room in (keras, real):
        model = functional(room)
        assert room.utils.is_keras_tensor(model.output) and not room.utils.is_keras_tensor(np.ones(2))
        assert [t is model.inputs[0] for t in room.utils.get_source_inputs(model.output)] == [True]
        assert room.utils.standardize_dtype(np.dtype("int8")) == "int8"
        assert room.utils.standardize_dtype(None) == "float32"
    config = keras.utils.serialize_keras_object(keras.layers.Dense(3))
    assert keras.utils.deserialize_keras_object(config).units == 3


# ---- nests

NESTS = [{"b": 1, "a": [2, (3, {"c": 4})]}, [1, [2]], (1,), 5, {"x": {}}]


@pytest.mark.parametrize("nest", NESTS, ids=str)
def test_nests(nest: Any) -> None:
    ours, theirs = keras.tree, real.tree
    flat = ours.flatten(nest)
    assert flat == theirs.flatten(nest)
    assert ours.flatten_with_path(nest) == theirs.flatten_with_path(nest)
    assert ours.lists_to_tuples(nest) == theirs.lists_to_tuples(nest)
    doubled = [2 * x for x in flat]
    assert ours.pack_sequence_as(nest, doubled) == theirs.pack_sequence_as(nest, doubled)
    for other in NESTS:
        if other is not nest:
            for tree in (ours, theirs):
                with pytest.raises(ValueError):
                    tree.assert_same_structure(nest, other)
    ours.assert_same_structure(nest, nest)
    with pytest.raises(ValueError):
        ours.pack_sequence_as(nest, [*flat, 1])


# ---- progress and datasets


def test_progress_bars_show_means(capsys: pytest.CaptureFixture[str]) -> None:
    bar = keras.utils.Progbar(4, stateful_metrics=["last"])
    for step in range(1, 5):
        bar.update(step, [("loss", float(step)), ("last", float(step))])
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "4/4" in out and "loss: 2.5000" in out and "last: 4.0000" in out
    silent = keras.utils.Progbar(None, verbose=0)
    silent.add(2, [("loss", 1.0)])
    assert capsys.readouterr().out == ""


def test_datasets_are_read_and_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "FOLDER", tmp_path)
    for name in (
        "mnist",
        "boston_housing",
        "cifar10",
        "cifar100",
        "fashion_mnist",
        "imdb",
        "reuters",
        "california_housing",
    ):
        with pytest.raises(MissingError, match=f"{name}: kcompile downloads nothing") as caught:
            getattr(keras.datasets, name).load_data()
        assert "\n" not in str(caught.value)
    parts = {k: numbers((3, 2), i) for i, k in enumerate(("x_train", "y_train", "x_test", "y_test"))}
    np.savez(tmp_path / "mnist.npz", **parts)
    (x, _), (_, y) = keras.datasets.mnist.load_data()
    same([x, y], [parts["x_train"], parts["y_test"]], 0)
    (tmp_path / "boston_housing.npz").write_bytes(b"not an archive")
    with pytest.raises(UsageError, match="plain arrays"):
        keras.datasets.boston_housing.load_data()
    assert array(x).shape == (3, 2)

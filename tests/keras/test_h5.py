"""Whole models in HDF5: files of real Keras, files for real Keras, files of Keras 2, and hostile files."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kcompile.errors import KcompileError, UsageError
from kcompile.files import legacy_h5
from tests.keras import builders
from tests.keras.support import arrays, keras, numbers, real, same
from tests.keras.test_cloning import functional, nested, sequential

X = numbers((5, 4))
NAMES = [n for n in builders.MODELS if "sub" not in n and "deferred" not in n]


def filled(model: Any) -> Any:
    """Weights by position; a variance is positive."""
    values = [numbers(w.shape, i) for i, w in enumerate(model.weights)]
    model.set_weights([abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, model.weights, strict=True)])
    return model


@pytest.mark.parametrize("name", NAMES)
def test_files_of_keras_load_here_and_ours_load_there(name: str, tmp_path: Path) -> None:
    builder, shapes = builders.MODELS[name]
    x = builders.inputs(shapes, 3)
    theirs = builder(real)
    theirs(x)
    try:
        filled(theirs).save(tmp_path / "theirs.h5")
    except ValueError as error:
        pytest.skip(f"real Keras can't write it: {error}")
    ours = keras.saving.load_model(tmp_path / "theirs.h5")
    same(ours(x), theirs(x), 2e-5)
    assert [w.path.rpartition("/")[2] for w in ours.weights] == [w.path.rpartition("/")[2] for w in theirs.weights]
    ours.save(tmp_path / "ours.h5")
    if name != "indexing":  # real Keras can't read an Ellipsis in this format, not its own either
        same(real.saving.load_model(tmp_path / "ours.h5", compile=False)(x), theirs(x), 2e-5)
    same(keras.saving.load_model(tmp_path / "ours.h5")(x), theirs(x), 2e-5)


def test_a_compiled_model_goes_on_training(tmp_path: Path) -> None:
    """Optimizer, losses and metrics as they were; real Keras reads what we write."""
    y = numbers((5, 2), 1)
    theirs = filled(sequential(real))
    theirs.compile(real.optimizers.SGD(0.2, momentum=0.5), real.losses.MeanAbsoluteError(),
                   metrics=[real.metrics.MeanAbsoluteError(name="off"), real.metrics.MeanSquaredError()])  # fmt: skip
    theirs.save(tmp_path / "theirs.h5")
    ours = keras.saving.load_model(tmp_path / "theirs.h5")
    ours.save(tmp_path / "ours.h5")
    again = real.saving.load_model(tmp_path / "ours.h5")
    found = [m.fit(X, y, epochs=2, verbose=0, shuffle=False).history for m in (theirs, ours, again)]
    for other in found[1:]:
        assert list(other) == list(found[0])
        for name, values in found[0].items():
            np.testing.assert_allclose(other[name], values, rtol=1e-5)
    theirs.save(tmp_path / "trained.h5")
    with pytest.warns(UserWarning, match=r"trained\.h5: the optimizer's state is not read") as told:
        assert keras.saving.load_model(tmp_path / "trained.h5").compiled
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not keras.saving.load_model(tmp_path / "trained.h5", compile=False).compiled


def test_frozen_layers_keep_their_weights_apart(tmp_path: Path) -> None:
    theirs = filled(nested(real))
    theirs.get_layer("inner").trainable = False
    theirs.save(tmp_path / "m.h5")
    ours = keras.saving.load_model(tmp_path / "m.h5")
    same(ours(X), theirs(X))
    assert len(ours.trainable_weights) == len(theirs.trainable_weights)


@pytest.mark.parametrize("make", [sequential, functional, nested], ids=lambda m: m.__name__)
def test_weights_of_whole_files(make: Any, tmp_path: Path) -> None:
    theirs = filled(make(real))
    theirs.save(tmp_path / "m.h5")
    ours = make(keras)
    ours.load_weights(tmp_path / "m.h5")
    same(ours(X), theirs(X))
    before = ours.get_weights()
    with pytest.raises(KcompileError):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).load_weights(tmp_path / "m.h5")
    same(ours.get_weights(), before, 0)


def test_kcompile_export_takes_h5_files(tmp_path: Path) -> None:
    theirs = filled(functional(real))
    theirs.save(tmp_path / "m.h5")
    target = tmp_path / "m.onnx"
    subprocess.run([sys.executable, "-m", "kcompile", "export", str(tmp_path / "m.h5"), "-o", str(target)], check=True)
    from kcompile.runtime.session import run

    same(run(target.read_bytes(), {"x": X}), [arrays(theirs(X))[0]])


def test_names_that_say_weights_are_refused(tmp_path: Path) -> None:
    model = sequential(keras)
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(UsageError, match="weights alone"):
        keras.saving.load_model(tmp_path / "m.weights.h5")
    with pytest.raises(UsageError, match="weights alone"):
        model.save(tmp_path / "n.weights.h5")
    with pytest.raises(UsageError, match="no such file"):
        keras.saving.load_model(tmp_path / "none.h5")


def test_many_names_are_spread_over_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 holds 64 KB in one attribute; a long text lies elsewhere."""
    monkeypatch.setattr(legacy_h5, "MOST_NAMES", 2)
    layers = [keras.layers.Dense(1, name=f"layer_{i}_{'x' * 8000}") for i in range(9)]
    model = keras.Sequential([keras.Input((1,)), *layers])
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert len(file.attrs["model_config"]) > 1 << 16
        assert "layer_names4" in file["model_weights"].attrs and "layer_names" not in file["model_weights"].attrs
    again = keras.Sequential([keras.Input((1,)), *[keras.layers.Dense(1) for _ in layers]])
    again.load_weights(tmp_path / "m.h5")
    same(again.get_weights(), model.get_weights(), 0)


# ---- Keras 2


def old_node(name: str, node: int = 0, **kwargs: Any) -> list[Any]:
    return [name, node, 0, kwargs]


def old_layer(kind: str, name: str, nodes: Any = (), **config: Any) -> dict[str, Any]:
    trained = {} if kind == "InputLayer" else {"trainable": True}
    return {
        "class_name": kind,
        "config": {"name": name, **trained, **config},
        "name": name,
        "inbound_nodes": list(nodes),
    }


def test_files_of_keras_2(tmp_path: Path) -> None:
    """Nodes as lists, input shapes under their old name, weights with ':0' behind theirs."""
    layers = [
        old_layer("InputLayer", "x", batch_input_shape=[None, 4], dtype="float32", sparse=False, ragged=False),
        old_layer("Dense", "a", [[old_node("x")]], units=4, activation="relu", use_bias=True, dtype="float32",
                  kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}}),
        old_layer("Add", "sum", [[old_node("a"), old_node("x")]], dtype="float32"),
        old_layer("Dropout", "drop", [[old_node("sum", training=False)]], rate=0.5),
    ]  # fmt: skip
    config = {"name": "model", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["drop", 0, 0]]}
    kernel, bias = numbers((4, 4)), numbers((4,), 1)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["keras_version"] = "2.11.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [n.encode() for n in ("x", "a", "sum", "drop")]
        for name in ("x", "sum", "drop"):
            group.create_group(name).attrs["weight_names"] = np.array([])
        a = group.create_group("a")
        a.attrs["weight_names"] = [b"a/kernel:0", b"a/bias:0"]
        a["a/kernel:0"], a["a/bias:0"] = kernel, bias
    model = keras.saving.load_model(tmp_path / "old.h5")
    same(model(X), np.maximum(X @ kernel + bias, 0) + X)
    same(real.saving.load_model(tmp_path / "old.h5")(X), model(X))


# ---- hostile files

BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no config": (lambda f: f.attrs.__delitem__("model_config"), "no model_config"),
    "config is no JSON": (lambda f: f.attrs.__setitem__("model_config", "{"), "not JSON"),
    "config is a list": (lambda f: f.attrs.__setitem__("model_config", "[]"), "not an object"),
    "config is a number": (lambda f: f.attrs.__setitem__("model_config", 3), "no text"),
    "config is an array": (lambda f: f.attrs.__setitem__("model_config", np.zeros(3)), "no text"),
    "config is deep": (lambda f: f.attrs.__setitem__("model_config", '{"a":' * 500 + "1" + "}" * 500), "nested"),
    "config is very deep": (lambda f: f.attrs.__setitem__("model_config", "[" * 100000), "not JSON"),
    "config names a module": (lambda f: f.attrs.__setitem__("model_config", json.dumps(
        {"class_name": "system", "module": "os", "config": {}})), "os.system"),
    "nodes are numbers": (lambda f: edit(f, lambda c: c["layers"][1].update(inbound_nodes=3)), "list of calls"),
    "nodes are rows of numbers": (lambda f: edit(f, lambda c: c["layers"][1].update(inbound_nodes=[[3]])), "inputs"),
    "no weights": (lambda f: f.__delitem__("model_weights"), "no group"),
    "weights are an array": (lambda f: replace(f, "model_weights", np.zeros(3)), "no group"),
    "no layer names": (lambda f: f["model_weights"].attrs.__delitem__("layer_names"), "no list of names"),
    "layer names are numbers": (lambda f: f["model_weights"].attrs.__setitem__("layer_names", np.arange(3)), "names"),
    "a layer is missing": (lambda f: f["model_weights"].__delitem__("shared"), "not there"),
    "weight names are strange": (lambda f: names(f, [b"../../x", b"/etc"]), "not an array"),
    "weight names are fewer": (lambda f: names(f, [b"shared/kernel"]), "1 weights in the file and 2"),
    "a weight is a group": (lambda f: names(f, [b"shared", b"shared"]), "not an array"),
    "another shape": (lambda f: replace(f, "model_weights/shared/shared/bias", np.zeros(9)), "shape"),
    "strings": (lambda f: replace(f, "model_weights/shared/shared/bias", np.array([b"x"] * 4)), "not numbers"),
    "a soft link": (lambda f: replace(f, "model_weights/shared/shared/bias", h5py.SoftLink("/model_weights")), "link"),
    "an external link": (lambda f: replace(f, "model_weights/shared", h5py.ExternalLink("x.h5", "/")), "link"),
    "numbers that are not there": (lambda f: empty(f, "model_weights/shared/shared/kernel"), "holds none"),
}  # fmt: skip


def edit(file: Any, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads(file.attrs["model_config"])
    change(config["config"])
    file.attrs["model_config"] = json.dumps(config)


def replace(file: Any, path: str, value: Any) -> None:
    del file[path]
    file[path] = value


def names(file: Any, values: list[bytes]) -> None:
    file["model_weights/shared"].attrs["weight_names"] = values


def empty(file: Any, path: str) -> None:
    shape = file[path].shape
    del file[path]
    file.create_dataset(path, shape, "float32", chunks=True)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    path = tmp_path_factory.mktemp("h5") / "m.h5"
    filled(functional(real)).save(path)
    yield path.read_bytes()


@pytest.mark.parametrize("name", BROKEN)
def test_hostile_files_are_one_line(name: str, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(good)
    change, words = BROKEN[name]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(KcompileError, match=words) as caught:
        keras.saving.load_model(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and len(str(caught.value)) < 700


def test_truncated_and_changed_files_never_crash(good: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "m.h5"
    for i in range(60):
        data = bytearray(good[: int(rng.integers(1, len(good)))] if i % 3 == 0 else good)
        for place in rng.integers(0, len(data), 8):
            data[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(data))
        try:
            keras.saving.load_model(path)
        except KcompileError as error:
            assert "\n" not in str(error)

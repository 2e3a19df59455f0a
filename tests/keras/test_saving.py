"""Files both ways: what kcompile writes real Keras loads, and the other way round, with the same numbers."""

from __future__ import annotations

import importlib
import inspect
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.errors import FileFormatError, UnsupportedError, UsageError
from kcompile.files import keras_archive
from kcompile.keras import ops
from kcompile.keras.saving import functional_config
from tests.keras.builders import MODELS, inputs
from tests.keras.support import keras, numbers, real, same
from tests.keras.test_models import both, described
from tests.keras.test_training import ROWS, X, Y, regressor

# Classes of a test's own can't be named in a file.
FILED = {k: v for k, v in MODELS.items() if k not in ("subclass", "functional_subclass")}


def load(room: Any, path: Path, **options: Any) -> Any:
    return room.saving.load_model(path, **options)


@pytest.mark.parametrize("name", FILED)
def test_files_of_either_are_models_in_the_other(name: str, tmp_path: Path) -> None:
    builder, shapes = FILED[name]
    ours, theirs = both(builder)
    x = inputs(shapes)
    wanted = theirs(x)
    for source, room in ((ours, real), (theirs, keras), (ours, keras)):
        path = tmp_path / "m.keras"
        source.save(path)
        loaded, reference = load(room, path), load(real, path)
        same(loaded(x), wanted, what=f"{room.__name__} from {type(source).__module__}")
        assert described(loaded) == described(theirs)
        assert [w.path for w in loaded.weights] == [w.path for w in reference.weights]
        assert len(loaded.trainable_weights) == len(theirs.trainable_weights)


@pytest.mark.parametrize("name", [*FILED, "subclass"])
def test_weights_files_both_ways(name: str, tmp_path: Path) -> None:
    ours, theirs = both(MODELS[name][0])
    path = tmp_path / "m.weights.h5"
    for source, target in ((ours, theirs), (theirs, ours)):
        source.set_weights([numbers(w.shape, i + 5) for i, w in enumerate(source.weights)])
        source.save_weights(path)
        target.set_weights([np.zeros(w.shape, "float32") for w in target.weights])
        target.load_weights(path)
        same(target.get_weights(), source.get_weights())


COMPILED: list[dict[str, Any]] = [
    {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]},
    {"optimizer": "sgd", "loss": "mean_squared_error", "weighted_metrics": ["mse"]},
    {"optimizer": ("Adam", {"learning_rate": 0.02, "amsgrad": True, "clipnorm": 1.0}), "loss": ("MeanAbsoluteError", {})},
    {"optimizer": ("SGD", {"momentum": 0.9, "nesterov": True}), "loss": "mse", "loss_weights": 0.5},
]  # fmt: skip


def compile_in(room: Any, model: Any, options: dict[str, Any]) -> None:
    made = dict(options)
    for key, module in (("optimizer", room.optimizers), ("loss", room.losses)):
        if isinstance(made[key], tuple):
            made[key] = getattr(module, made[key][0])(**made[key][1])
    model.compile(**made)


@pytest.mark.parametrize("options", COMPILED, ids=str)
@pytest.mark.parametrize("forwards", [True, False])
def test_training_goes_on_after_loading(options: dict[str, Any], forwards: bool, tmp_path: Path) -> None:
    """Optimizer, loss, metrics and slots come with the file: the next epochs are the same in both."""
    ours, theirs = both(regressor)
    compile_in(keras, ours, options)
    compile_in(real, theirs, options)
    source, room = (ours, real) if forwards else (theirs, keras)
    source.fit(X, Y, epochs=2, verbose=0, shuffle=False, batch_size=6)
    source.save(tmp_path / "m.keras")
    loaded = load(room, tmp_path / "m.keras")
    assert type(loaded.optimizer).__name__ == type(source.optimizer).__name__
    same([v.numpy() for v in loaded.optimizer.variables], [v.numpy() for v in source.optimizer.variables])
    # A load may place the learning rate's float32 in the config: equal in its digits.
    found = [m.fit(X, Y, epochs=2, verbose=0, shuffle=False, batch_size=6).history for m in (source, loaded)]
    assert list(found[0]) == list(found[1])
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=2e-5, err_msg=name)
    same(loaded.get_weights(), source.get_weights(), 5e-5)


def scaled(room: Any) -> Any:
    """A registered layer with a config, its own weight and an inner layer."""

    class Scaled(room.layers.Layer):
        def __init__(self, units: int, factor: float = 1.0, **kwargs: Any):
            super().__init__(**kwargs)
            self.units, self.factor = units, factor
            self.dense = room.layers.Dense(units)

        def build(self, shape: Any) -> None:
            self.dense.build(shape)
            self.scale = self.add_weight((self.units,), initializer="ones", name="scale")

        def call(self, x: Any) -> Any:
            return self.dense(x) * self.scale * self.factor

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units, "factor": self.factor}

    return Scaled


def net(room: Any, layer: Any) -> Any:
    class Net(room.Model):
        def __init__(self, width: int = 3, **kwargs: Any):
            super().__init__(**kwargs)
            self.width = width
            self.first = layer(width, factor=2.0)
            self.rest = [room.layers.Dense(3), room.layers.BatchNormalization(), room.layers.Dense(2)]
            self.heads = {"b": room.layers.Dense(1), "a": room.layers.Dense(1)}

        def call(self, x: Any) -> Any:
            x = self.first(x)
            for layer in self.rest:
                x = layer(x)
            return self.heads["a"](x) - self.heads["b"](x)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "width": self.width}

    return Net


def test_registered_and_given_classes(tmp_path: Path) -> None:
    classes = {}
    for room in (keras, real):
        layer = room.saving.register_keras_serializable("tests", "Scaled")(scaled(room))
        classes[room] = (layer, room.saving.register_keras_serializable("tests", "Net")(net(room, layer)))
    x = numbers((3, 4))
    for source, target in ((keras, real), (real, keras), (keras, keras)):
        for make in (
            lambda room: classes[room][1](4),
            lambda room: room.Sequential([room.Input((4,)), classes[room][0](3)]),
        ):
            model = make(source)
            model(x)
            model.set_weights([abs(numbers(w.shape, i)) for i, w in enumerate(model.weights)])
            model.save(tmp_path / "m.keras")
            same(load(target, tmp_path / "m.keras")(x), model(x), what=f"{source.__name__} to {target.__name__}")


def test_custom_objects_and_unknown_classes(tmp_path: Path) -> None:
    layer = scaled(keras)
    model = keras.Sequential([keras.Input((4,)), layer(3)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedError, match=r"m\.keras.*Scaled.*custom_objects"):
        keras.saving.load_model(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", custom_objects={"Scaled": layer})
    same(loaded(X), model(X))


def test_a_layers_constructor_arguments_are_its_config_by_default(tmp_path: Path) -> None:
    made = []
    for room in (keras, real):

        @room.saving.register_keras_serializable("tests", "Plain")
        class Plain(room.layers.Layer):
            def __init__(self, units: int, factor: float = 2.0, **kwargs: Any):
                super().__init__(**kwargs)
                self.factor = factor

            def call(self, x: Any) -> Any:
                return x * self.factor

        made.append(Plain(3, factor=5.0, name="p"))
    assert made[0].get_config() == made[1].get_config()
    keras.Sequential([keras.Input((4,)), made[0]]).save(tmp_path / "m.keras")
    same(load(real, tmp_path / "m.keras")(X), X * 5)


@pytest.mark.parametrize("name", ["cnn", "lstm", "dicts", "shared_inner_model", "operators"])
def test_the_config_in_the_file_is_keras_s(name: str, tmp_path: Path) -> None:
    ours, _ = both(MODELS[name][0])
    ours.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
        assert "keras_version" in json.loads(archive.read("metadata.json"))
        config = json.loads(archive.read("config.json"))
    assert real.saving.deserialize_keras_object(config).count_params() == ours.count_params()


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = regressor(keras)
    for name in ("a", "b"):
        model.save_weights(tmp_path / f"{name}.weights.h5")
    assert (tmp_path / "a.weights.h5").read_bytes() == (tmp_path / "b.weights.h5").read_bytes()


# ---- operations of functional models


def operation_classes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in ("numpy", "nn", "math", "core", "image", "linalg"):
        for name, cls in vars(importlib.import_module(f"keras.src.ops.{module}")).items():
            if (
                isinstance(cls, type)
                and issubclass(cls, real.Operation)
                and cls.__module__ == f"keras.src.ops.{module}"
            ):
                found.setdefault(name.lower(), cls)
    return found


OPS = sorted({f.__name__ for f in vars(ops).values() if inspect.isfunction(f) and hasattr(f, "__wrapped__")})


@pytest.mark.parametrize("name", OPS)
def test_each_function_is_written_as_keras_s_operation(name: str) -> None:
    """Class, module, and which arguments go with the call and which into the config."""
    cls = operation_classes().get(name.replace("_", ""))
    if cls is None:
        assert name in functional_config._NO_CLASS, f"{name} needs a form in files, or a place among those without"
        return
    assert functional_config._MODULE_OF.get(name, "keras.src.ops.numpy") == cls.__module__
    class_name = functional_config._CLASS_NAMES.get(name) or "".join(p.capitalize() for p in name.split("_"))
    assert class_name.lower() == cls.__name__.lower()
    own = list(inspect.signature(getattr(ops, name)).parameters)
    called = [p for p in own if functional_config.goes_with_the_call(name, p)]
    wanted = [p for p in inspect.signature(cls.call).parameters if p not in ("self", "kwargs")]
    assert called == wanted
    made = set(inspect.signature(cls.__init__).parameters)
    assert {p for p in own if p not in called} - {"bias", "_"} <= made


ONE_OP: dict[str, Any] = {
    "einsum": lambda ops, x: ops.einsum("bij,bjk->bik", x, ops.transpose(x, (0, 2, 1))),
    "where": lambda ops, x: ops.where(x > 0, x, 0.0), "clip": lambda ops, x: ops.clip(x, -0.5, 0.5),
    "stack": lambda ops, x: ops.stack([x, x * 2], axis=1), "split": lambda ops, x: ops.split(x, 2, axis=-1)[1],
    "pad": lambda ops, x: ops.pad(x, ((0, 0), (1, 2), (0, 0))), "one_hot": lambda ops, x: ops.one_hot(ops.argmax(x, -1), 4),
    "take": lambda ops, x: ops.take(x, [2, 0], axis=-1), "cast": lambda ops, x: ops.cast(x, "float16"),
    "top_k": lambda ops, x: ops.top_k(x, 2)[0], "cumsum": lambda ops, x: ops.cumsum(x, axis=1),
    "getitem": lambda ops, x: x[:, 1, None, ..., ::2], "python": lambda ops, x: 2 - x / 3 % 2 @ ops.ones((4, 2)),
    "softmax": lambda ops, x: ops.softmax(x, axis=1), "power": lambda ops, x: 2.0**x, "not": lambda ops, x: ~(x > 0),
    "repeat": lambda ops, x: ops.repeat(x, 2, axis=1), "flip": lambda ops, x: ops.flip(x, axis=1),
    "max_pool": lambda ops, x: ops.max_pool(x, 2, 2), "squeeze": lambda ops, x: ops.squeeze(ops.expand_dims(x, 1), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_OP)
def test_operations_in_files(name: str, tmp_path: Path) -> None:
    models = []
    for room in (keras, real):
        x = room.Input((6, 4), name="x")
        models.append(room.Model(x, ONE_OP[name](room.ops, x)))
    x = numbers((2, 6, 4))
    for model, room in ((models[0], real), (models[1], keras), (models[0], keras)):
        model.save(tmp_path / "m.keras")
        same(load(room, tmp_path / "m.keras")(x), models[1](x))


# ---- files whole or not at all


class Stop(BaseException):
    """A kill in the middle of a write."""


@pytest.mark.parametrize("ending", ["m.keras", "m.weights.h5"])
def test_a_kill_while_saving_leaves_the_old_file(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = regressor(keras), tmp_path / ending
    save = model.save if ending == "m.keras" else model.save_weights
    save(path)
    before = path.read_bytes()
    model.set_weights([w + 1 for w in model.get_weights()])

    def write(stream: Any, *args: Any) -> None:
        stream.write(b"half")
        raise Stop

    monkeypatch.setattr("kcompile.files.weights.write_weights", write)
    with pytest.raises(Stop):
        save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [ending]


def test_a_failed_load_changes_nothing(tmp_path: Path) -> None:
    model, path = regressor(keras), tmp_path / "m.weights.h5"
    wide = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3)])
    wide.save_weights(path)
    before = model.get_weights()
    with pytest.raises(FileFormatError, match=r"m\.weights\.h5.*shape"):
        model.load_weights(path)
    same(model.get_weights(), before)
    model.load_weights(path, skip_mismatch=True)
    same(model.get_weights()[:2], wide.get_weights()[:2])
    same(model.get_weights()[2], before[2])
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]).save_weights(path)
    with pytest.raises(FileFormatError, match="variables"):
        regressor(keras).load_weights(path)


def test_a_loss_that_is_not_known_leaves_the_model_uncompiled(tmp_path: Path) -> None:
    model = regressor(keras)
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    config = json.loads(members["config.json"])
    config["compile_config"]["loss"] = "my_loss"
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.warns(UserWarning, match="my_loss"):
        loaded = keras.saving.load_model(tmp_path / "n.keras")
    same(loaded(X), model(X))
    assert not loaded.compiled
    assert keras.saving.load_model(tmp_path / "n.keras", compile=False).get_weights()


PATHS: list[tuple[Any, type[Exception], str]] = [
    (lambda m, d: m.save(d / "m.h6"), UsageError, "keras"),
    (lambda m, d: m.save(d / "none" / "m.keras"), UsageError, "none"),
    (lambda m, d: m.save_weights(d / "m.h5"), UsageError, "weights.h5"),
    (lambda m, d: keras.saving.load_model(d / "none.keras"), UsageError, "no such file"),
    (lambda m, d: keras.saving.load_model(d / "m.txt"), UsageError, "keras"),
    (lambda m, d: (m.save(d / "m.keras"), m.save(d / "m.keras", overwrite=False)), UsageError, "exists"),
    (lambda m, d: keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)]).save(d / "m.keras"),
     (TypeError, UnsupportedError), "lambda|Lambda"),
]  # fmt: skip


@pytest.mark.parametrize("act, kind, words", PATHS, ids=[str(i) for i in range(len(PATHS))])
def test_bad_paths(act: Any, kind: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=words):
        act(regressor(keras), tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_clones_and_json_both_ways() -> None:
    ours, theirs = both(MODELS["shared_inner_model"][0])
    assert real.models.model_from_json(ours.to_json()).count_params() == ours.count_params()
    again = keras.models.model_from_json(theirs.to_json())
    assert again.count_params() == keras.models.clone_model(ours).count_params() == ours.count_params()


def test_archives_are_written_without_compression_of_weights(tmp_path: Path) -> None:
    regressor(keras).save(tmp_path / "m.keras")
    archive = keras_archive.read_archive(tmp_path / "m.keras")
    assert archive.metadata["keras_version"] and len(archive.weights) > 0 and ROWS

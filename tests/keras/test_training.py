"""fit, evaluate and predict against real Keras: the same data and weights give the same numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import kcompile
from kcompile.errors import KcompileError, TraceError
from kcompile.keras.training.data import make_data
from kcompile.keras.training.steps import Step
from tests.keras import builders
from tests.keras.support import array, close, keras, numbers, real, same
from tests.keras.test_models import both

ROWS = 20
X, Y = numbers((ROWS, 4)), numbers((ROWS, 2), 1)
LABELS = numbers((ROWS,), 2, "int64", 3)
HOT = np.eye(3, dtype="float32")[LABELS]
WEIGHTS = abs(numbers((ROWS,), 3)) + 0.1


def regressor(room: Any, **dense: Any) -> Any:
    layers = [room.layers.Dense(5, activation="tanh", **dense), room.layers.Dense(2)]
    return room.Sequential([room.Input((4,)), *layers])


def classifier(room: Any) -> Any:
    layers = [room.layers.Dense(5, activation="tanh"), room.layers.Dense(3, activation="softmax")]
    return room.Sequential([room.Input((4,)), *layers])


def histories(ours: Any, theirs: Any, *args: Any, rtol: float = 1e-5, **kwargs: Any) -> dict[str, list[float]]:
    """Both fitted; asserts equal names, histories, weights and (less the rate's name) optimizer state."""
    options = {"verbose": 0, "shuffle": False, "batch_size": 6, **kwargs}
    found = [m.fit(*args, **options).history for m in (ours, theirs)]
    assert list(found[0]) == list(found[1])
    for name, values in found[1].items():
        np.testing.assert_allclose(found[0][name], values, rtol=rtol, atol=1e-6, err_msg=name)
    same(ours.get_weights(), theirs.get_weights(), 5 * rtol, "weights")
    same_slots(ours.optimizer, theirs.optimizer, 5 * rtol)
    return found[0]


def same_slots(ours: Any, theirs: Any, rtol: float = 5e-5) -> None:
    assert [tuple(v.shape) for v in ours.variables] == [tuple(v.shape) for v in theirs.variables]
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        close(array(a.numpy()), array(b.numpy()), rtol, atol=1e-6, what=a.path)


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", o) for o in (
        {}, {"learning_rate": 0.1}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1},
        {"clipnorm": 0.1}, {"clipvalue": 0.05}, {"global_clipnorm": 0.1}, {"momentum": 0.5, "weight_decay": 0.01},
    )
] + [
    ("Adam", o) for o in (
        {}, {"learning_rate": 0.05}, {"beta_1": 0.5, "beta_2": 0.7}, {"epsilon": 0.1}, {"amsgrad": True},
        {"weight_decay": 0.1}, {"clipnorm": 0.01}, {"clipvalue": 0.01}, {"global_clipnorm": 0.01},
        {"amsgrad": True, "weight_decay": 0.1, "clipnorm": 0.1},
    )
]  # fmt: skip


@pytest.mark.parametrize("name, config", OPTIMIZERS, ids=str)
def test_optimizers(name: str, config: dict[str, Any]) -> None:
    ours, theirs = both(regressor)
    for room, model in ((keras, ours), (real, theirs)):
        model.compile(getattr(room.optimizers, name)(**config), "mse")
    histories(ours, theirs, X, Y, epochs=3)
    wanted = theirs.optimizer.get_config()
    assert ours.optimizer.get_config().keys() == wanted.keys()
    for key, value in ours.optimizer.get_config().items():
        assert value == (pytest.approx(wanted[key]) if isinstance(value, float) else wanted[key]), key


CONSTRAINTS = ["max_norm", "non_neg", "unit_norm", "min_max_norm"]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_constraints(constraint: str) -> None:
    ours, theirs = both(lambda room: regressor(room, kernel_constraint=constraint, bias_constraint="non_neg"))
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    histories(ours, theirs, X, Y, epochs=2)


PENALTIES = [{"kernel_regularizer": "l2"}, {"kernel_regularizer": "l1", "bias_regularizer": "l2"},
             {"activity_regularizer": "l2"}]  # fmt: skip


@pytest.mark.parametrize("dense", PENALTIES, ids=str)
def test_regularizers(dense: dict[str, Any]) -> None:
    ours, theirs = both(lambda room: regressor(room, **dense))
    for model in (ours, theirs):
        model.compile("sgd", "mse", metrics=["mae"])
    histories(ours, theirs, X, Y, epochs=2)


COMPILED: list[tuple[Any, dict[str, Any], Any, dict[str, Any]]] = [
    (regressor, {"loss": "mse", "metrics": ["mae", "mse"]}, Y, {}),
    (regressor, {"loss": "mae", "weighted_metrics": ["mse"]}, Y, {"sample_weight": WEIGHTS}),
    (regressor, {"loss": "mse", "metrics": ["mae"]}, Y, {"validation_split": 0.3}),
    (regressor, {"loss": "mse", "metrics": ["mae"]}, Y, {"validation_data": (X[:7] + 1, Y[:7])}),
    (regressor, {"loss": "mse"}, Y, {"validation_data": (X[:7] + 1, Y[:7], WEIGHTS[:7]), "sample_weight": WEIGHTS}),
    (regressor, {"loss": "mse"}, Y, {"validation_data": (X[:7], Y[:7]), "validation_freq": 2}),
    (regressor, {"loss": "mse"}, Y, {"validation_split": 0.3, "sample_weight": WEIGHTS}),
    (classifier, {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}, LABELS, {}),
    (classifier, {"loss": "sparse_categorical_crossentropy", "metrics": ["acc"]}, LABELS[:, None], {}),
    (classifier, {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}, HOT, {}),
    (classifier, {"loss": "binary_crossentropy", "metrics": ["binary_accuracy"]}, HOT, {}),
    (classifier, {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}, LABELS,
     {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}),
    (classifier, {"loss": "categorical_crossentropy", "weighted_metrics": ["accuracy"]}, HOT,
     {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}),
    (regressor, {"loss": "mse"}, Y, {"batch_size": 7, "steps_per_epoch": 2, "epochs": 2}),
    (regressor, {"loss": "mse"}, Y, {"batch_size": 64, "initial_epoch": 1, "epochs": 4}),
    (regressor, {"loss": lambda y, p: (abs(y - p) ** 2)[:, 0]}, Y, {}),
    (regressor, {"loss": "mse", "run_eagerly": True, "metrics": ["mae"]}, Y, {}),
]  # fmt: skip


@pytest.mark.parametrize("builder, compiled, y, options", COMPILED, ids=[str(i) for i in range(len(COMPILED))])
def test_fit(builder: Any, compiled: dict[str, Any], y: Any, options: dict[str, Any]) -> None:
    ours, theirs = both(builder)
    for model in (ours, theirs):
        model.compile("adam", **compiled)
    histories(ours, theirs, X, y, **{"epochs": 2, **options})
    assert "loss" in ours.metrics_names
    for kind in ({}, {"return_dict": True}, {"sample_weight": WEIGHTS}):
        a, b = (m.evaluate(X, y, verbose=0, batch_size=6, **kind) for m in (ours, theirs))
        assert type(a) is type(b)
        if isinstance(b, dict):
            assert list(a) == list(b)
            a, b = list(a.values()), list(b.values())
        np.testing.assert_allclose(a, b, rtol=2e-5)
    same(ours.predict(X, verbose=0, batch_size=6), theirs.predict(X, verbose=0), 5e-5)


MANY: list[tuple[str, Any]] = [
    ("lists", {"loss": "mse"}), ("lists", {"loss": ["mse", "mae"], "loss_weights": [1.0, 0.3]}),
    ("lists", {"loss": ["mse", "mae"], "metrics": [["mae"], ["mse", "mae"]]}),
    ("lists", {"loss": {"p": "mse", "q": "mae"}, "loss_weights": {"p": 1.0, "q": 0.2}, "metrics": {"q": "mse"}}),
    ("dicts", {"loss": {"p": "mse", "q": "mae"}, "metrics": {"p": ["mae"], "q": ["mse"]}}),
    ("dicts", {"loss": {"p": "mse", "q": "mae"}, "loss_weights": {"p": 0.1, "q": 2.0}}),
    ("dicts", {"loss": {"q": "mse"}}),
]  # fmt: skip


@pytest.mark.parametrize("name, compiled", MANY, ids=str)
def test_several_outputs(name: str, compiled: dict[str, Any]) -> None:
    builder, shapes = builders.MODELS[name]
    ours, theirs = both(builder)
    x = builders.inputs(shapes, ROWS)
    y: Any = {"p": numbers((ROWS, 2), 8), "q": numbers((ROWS, 1), 9)}
    y = y if name == "dicts" else list(y.values())
    for model in (ours, theirs):
        model.compile("sgd", **compiled)
    histories(ours, theirs, x, y, epochs=2)
    a, b = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (ours, theirs))
    assert list(a) == list(b)
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=2e-5)
    got, wanted = ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
    assert type(got) is type(wanted)
    same(got, wanted, 5e-5)


def test_several_outputs_with_a_weight_for_each() -> None:
    builder, shapes = builders.MODELS["lists"]
    ours, theirs = both(builder)
    x, y = builders.inputs(shapes, ROWS), [numbers((ROWS, 2), 8), numbers((ROWS, 1), 9)]
    for model in (ours, theirs):
        model.compile("sgd", ["mse", "mae"], weighted_metrics=[["mae"], ["mse"]])
    histories(ours, theirs, x, y, epochs=2, sample_weight=[WEIGHTS, WEIGHTS[::-1].copy()])


LAYERED: list[tuple[str, dict[str, Any]]] = [
    ("cnn", {}), ("frozen", {}), ("lstm", {}), ("residual", {}), ("shared_inner_model", {}), ("nested_deferred", {}),
    ("subclass", {}), ("regularised", {}), ("keywords", {}),
]  # fmt: skip


def without_dropout(builder: Any) -> Any:
    def build(room: Any) -> Any:
        model = builder(room)
        for layer in model.layers:
            if type(layer).__name__ == "Dropout":
                layer.rate = 0.0
        return model

    return build


@pytest.mark.parametrize("name", [n for n, _ in LAYERED])
def test_layers_train_alike(name: str) -> None:
    """Convolutions, BatchNormalization (statistics too), masks, shared, frozen and nested layers."""
    builder, shapes = builders.MODELS[name]
    ours, theirs = both(without_dropout(builder))
    x = builders.inputs(shapes, ROWS)
    outputs = theirs(x)
    y: Any = [numbers(array(o).shape, 4) for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
    before = [w.copy() for w in ours.get_weights()]
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    histories(ours, theirs, x, y if len(y) > 1 else y[0], epochs=2, rtol=2e-5)
    for variable, old in zip(ours.weights, before, strict=True):
        frozen = variable in ours.non_trainable_weights and "moving" not in variable.path
        assert not frozen or np.array_equal(variable.numpy(), old), f"{variable.path} is frozen"


def test_batches_one_at_a_time() -> None:
    ours, theirs = both(regressor)
    for model in (ours, theirs):
        model.compile("adam", "mse", metrics=["mae"])
    for i in range(3):
        batch = (X[i : i + 5], Y[i : i + 5])
        np.testing.assert_allclose(ours.train_on_batch(*batch), theirs.train_on_batch(*batch), rtol=1e-5)
    a, b = (m.test_on_batch(X, Y, return_dict=True) for m in (ours, theirs))
    assert list(a) == list(b)
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5)
    same(ours.predict_on_batch(X), theirs.predict_on_batch(X), 2e-5)
    same(ours.get_weights(), theirs.get_weights(), 2e-5)


def generator(weights: bool = False) -> Any:
    while True:
        for i in range(0, ROWS, 5):
            part = slice(i, i + 5)
            yield (X[part], Y[part], WEIGHTS[part]) if weights else (X[part], Y[part])


@pytest.mark.parametrize("weights", [False, True])
def test_generators(weights: bool) -> None:
    ours, theirs = both(regressor)
    for model in (ours, theirs):
        model.compile("sgd", "mse", weighted_metrics=["mae"])
    found = []
    for model in (ours, theirs):
        history = model.fit(
            generator(weights), steps_per_epoch=3, epochs=3, verbose=0, validation_data=(X, Y), validation_steps=2
        )
        found.append(history.history)
    assert list(found[0]) == list(found[1])
    for name in found[1]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)
    same(ours.get_weights(), theirs.get_weights(), 2e-5)


def test_a_torch_loader_and_a_sequence_of_batches() -> None:
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    ours, theirs = both(regressor)
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    loader = torch.utils.data.DataLoader(data, batch_size=6)
    found = [m.fit(loader, epochs=2, verbose=0).history["loss"] for m in (ours, theirs)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_callbacks_see_what_keras_shows_them() -> None:
    logs: dict[Any, list[Any]] = {}
    for room in (keras, real):

        class Recorder(room.callbacks.Callback):
            def __getattribute__(self, name: str, room: Any = room) -> Any:
                if name.startswith("on_"):
                    return lambda *args, **kwargs: logs.setdefault(room, []).append((name, args_of(args)))
                return super().__getattribute__(name)

        model = regressor(room)
        model.set_weights([numbers(w.shape) for w in model.weights])
        model.compile("sgd", "mse", metrics=["mae"])
        recorder = Recorder()
        for event in [n for n in dir(room.callbacks.Callback) if n.startswith("on_")]:
            setattr(type(recorder), event, lambda self, *a, **k: None)
        model.fit(X, Y, batch_size=10, epochs=2, verbose=0, shuffle=False, callbacks=[recorder], validation_split=0.5)
        model.evaluate(X, Y, verbose=0, callbacks=[recorder])
        model.predict(X, verbose=0, callbacks=[recorder])
    ours, theirs = logs[keras], logs[real]
    assert [name for name, _ in ours] == [name for name, _ in theirs]


def args_of(args: Any) -> Any:
    return [a for a in args if not isinstance(a, dict)]


def test_history_epochs_and_stopping() -> None:
    for room in (keras, real):

        class Stop(room.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.model.stop_training = epoch == 1

        model = regressor(room)
        model.compile("sgd", "mse")
        history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[Stop()])
        assert history.epoch == [0, 1]
        assert len(history.history["loss"]) == 2
        assert model.history is history


def test_shuffling_uses_all_rows_once_and_differs() -> None:
    data = make_data(np.arange(30.0), np.arange(30.0) + 100, batch_size=7, shuffle=True)
    orders = []
    for _ in range(2):
        batches = list(data.batches())
        rows = np.concatenate([array(x) for x, _, _ in batches])
        assert np.array_equal(rows + 100, np.concatenate([array(y) for _, y, _ in batches]))
        assert sorted(rows) == list(range(30))
        orders.append(list(rows))
    assert orders[0] != orders[1] != sorted(orders[0])


# ---- the traced step


def test_varying_lengths_retrace_once_and_are_symbolic_then(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[Any] = []
    original = Step._trace
    monkeypatch.setattr(Step, "_trace", lambda self: traces.append(self.signature.types[0]) or original(self))
    ours, theirs = both(builders.lstm)
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    for length in (4, 6, 3, 9):
        x, y = numbers((5, length), length, "int32"), numbers((5, 1))
        np.testing.assert_allclose(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), rtol=2e-5)
    assert [str(t) for t in traces] == ["i32[N, 4]", "i32[N, T]"]
    same(ours.get_weights(), theirs.get_weights(), 5e-5)


def test_the_last_batch_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[int] = []
    original = Step._trace
    monkeypatch.setattr(Step, "_trace", lambda self: traces.append(1) or original(self))
    model = regressor(keras)
    model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=6, epochs=2, verbose=0)
    assert len(traces) == 1


def foreach_calls(depth: int, optimizer: str) -> int:
    layers = [keras.layers.Dense(4, activation="relu") for _ in range(depth)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse")
    model.train_on_batch(X, numbers((ROWS, 4)))
    code = model._steps["train"].traced.runner.update.code
    return len(re.findall(r"_foreach_\w+\(|adam_step\(", code))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_update_does_not_grow_with_the_model(optimizer: str) -> None:
    """Equal work on all variables is one call, however many there are."""
    one = foreach_calls(1, optimizer)
    assert 0 < one == foreach_calls(20, optimizer)


# ---- code that can't be traced


class CallsTorch(keras.layers.Layer):
    def build(self, shape: Any) -> None:
        self.scale = self.add_weight((shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return torch.nn.functional.softplus(x) * self.scale


class CallsTorchReal(real.layers.Layer):
    build = CallsTorch.__dict__["build"].__wrapped__

    def call(self, x: Any) -> Any:
        return torch.nn.functional.softplus(x) * self.scale


def test_a_layer_that_calls_torch_trains_eagerly(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    models = []
    for room, layer in ((keras, CallsTorch), (real, CallsTorchReal)):

        class Net(room.Model):
            def __init__(self, room: Any = room, layer: Any = layer):
                super().__init__()
                self.first, self.own, self.last = room.layers.Dense(3), layer(name="own"), room.layers.Dense(2)

            def call(self, x: Any) -> Any:
                return self.last(self.own(self.first(x)))

        model = Net()
        model(X)
        model.set_weights([numbers(w.shape, i) for i, w in enumerate(model.weights)])
        model.compile("adam", "mse", metrics=["mae"])
        models.append(model)
    ours, theirs = models
    histories(ours, theirs, X, Y, epochs=2)
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "eagerly" in told[0] and "softplus" in told[0] and "own" in told[0]
    with pytest.raises(TraceError, match=r"softplus.*own"):
        kcompile.export(ours, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_custom_losses_metrics_and_schedules() -> None:
    found = []
    for room in (keras, real):

        class Loss(room.losses.Loss):
            def call(self, y: Any, p: Any, room: Any = room) -> Any:
                return room.ops.mean(room.ops.abs(y - p) ** 3, axis=-1)

        class Largest(room.metrics.Metric):
            def __init__(self, name: str = "largest"):
                super().__init__(name=name)
                self.value = self.add_variable((), initializer="zeros", name="value")

            def update_state(self, y: Any, p: Any, sample_weight: Any = None, room: Any = room) -> None:
                self.value.assign(room.ops.maximum(self.value, room.ops.max(room.ops.abs(y - p))))

            def result(self) -> Any:
                return self.value.value

        model = regressor(room)
        model.set_weights([numbers(w.shape, i) for i, w in enumerate(model.weights)])
        model.compile("sgd", Loss(), metrics=[Largest()])
        found.append(model.fit(X, Y, epochs=2, verbose=0, shuffle=False, batch_size=6).history)
    assert list(found[0]) == list(found[1])
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)


def test_compute_loss_and_added_losses() -> None:
    models = []
    for room in (keras, real):

        class Penalty(room.layers.Layer):
            def call(self, x: Any, room: Any = room) -> Any:
                self.add_loss(0.1 * room.ops.mean(x * x))
                return x

        x = room.Input((4,))
        model = room.Model(x, room.layers.Dense(2)(Penalty()(room.layers.Dense(3)(x))))
        model.set_weights([numbers(w.shape, i) for i, w in enumerate(model.weights)])
        model.compile("sgd", "mse")
        models.append(model)
    histories(*models, X, Y, epochs=2)


def test_the_learning_rate_can_be_set_between_epochs() -> None:
    models = both(regressor)
    for model in models:
        model.compile("sgd", "mse")
    histories(*models, X, Y)
    for model in models:
        model.optimizer.learning_rate = 0.5
    histories(*models, X, Y)
    assert float(array(models[0].optimizer.learning_rate)) == 0.5


def test_weights_set_between_fits_are_trained_on() -> None:
    models = both(regressor)
    for model in models:
        model.compile("sgd", "mse")
    histories(*models, X, Y)
    for model in models:
        model.set_weights([numbers(w.shape, 7) for w in model.weights])
    histories(*models, X, Y)


def test_freezing_between_fits_takes_effect_after_compile() -> None:
    models = both(regressor)
    for model in models:
        model.compile("sgd", "mse")
        model.layers[0].trainable = False
        model.compile("sgd", "mse")
    histories(*models, X, Y)


def test_mixed_float16_trains() -> None:
    """Two halves' rounding over a few steps: 2^-8 of the largest weight."""
    models = both(lambda room: regressor(room, dtype="mixed_bfloat16"))
    for model in models:
        model.compile("sgd", "mse")
    found = [m.fit(X, Y, verbose=0, shuffle=False).history["loss"] for m in models]
    np.testing.assert_allclose(found[0], found[1], rtol=2**-6)
    assert all(w.dtype == "float32" for w in models[0].weights)


# ---- errors that a user makes


def compiled(**options: Any) -> Any:
    def make(room: Any) -> Any:
        model = regressor(room)
        model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
        return model

    return make


ERRORS: list[tuple[Any, Any, str]] = [
    (compiled(), lambda m: m.fit(X, Y[:-1], verbose=0), "cardinality"),
    (compiled(), lambda m: m.fit(numbers((5, 3)), Y[:5], verbose=0), "shape|axis"),
    (regressor, lambda m: m.fit(X, Y, verbose=0), "compile"),
    (regressor, lambda m: m.evaluate(X, Y, verbose=0), "compile"),
    (compiled(loss="msee"), lambda m: m.fit(X, Y, verbose=0), "msee"),
    (compiled(metrics=["maee"]), lambda m: m.fit(X, Y, verbose=0), "maee"),
    (compiled(loss=None), lambda m: m.fit(X, Y, verbose=0), "loss"),
    (compiled(), lambda m: m.fit(X, Y, validation_split=0.99, verbose=0), "split"),
    (compiled(), lambda m: m.fit(X, Y, sample_weight=WEIGHTS, class_weight={0: 1.0}, verbose=0), "weight"),
]  # fmt: skip


@pytest.mark.parametrize("make, act, words", ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors(make: Any, act: Any, words: str) -> None:
    # Real Keras raises AttributeError where a model that was never compiled is evaluated.
    with pytest.raises((ValueError, AttributeError)):
        act(make(real))
    with pytest.raises((ValueError, KcompileError), match=words) as caught:
        act(make(keras))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


UNKNOWN = [("loss", "mean_squared_eror", "mean_squared_error"), ("optimizer", "adamm", "adam"),
           ("metrics", ["sparse_categorical_acuracy"], "sparse_categorical_accuracy")]  # fmt: skip


@pytest.mark.parametrize("what, name, meant", UNKNOWN)
def test_unknown_names_are_answered_with_the_nearest(what: str, name: Any, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        compiled(**{what: name})(keras).fit(X, Y, verbose=0)


def test_predict_needs_no_compile_and_takes_lists() -> None:
    ours, theirs = both(regressor)
    for x in (X, X.astype("float64")):
        same(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
    same(ours.predict(X.tolist(), verbose=0), theirs.predict(X, verbose=0))


def test_fit_prints_epochs_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    compiled(metrics=["mae"])(keras).fit(X, Y, epochs=2, batch_size=10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2"
    assert lines[1].startswith("2/2 ") and " - loss: " in lines[1] and " - mae: " in lines[1]
    compiled()(keras).fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""

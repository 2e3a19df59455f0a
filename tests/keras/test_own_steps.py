"""Models that override train_step and its kin, as written for Keras on torch: the same code in both Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import close, keras, numbers, real

X, Y = numbers((24, 3), 0, "float32"), numbers((24, 2), 1, "float32")


def network(room: Any) -> list[Any]:
    return [room.layers.Dense(4, activation="tanh"), room.layers.Dense(2)]


def by_hand(room: Any) -> Any:
    """Forward, backward and update written out; a metric of the model's own."""

    class ByHand(room.Model):
        def __init__(self) -> None:
            super().__init__(name="by_hand")
            self.parts = network(room)
            self.error = room.metrics.Mean(name="error")

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def train_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            loss.backward()
            variables = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
            self.error.update_state(room.ops.mean(room.ops.abs(room.ops.stop_gradient(y - y_pred))))
            return {"error": self.error.result(), "twice": 2 * float(loss.detach())}

    return ByHand()


def on_top(room: Any) -> Any:
    """super().train_step with the inputs changed."""

    class OnTop(room.Model):
        def __init__(self) -> None:
            super().__init__(name="on_top")
            self.parts = network(room)

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def train_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            return super().train_step((x * 2.0, y))

        def test_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            return super().test_step((x * 2.0, y))

        def predict_step(self, data: Any) -> Any:
            return super().predict_step(data) + 1.0

    return OnTop()


def own_loss(room: Any) -> Any:
    """compute_loss overridden: traced like the default."""

    class OwnLoss(room.Model):
        def __init__(self) -> None:
            super().__init__(name="own_loss")
            self.parts = network(room)

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            return room.ops.mean(room.ops.abs(y - y_pred)) + 0.1 * room.ops.mean(room.ops.square(self.parts[0].kernel))

    return OwnLoss()


@pytest.mark.parametrize("make", [by_hand, on_top, own_loss], ids=lambda m: m.__name__)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_trains_as_in_keras(make: Any, optimizer: str) -> None:
    models = [make(room) for room in (keras, real)]
    for model, room in zip(models, (keras, real), strict=True):
        model(X)
        model.compile(getattr(room.optimizers, optimizer)(0.05), "mse", metrics=["mae"] if make is on_top else None)
    models[0].set_weights(models[1].get_weights())
    histories = [m.fit(X, Y, batch_size=10, epochs=3, shuffle=False, verbose=0).history for m in models]
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=2e-5, err_msg=key)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        close(a, b, 2e-5, what="weight")
    close(models[0].predict(X, verbose=0), models[1].predict(X, verbose=0), 2e-5, what="prediction")
    if make is not by_hand:
        found = [m.evaluate(X, Y, verbose=0, return_dict=True) for m in models]
        assert found[0].keys() == found[1].keys()
        np.testing.assert_allclose(list(found[0].values()), list(found[1].values()), rtol=2e-5)


class Batches(keras.callbacks.Callback):
    """What a callback sees of batches, and the values that it sees there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("begin", batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("end", batch, round(logs[next(iter(logs))], 5)))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("test", batch))

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("predict", batch, len(logs["outputs"])))


def trained(make: Any, **options: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    """(model, what callbacks saw, history) of the same training under different options."""
    model, watch = make(keras), Batches()
    model(X)
    model.set_weights([numbers(w.shape, i) for i, w in enumerate(model.weights)])
    model.compile("sgd", "mse", **options)
    found = model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
    model.evaluate(X, Y, batch_size=5, verbose=0, callbacks=[watch])
    model.predict(X, batch_size=5, verbose=0, callbacks=[watch])
    return model, watch.seen, found.history


STEPS = [by_hand, on_top, own_loss]


@pytest.mark.parametrize("make", STEPS, ids=lambda m: m.__name__)
def test_steps_per_execution_groups_what_callbacks_see(make: Any) -> None:
    """24 rows are 5 batches, so groups of 2 end at batches 1, 3 and 4; the numbers stay the same."""
    one, each, history = trained(make)
    two, grouped, history2 = trained(make, steps_per_execution=2)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == history2
    begins = [s[1] for s in grouped if s[0] == "begin"]
    assert begins == [0, 2, 4] * 2
    ends = [s for s in grouped if s[0] == "end"]
    assert [s[1] for s in ends] == [1, 3, 4] * 2
    assert set(ends) <= {s for s in each if s[0] == "end"}
    assert [s[1] for s in grouped if s[0] == "test"] == [1, 3, 4]
    assert [s[1:] for s in grouped if s[0] == "predict"] == [(1, 10), (3, 10), (4, 4)]


@pytest.mark.parametrize("make", STEPS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"run_eagerly": True, "steps_per_execution": 3}], ids=str)
def test_run_eagerly_gives_the_same_numbers(make: Any, options: dict[str, Any]) -> None:
    plain, _, history = trained(make)
    eager, _, history2 = trained(make, **options)
    for key in history:
        np.testing.assert_allclose(history[key], history2[key], rtol=1e-5)
    for a, b in zip(plain.get_weights(), eager.get_weights(), strict=True):
        close(a, b, 1e-5, what="weight")


def test_run_eagerly_runs_python_for_each_batch() -> None:
    calls: list[int] = []

    class Counting(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            calls.append(1)
            return x

    model = keras.Sequential([keras.Input((3,)), Counting(), keras.layers.Dense(2)])
    for eagerly, wanted in ((True, 4), (False, 1)):
        model.compile("sgd", "mse", run_eagerly=eagerly)
        calls.clear()
        model.fit(X, Y, batch_size=6, verbose=0)
        assert len(calls) == wanted


def has_compiler() -> bool:
    try:
        torch.compile(lambda x: x + 1)(torch.ones(3))
    except Exception:
        return False
    return True


@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a working C++ compiler")
@pytest.mark.parametrize("make", [on_top, own_loss], ids=lambda m: m.__name__)
def test_jit_compile_gives_the_same_numbers(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plain, _, history = trained(make)
    jitted, _, history2 = trained(make, jit_compile=True)
    for key in history:
        np.testing.assert_allclose(history[key], history2[key], rtol=1e-5)
    for a, b in zip(plain.get_weights(), jitted.get_weights(), strict=True):
        close(a, b, 1e-5, what="weight")
    told = capsys.readouterr().err
    if make is own_loss:
        assert told == "" and jitted._steps["train"].traced.runner.forward.forward.run is not plain
    else:
        assert "the model's own train_step runs as it is, without jit_compile" in told


def test_jit_compile_without_a_compiler_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no C++ compiler"), None)

    monkeypatch.setattr(torch, "compile", lambda module: broken)
    history = trained(own_loss)[2]
    history2 = trained(own_loss, jit_compile=True)[2]
    assert history == history2
    told = capsys.readouterr().err.strip().splitlines()
    # For the steps of fit, evaluate and predict.
    assert len(told) == 1 and "jit_compile" in told[0] and "no C++ compiler" in told[0]


def test_options_that_make_no_sense() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match="without effect"):
        model.compile("sgd", "mse", run_eagerly=True, jit_compile=True)
    for steps in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match="steps_per_execution"):
            model.compile("sgd", "mse", steps_per_execution=steps)

"""Callbacks against real Keras: the same logs, the same decisions; and inside fit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.errors import UsageError
from tests.keras.support import keras, numbers, real

FALLING = [1.0, 0.8, 0.7, 0.69, 0.72, 0.71, 0.7, 0.73, 0.6, 0.65, 0.66, 0.67, 0.68, 0.5, 0.51]
FLAT = [1.0] * 8
RISING = [0.1, 0.5, 0.5, 0.6, 0.55, 0.61, 0.61, 0.6, 0.6]
NAN = [1.0, float("nan"), 0.9, float("nan"), float("nan"), 0.8]
SERIES = {"falling": FALLING, "flat": FLAT, "rising": RISING, "nan": NAN}


class Weighted:
    """As much of a model as callbacks touch: weights that are the epoch's number, an optimizer with a rate."""

    def __init__(self, room: Any) -> None:
        self.stop_training = False
        self.optimizer = room.optimizers.SGD(0.1)
        self.metrics: list[Any] = []
        self.weights = [np.array([-1.0])]

    def get_weights(self) -> list[np.ndarray]:
        return [w.copy() for w in self.weights]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = weights


def rate(model: Weighted) -> float:
    return float(np.asarray(model.optimizer.learning_rate.numpy()))


def drive(room: Any, make: Any, values: list[float], name: str) -> list[Any]:
    """(learning rate, stopped, weights) after each epoch, as a callback leaves them."""
    model, callback = Weighted(room), make(room.callbacks)
    callback.set_model(model)
    callback.on_train_begin()
    seen: list[Any] = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.weights = [np.array([float(epoch)])]
        logs = {name: value, "loss": 0.0}
        callback.on_epoch_end(epoch, logs)
        seen.append((round(rate(model), 7), model.stop_training, round(float(logs.get("learning_rate", 0)), 7)))
        if model.stop_training:
            break
    callback.on_train_end()
    return [*seen, float(model.weights[0][0])]


STOPPING = [
    {}, {"patience": 2}, {"patience": 3, "min_delta": 0.05}, {"patience": 2, "restore_best_weights": True},
    {"patience": 2, "baseline": 0.75}, {"patience": 1, "start_from_epoch": 4, "restore_best_weights": True},
    {"patience": 2, "mode": "max"}, {"patience": 2, "mode": "min", "restore_best_weights": True},
]  # fmt: skip


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("options", STOPPING, ids=str)
def test_early_stopping(options: dict[str, Any], series: str) -> None:
    found = [drive(room, lambda c: c.EarlyStopping(**options), SERIES[series], "val_loss") for room in (keras, real)]
    assert found[0] == found[1]


PLATEAUS = [{"patience": 1}, {"patience": 2, "factor": 0.5, "cooldown": 2}, {"patience": 1, "min_lr": 0.03},
            {"patience": 2, "min_delta": 0.05}, {"patience": 2, "mode": "max"}]  # fmt: skip


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_reduce_on_plateau(options: dict[str, Any], series: str) -> None:
    found = [drive(r, lambda c: c.ReduceLROnPlateau(**options), SERIES[series], "val_loss") for r in (keras, real)]
    assert found[0] == found[1]


@pytest.mark.parametrize("schedule", [lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: rate * 0.9])
def test_learning_rate_scheduler(schedule: Any) -> None:
    found = [drive(r, lambda c: c.LearningRateScheduler(schedule), FLAT, "loss") for r in (keras, real)]
    assert found[0] == found[1]


def fitted(callbacks: list[Any], epochs: int = 4, validated: bool = True) -> Any:
    x, y = numbers((24, 3), 0, "float32"), numbers((24, 2), 1, "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(x, y, epochs=epochs, validation_data=(x, y) if validated else None, callbacks=callbacks, verbose=0)
    return model


def test_checkpoints_hold_what_the_model_held(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen[epoch + 1] = self.model.get_weights()

    path = str(tmp_path / "inner" / "m-{epoch:02d}-{val_loss:.2f}.keras")
    fitted([Keep(), keras.callbacks.ModelCheckpoint(path)])
    files = sorted((tmp_path / "inner").iterdir())
    assert [f.name[:4] for f in files] == ["m-01", "m-02", "m-03", "m-04"]
    for epoch, file in enumerate(files, 1):
        for theirs in (keras.saving.load_model(file), real.saving.load_model(file)):
            for a, b in zip(theirs.get_weights(), seen[epoch], strict=True):
                np.testing.assert_array_equal(a, b)


def test_checkpoints_of_the_best_only(tmp_path: Path) -> None:
    model = Weighted(keras)
    saved: list[str] = []
    model.save_weights = lambda path, overwrite: saved.append(Path(path).name)  # type: ignore[attr-defined]
    callback = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_best_only=True, save_weights_only=True
    )
    callback.set_model(model)
    for epoch, value in enumerate(FALLING):
        callback.on_epoch_end(epoch, {"val_loss": value})
    assert saved == [f"{n}.weights.h5" for n in (1, 2, 3, 4, 9, 14)]


def test_checkpoint_names_what_is_not_logged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="acc"):
        fitted([keras.callbacks.ModelCheckpoint(str(tmp_path / "{acc}.keras"))], 1)
    with pytest.raises(ValueError, match=r"end in `\.keras`"):
        keras.callbacks.ModelCheckpoint("model.h5")


@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_logger(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "log.csv"
    model = fitted([keras.callbacks.CSVLogger(path, separator=separator)])
    fitted([keras.callbacks.CSVLogger(path, separator=separator, append=True)], 2)
    rows = list(csv.reader(path.open(), delimiter=separator))
    assert rows[0] == ["epoch", "loss", "val_loss"]
    assert [r[0] for r in rows[1:]] == ["0", "1", "2", "3", "0", "1"]
    np.testing.assert_allclose([float(r[1]) for r in rows[1:5]], model.history.history["loss"], rtol=1e-6)


def test_missing_value_is_said() -> None:
    # One that would come with validation is waited for, a slip is none.
    with pytest.warns(UserWarning, match="`val_loss` is not available. Available metrics are: loss"):
        fitted([keras.callbacks.EarlyStopping("val_loss")], 1, validated=False)


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


def trainee(seeded: bool) -> Any:
    keras.utils.set_random_seed(3)
    drop = keras.layers.Dropout(0.5, seed=7 if seeded else None)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, activation="relu"), drop, keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


@pytest.mark.parametrize("seeded", [False, True])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, seeded: bool) -> None:
    x, y = numbers((40, 3), 0, "float32"), numbers((40, 2), 1, "float32")

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.epoch == 3 and batch == 1:
                raise Killed

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

    whole = trainee(seeded)
    whole.fit(x, y, batch_size=8, epochs=6, verbose=0)
    first = trainee(seeded)
    with pytest.raises(Killed):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        first.fit(x, y, batch_size=8, epochs=6, verbose=0, callbacks=[backup, Kill()])
    # What the dead process had drawn since is of no account to the next.
    second = trainee(seeded)
    keras.utils.set_random_seed(99)
    history = second.fit(
        x, y, batch_size=8, epochs=6, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")]
    )
    assert history.epoch == [3, 4, 5]
    for a, b in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list((tmp_path / "backup").iterdir())


def test_a_backup_of_another_model_is_refused(tmp_path: Path) -> None:
    callback = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    fitted([callback], 1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    with pytest.raises(UsageError, match="another model"):
        model.fit(numbers((8, 3), 0, "float32"), numbers((8, 2), 1, "float32"), verbose=0, callbacks=[callback])


def test_terminate_on_nan_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for room in (keras, real):
        model = room.Sequential([room.Input((3,)), room.layers.Dense(1, kernel_initializer="ones")])
        model.compile(room.optimizers.SGD(1e30), "mse")
        x, callback = np.ones((8, 3), "float32"), room.callbacks.TerminateOnNaN()
        history = model.fit(x, x[:, :1], batch_size=2, epochs=3, verbose=0, callbacks=[callback])
        shown.append((len(history.history["loss"]), capsys.readouterr().out.strip()))
    assert shown[0] == shown[1] and "Invalid loss" in shown[0][1]


def directions() -> dict[str, tuple[Any, bool]]:
    """A metric by the name that it is given, and whether it should grow: by the name nothing tells."""
    return {
        "area": (lambda k: k.metrics.AUC(name="area"), True),
        "fit_": (lambda k: k.metrics.R2Score(name="fit_"), True),
        "gap": (lambda k: k.metrics.MeanSquaredError(name="gap"), False),
        "likeness": (lambda k: k.metrics.CosineSimilarity(name="likeness"), True),
        "mine": (lambda k: k.metrics.MeanMetricWrapper(k.losses.mean_absolute_error, name="mine"), False),
    }


@pytest.mark.parametrize("name", directions())
def test_a_renamed_metric_is_watched_the_right_way(name: str) -> None:
    make, grows = directions()[name]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "mse", metrics=[make(keras)])
    watching = keras.callbacks.EarlyStopping(monitor=f"val_{name}")
    data = np.ones((4, 2), "float32"), np.array([[0.0], [1.0], [1.0], [0.0]], "float32")
    model.fit(*data, validation_data=data, callbacks=[watching], verbose=0)
    assert watching.mode == ("max" if grows else "min")

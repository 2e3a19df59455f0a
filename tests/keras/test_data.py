"""Data of every kind that fit, evaluate and predict take: PyDatasets with workers, pandas, loaders, generators."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from kcompile.errors import KcompileError, UsageError
from tests.keras.support import array, arrays, keras, numbers, real, same
from tests.keras.test_models import both
from tests.keras.test_training import HOT, LABELS, ROWS, WEIGHTS, X, Y, classifier, histories, regressor

pandas = pytest.importorskip("pandas")
TABLE = pandas.DataFrame(X, columns=list("abcd"))
SIZE = 6
COUNT = -(-ROWS // SIZE)


def dataset(room: Any, *data: Any, batches: int | None = COUNT, **options: Any) -> Any:
    """A PyDataset of the rows of arrays; endless ones start again behind the last batch."""

    class Rows(room.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__(**options)
            self.events: list[str] = []

        def __getitem__(self, index: int) -> Any:
            part = slice(index % COUNT * SIZE, (index % COUNT + 1) * SIZE)
            return tuple(a[part] for a in data)

        @property
        def num_batches(self) -> int | None:
            return batches

        def on_epoch_begin(self) -> None:
            self.events.append("begin")

        def on_epoch_end(self) -> None:
            self.events.append("end")

    return Rows()


def alive() -> tuple[int, int]:
    """Threads and processes of this process."""
    return threading.active_count(), len(multiprocessing.active_children())


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Whatever a test starts is gone behind it."""
    before = alive()
    yield
    for _ in range(50):
        if alive() <= before:
            return
        time.sleep(0.1)
    assert alive() <= before


WORKERS: list[dict[str, Any]] = [
    {}, {"workers": 3}, {"workers": 2, "max_queue_size": 1}, {"workers": 2, "use_multiprocessing": True},
    {"workers": 1, "use_multiprocessing": True}, {"workers": 0}, {"workers": 2, "max_queue_size": 0},
]  # fmt: skip


@pytest.mark.parametrize("options", WORKERS, ids=str)
@pytest.mark.usefixtures("no_leaks")
def test_datasets_train_as_in_keras(options: dict[str, Any]) -> None:
    ours, theirs = both(regressor)
    found = []
    for room, model in ((keras, ours), (real, theirs)):
        model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
        data = dataset(room, X, Y, WEIGHTS, **(options if room is keras else {}))
        history = model.fit(data, epochs=2, verbose=0, shuffle=False, validation_data=dataset(room, X + 1, Y)).history
        found.append((history, model.evaluate(data, verbose=0, return_dict=True), model.predict(data, verbose=0)))
        assert model.evaluate(data, steps=2, verbose=0) != model.evaluate(data, verbose=0)
    assert list(found[0][0]) == list(found[1][0])
    for a, b in zip(found[0][:2], found[1][:2], strict=True):
        for name in b:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-5, err_msg=name)
    same(found[0][2], found[1][2], 5e-5)
    same(ours.get_weights(), theirs.get_weights(), 5e-5)


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"workers": 2, "use_multiprocessing": True}], ids=str)
@pytest.mark.usefixtures("no_leaks")
def test_endless_datasets_go_on_where_an_epoch_ended(options: dict[str, Any]) -> None:
    ours, theirs = both(regressor)
    for room, model in ((keras, ours), (real, theirs)):
        model.compile("sgd", "mse")
        data = dataset(room, X, Y, batches=None, **(options if room is keras else {}))
        model.fit(data, epochs=3, steps_per_epoch=3, verbose=0, validation_data=dataset(room, X, Y, batches=None),
                  validation_steps=2)  # fmt: skip
    same(ours.get_weights(), theirs.get_weights(), 5e-5)


def seen(data: Any, **fit: Any) -> list[list[float]]:
    """The first number of each batch that fit trains on, by epoch."""
    epochs: list[list[float]] = []

    class Watch(keras.Model):
        def train_step(self, batch: Any) -> Any:
            epochs[-1].append(float(keras.tree.flatten(batch)[0].reshape(-1)[0]))
            return {}

    class Mark(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            epochs.append([])

    model = Watch()
    model.compile("sgd")
    model.fit(data, verbose=0, callbacks=[Mark()], **fit)
    return epochs


NUMBERED = np.arange(ROWS, dtype="float32")
FIRST = [0.0, 6.0, 12.0, 18.0]


@pytest.mark.parametrize("options", [{}, {"workers": 3}], ids=str)
def test_fit_shuffles_batches_and_not_rows(options: dict[str, Any]) -> None:
    random.seed(3)
    epochs = seen(dataset(keras, NUMBERED, batches=COUNT, **options), epochs=4)
    assert all(sorted(e) == FIRST for e in epochs)
    assert len({tuple(e) for e in epochs}) > 1
    random.seed(3)
    assert seen(dataset(keras, NUMBERED, **options), epochs=4) == epochs
    assert seen(dataset(keras, NUMBERED, **options), epochs=2, shuffle=False) == [FIRST, FIRST]


def test_batch_shuffling_of_arrays_keeps_rows_together() -> None:
    epochs = seen(NUMBERED, batch_size=SIZE, epochs=6, shuffle="batch")
    assert all(sorted(e) == FIRST for e in epochs) and len({tuple(e) for e in epochs}) > 1


def test_epoch_events_and_data_that_changes_between_epochs() -> None:
    class Growing(keras.utils.PyDataset):
        epoch = 0

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return np.full((2, 1), 10 * self.epoch + index, "float32")

        def on_epoch_end(self) -> None:
            self.epoch += 1

    for options in ({}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True}):
        data = Growing(**options)
        assert seen(data, epochs=3, shuffle=False) == [[0, 1], [10, 11], [20, 21]]
    data = dataset(keras, NUMBERED)
    seen(data, epochs=2)
    assert data.events == ["begin", "end"] * 2


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"workers": 2, "use_multiprocessing": True}], ids=str)
@pytest.mark.usefixtures("no_leaks")
def test_errors_in_workers_arrive_with_their_origin(options: dict[str, Any]) -> None:
    class Broken(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> Any:
            if index == 3:
                raise KeyError(f"image {index}")
            return X[:2], Y[:2]

    model = regressor(keras)
    model.compile("sgd", "mse")
    with pytest.raises(KeyError, match="image 3") as caught:
        model.fit(Broken(**options), verbose=0, shuffle=False)
    assert any("Broken.__getitem__(3)" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("no_leaks")
def test_a_worker_that_dies_is_an_error_and_no_hang() -> None:
    class Dying(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            if index == 2:
                os._exit(1)
            return X[:2], Y[:2]

    model = regressor(keras)
    model.compile("sgd", "mse")
    with pytest.raises(UsageError, match="Dying: a worker process ended"):
        model.fit(Dying(workers=2, use_multiprocessing=True), verbose=0, shuffle=False)


@pytest.mark.parametrize("options", [{"workers": 3}, {"workers": 2, "use_multiprocessing": True}], ids=str)
@pytest.mark.usefixtures("no_leaks")
def test_training_that_stops_early_ends_the_workers(options: dict[str, Any]) -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.params["epochs"] == 1:
                raise RuntimeError("enough")
            self.model.stop_training = True

    model = regressor(keras)
    model.compile("sgd", "mse")
    data = dataset(keras, X, Y, batches=None, **options)
    history = model.fit(data, epochs=5, steps_per_epoch=10, verbose=0, callbacks=[Stop()])
    assert len(history.epoch) == 1
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(data, epochs=1, steps_per_epoch=10, verbose=0, callbacks=[Stop()])


def test_a_dataset_that_forgets_super_has_defaults() -> None:
    class Plain(keras.utils.Sequence):
        def __init__(self) -> None:
            self.rows = X

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return self.rows[:3], Y[:3]

    data = Plain()
    assert (data.workers, data.use_multiprocessing, data.max_queue_size) == (1, False, 10)
    assert len(list(data)) == 2 == data.num_batches
    model = regressor(keras)
    model.compile("sgd", "mse")
    assert len(model.fit(data, verbose=0).history["loss"]) == 1


# ---- pandas


def pandas_cases() -> list[tuple[str, Any, dict[str, Any]]]:
    table_y = pandas.DataFrame(Y)
    weights, labels = pandas.Series(WEIGHTS), pandas.Series(LABELS)
    return [
        ("table", (TABLE, table_y), {}),
        ("table and weights", (TABLE, table_y), {"sample_weight": weights}),
        ("float64", (TABLE.astype("float64"), table_y.astype("float64")), {}),
        ("whole numbers", (TABLE.round().astype("int64"), table_y), {}),
        ("other index", (TABLE.set_index(np.arange(ROWS)[::-1] * 0.5), table_y), {"validation_split": 0.25}),
        ("validation", (TABLE, table_y), {"validation_data": (TABLE[:7] + 1, table_y[:7])}),
        ("labels", (TABLE, labels), {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}),
    ]


@pytest.mark.parametrize("name, data, options", pandas_cases(), ids=[c[0] for c in pandas_cases()])
def test_pandas(name: str, data: Any, options: dict[str, Any]) -> None:
    ours, theirs = both(classifier if name == "labels" else regressor)
    for model in (ours, theirs):
        model.compile("sgd", "sparse_categorical_crossentropy" if name == "labels" else "mse")
    histories(ours, theirs, *data, epochs=2, **options)
    same(ours.predict(data[0], verbose=0), theirs.predict(data[0], verbose=0), 5e-5)


def columns(room: Any) -> Any:
    """A model of two named inputs, each a column."""
    a, b = room.Input((1,), name="a"), room.Input((1,), name="b")
    return room.Model({"a": a, "b": b}, room.layers.Dense(2)(room.layers.Concatenate()([a, b])))


def test_dicts_of_columns_and_of_a_table() -> None:
    ours, theirs = both(columns)
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    histories(ours, theirs, {"a": TABLE["a"], "b": TABLE["b"]}, pandas.DataFrame(Y), epochs=2)
    histories(ours, theirs, dict(TABLE[["a", "b"]]), Y, epochs=2)
    assert len(ours.predict(dict(TABLE[["a", "b"]]), verbose=0)) == ROWS


def test_tables_that_numpy_can_not_hold() -> None:
    model = regressor(keras)
    model.compile("sgd", "mse")
    mixed = TABLE.assign(a=TABLE["a"] > 0, b=TABLE["b"].astype("Float32"))
    plain = mixed.astype("float32")
    same(model.predict(mixed, verbose=0), model.predict(plain, verbose=0))
    with pytest.raises(ValueError, match=r"column 'a' holds .*, not numbers"):
        model.predict(TABLE.assign(a="x"), verbose=0)


def test_pandas_is_not_imported() -> None:
    code = "import sys, numpy as np; from kcompile import keras as k\nm = k.Sequential([k.Input((2,)), k.layers.Dense(1)])\n"
    code += "m.compile('sgd', 'mse'); m.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)\nassert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- combinations


def two_outputs(room: Any) -> Any:
    x = room.Input((4,), name="x")
    return room.Model(x, {"p": room.layers.Dense(2, name="p")(x), "q": room.layers.Dense(1, name="q")(x)})


def listed_outputs(room: Any) -> Any:
    x = room.Input((4,), name="x")
    return room.Model(x, [room.layers.Dense(2, name="q")(x), room.layers.Dense(2, name="p")(x)])


Q = numbers((ROWS, 1), 5)
BY_OUTPUT: list[tuple[str, Any, Any, Any]] = [
    ("one for all", two_outputs, {"p": Y, "q": Q}, WEIGHTS),
    ("each its own", two_outputs, {"p": Y, "q": Q}, {"p": WEIGHTS, "q": WEIGHTS[::-1].copy()}),
    ("lists", listed_outputs, [Y, -Y], [WEIGHTS, WEIGHTS[::-1].copy()]),
    ("dicts for a list", listed_outputs, {"p": Y, "q": -Y}, None),
]


@pytest.mark.parametrize("name, make, y, weights", BY_OUTPUT, ids=[c[0] for c in BY_OUTPUT])
def test_sample_weights_by_output(name: str, make: Any, y: Any, weights: Any) -> None:
    ours, theirs = both(make)
    for model in (ours, theirs):
        model.compile("sgd", "mse", weighted_metrics={"p": ["mae"], "q": ["mae"]})
    histories(ours, theirs, X, y, epochs=2, sample_weight=weights)


def generator(size: int = 5, *data: Any) -> Iterator[Any]:
    for i in itertools.count():
        part = slice(i * size % ROWS, i * size % ROWS + size)
        yield tuple(a[part] for a in data or (X, Y))


def loader(room: Any = None) -> Any:
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=5)


TRAINED: dict[str, Any] = {
    "arrays": lambda room: ((X, Y), {"batch_size": 5}),
    "tensors": lambda room: ((torch.from_numpy(X), torch.from_numpy(Y)), {"batch_size": 5}),
    "generator": lambda room: ((generator(),), {"steps_per_epoch": 3}),
    "loader": lambda room: ((loader(),), {}),
    "dataset": lambda room: ((dataset(room, X, Y),), {}),
    "arrays, steps": lambda room: ((X, Y), {"steps_per_epoch": 3}),
}
VALIDATED: dict[str, Any] = {
    "arrays": lambda room: {"validation_data": (X + 1, Y), "validation_batch_size": 7},
    "weighted": lambda room: {"validation_data": (X + 1, Y, WEIGHTS)},
    "list": lambda room: {"validation_data": [X + 1, Y]},
    "steps": lambda room: {"validation_data": (X + 1, Y), "validation_steps": 2, "validation_batch_size": 4},
    "loader": lambda room: {"validation_data": loader()},
    "dataset": lambda room: {"validation_data": dataset(room, X, Y), "validation_freq": 2},
    "dataset, steps": lambda room: {"validation_data": dataset(room, X, Y), "validation_steps": 1},
    "epochs": lambda room: {"validation_data": (X, Y), "validation_freq": [1, 3], "epochs": 4},
    "later": lambda room: {"validation_data": (X, Y), "initial_epoch": 1, "epochs": 3},
}


@pytest.mark.parametrize(("trained", "validated"), list(itertools.product(TRAINED, VALIDATED)))
def test_kinds_of_training_and_validation_data(trained: str, validated: str) -> None:
    ours, theirs = both(regressor)
    found = []
    for room, model in ((keras, ours), (real, theirs)):
        model.compile("sgd", "mse", metrics=["mae"])
        args, options = TRAINED[trained](room)
        options = {"epochs": 2, "verbose": 0, "shuffle": False, **options, **VALIDATED[validated](room)}
        found.append(model.fit(*args, **options).history)
    assert list(found[0]) == list(found[1])
    for name in found[1]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=2e-5, err_msg=name)
    same(ours.get_weights(), theirs.get_weights(), 5e-5)


def test_lengths_that_are_not_known_are_found() -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(X, Y, strict=True))

    stream = torch.utils.data.DataLoader(Stream(), batch_size=5)
    model, steps = regressor(keras), []
    model.compile("sgd", "mse")

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            steps.append(0)

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            steps[-1] += 1

    model.fit(stream, epochs=2, verbose=0, callbacks=[Watch()])
    assert steps == [4, 4]
    once = itertools.islice(generator(), 7)
    with pytest.warns(UserWarning, match="ran out of data"):
        history = model.fit(once, epochs=3, verbose=0)
    assert len(history.epoch) == 1
    with pytest.raises(KcompileError, match="no batch"), pytest.warns(UserWarning):
        model.fit(iter([]), verbose=0)


ERRORS: list[tuple[str, Any, Any, str]] = [
    ("y beside a generator", lambda r: generator(), {"y": Y}, "`y` must not be given"),
    ("weights beside a loader", loader, {"sample_weight": WEIGHTS}, "`sample_weight` must not be given"),
    ("y beside a dataset", lambda r: dataset(r, X), {"y": Y}, "`y` must not be given"),
    ("class weights of a generator", lambda r: generator(), {"class_weight": {0: 1.0}}, "class_weight"),
    ("class weights of a loader", loader, {"class_weight": {0: 1.0}}, "class_weight"),
    ("class and sample weights", lambda r: dataset(r, X, Y, WEIGHTS), {"class_weight": {0: 1.0}}, "same time"),
    ("a split of a generator", lambda r: generator(), {"validation_split": 0.5}, "validation_split"),
    ("a number", lambda r: 3, {}, "Unrecognized data type"),
    ("four parts", lambda r: dataset(r, X, Y, WEIGHTS, Y), {}, "tuple of 4"),
    ("other lengths", lambda r: X, {"y": {"p": Y, "q": Y[1:]}}, "cardinality|structure"),
    ("one weight short", lambda r: X, {"y": [Y, Y], "sample_weight": [WEIGHTS]}, "each output"),
    ("weights of several axes", lambda r: X, {"y": [Y, Y], "sample_weight": Y}, "a number a sample"),
    ("classes of several outputs", lambda r: X, {"y": [Y, Y], "class_weight": {0: 1.0}}, "single output"),
]


@pytest.mark.parametrize("name, make, options, words", ERRORS, ids=[c[0] for c in ERRORS])
def test_errors(name: str, make: Any, options: Any, words: str) -> None:
    for room in (real, keras):
        model = regressor(room)
        model.compile("sgd", "mse")
        with pytest.raises((ValueError, TypeError), match=words if room is keras else None) as caught:
            model.fit(make(room), steps_per_epoch=2, verbose=0, **options)
    assert "\n" not in str(caught.value)


def test_class_weights_of_a_dataset() -> None:
    ours, theirs = both(classifier)
    for room, model in ((keras, ours), (real, theirs)):
        model.compile("sgd", "categorical_crossentropy")
        model.fit(dataset(room, X, HOT), epochs=2, verbose=0, shuffle=False, class_weight={0: 1.0, 1: 3.0})
    same(ours.get_weights(), theirs.get_weights(), 5e-5)


def test_limits_for_quick_trials() -> None:
    model = regressor(keras)
    model.compile("sgd", "mse")
    keras.config.set_max_epochs(2)
    keras.config.set_max_steps_per_epoch(1)
    try:
        with pytest.warns(UserWarning, match="Limiting"):
            assert len(model.fit(X, Y, epochs=9, verbose=0).epoch) == 2
        with pytest.warns(UserWarning, match="Limiting"):
            assert len(model.predict(X, batch_size=3, verbose=0)) == 3
    finally:
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)
    assert len(arrays(model.predict(X, verbose=0))[0]) == ROWS and array(X).shape == (ROWS, 4)

"""Data that stand in their midst where a run is killed: it goes on with the very next batch, to the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

import kcompile
from tests.keras.support import keras

ROWS = 41  # 6 batches of 8, the last one of 1
X = np.random.default_rng(0).random((ROWS, 4)).astype("float32")
Y = X.sum(1, keepdims=True)
Given = dict[str, Any]


class Pieces(keras.utils.PyDataset):  # type: ignore[name-defined,misc]
    def __init__(self, count: int | None = 6, augment: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.count, self.augment, self.read = count, augment, []

    @property
    def num_batches(self) -> int | None:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        rows = slice(8 * (index % 6), 8 * (index % 6) + 8)
        return X[rows] + (np.random.rand() if self.augment else 0), Y[rows]


class Again:
    """Can be started anew; mixes its batches by numpy's generator."""

    def __iter__(self) -> Iterator[Any]:
        for i in np.random.permutation(6):
            yield X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]


def endless() -> Iterator[Any]:
    while True:
        yield from Again()


def loader() -> Any:
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(rows, 8, shuffle=True)


def on_disk(folder: Path) -> Given:
    path = folder / "data.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            file["x"], file["y"] = X, Y
    stored = h5py.File(path)
    return {"x": stored["x"], "y": stored["y"], "batch_size": 8}


def parquet(folder: Path) -> Given:
    pd.DataFrame(X, columns=list("abcd")).assign(y=Y).to_parquet(folder / "data.parquet", row_group_size=7)
    return {"x": kcompile.ParquetDataset(folder / "data.parquet", list("abcd"), "y", buffer=16), "batch_size": 8}


DATA: dict[str, Callable[[Path], Given]] = {
    "arrays": lambda folder: {"x": X, "y": Y, "batch_size": 8},
    "arrays in order": lambda folder: {"x": X, "y": Y, "batch_size": 8, "shuffle": False},
    "batches of arrays": lambda folder: {"x": X, "y": Y, "batch_size": 8, "shuffle": "batch"},
    "arrays on the disk": on_disk,
    "parquet": parquet,
    "dataset": lambda folder: {"x": Pieces()},
    "dataset that draws": lambda folder: {"x": Pieces(augment=True)},
    "endless dataset": lambda folder: {"x": Pieces(None)},
    "dataset with workers": lambda folder: {"x": Pieces(workers=2)},
    "iterable": lambda folder: {"x": Again()},
    "generator": lambda folder: {"x": endless()},
    "loader": lambda folder: {"x": loader()},
}


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


class Kill(keras.callbacks.Callback):  # type: ignore[name-defined,misc]
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 5:
            raise Killed


def trained(given: Given, seed: int, *callbacks: Any, steps: int = 4) -> Any:
    """The model after 8 epochs of fewer steps than the data have."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    keras.utils.set_random_seed(seed)
    model.fit(**given, steps_per_epoch=steps, epochs=8, verbose=0, callbacks=list(callbacks))
    return model


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("steps", [3, 4])
@pytest.mark.parametrize("name", DATA)
def test_goes_on_in_the_midst_of_the_data(tmp_path: Path, name: str, steps: int) -> None:
    """Four steps of six end an epoch early in every second; three end it where the data end."""
    whole = trained(DATA[name](tmp_path), 3, steps=steps)
    backup = tmp_path / "backup"
    with pytest.raises(Killed):
        trained(DATA[name](tmp_path), 3, keras.callbacks.BackupAndRestore(backup), Kill(), steps=steps)
    # What the next process has drawn by then is of no account.
    resumed = trained(DATA[name](tmp_path), 99, keras.callbacks.BackupAndRestore(backup), steps=steps)
    assert resumed.history.epoch == [5, 6, 7]
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_that_have_a_number_are_not_read_again(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with pytest.raises(Killed):
        trained({"x": Pieces()}, 3, keras.callbacks.BackupAndRestore(backup), Kill(), steps=5)
    data = Pieces()
    trained({"x": data}, 3, keras.callbacks.BackupAndRestore(backup), steps=5)
    # Epochs of 5, 1, 5, 1, 5 batches were done; one of 1, one of 5 and one of 1 are left.
    assert len(data.read) == 7

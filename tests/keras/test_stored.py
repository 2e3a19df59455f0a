"""Data that stay on the disk: memory maps, HDF5, Parquet; the same training as from memory, without reading it all."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import kcompile
from kcompile.errors import UsageError
from kcompile.keras.training.parquet import ParquetData
from kcompile.keras.training.stored import Stored, advice, is_stored
from tests.keras.support import keras
from tests.keras.test_data import TABLE, columns
from tests.keras.test_models import both
from tests.keras.test_training import HOT, LABELS, ROWS, WEIGHTS, X, Y, classifier, histories, regressor

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


# ---- memory maps and HDF5


def mapped(folder: Path, a: np.ndarray) -> np.ndarray:
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, a)
    return np.load(path, mmap_mode="r")


def view(folder: Path, a: np.ndarray) -> np.ndarray:
    """A view of a map that is no memmap any more."""
    return np.asarray(mapped(folder, np.repeat(a, 2, axis=0)))[::2]


def hdf5(folder: Path, a: np.ndarray) -> Any:
    file = h5py.File(folder / f"{len(list(folder.iterdir()))}.h5", "w")
    return file.create_dataset("a", data=a)


KEPT = {"memmap": mapped, "view": view, "HDF5": hdf5}
# name: (the model, its loss, x, y, options of fit)
FITS: dict[str, tuple[Any, str, np.ndarray, np.ndarray, dict[str, Any]]] = {
    "shuffled": (regressor, "mse", X, Y, {"shuffle": True}),
    "in order": (regressor, "mse", X, Y, {"shuffle": False}),
    "batches shuffled": (regressor, "mse", X, Y, {"shuffle": "batch"}),
    "split": (regressor, "mse", X, Y, {"validation_split": 0.3}),
    "float64": (regressor, "mse", X.astype(np.float64), Y.astype(np.float64), {}),
    "labels": (classifier, "sparse_categorical_crossentropy", X, LABELS, {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}),
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("name", FITS)
def test_fits_as_arrays_in_memory_do(name: str, kept: str, tmp_path: Path) -> None:
    make, loss, x, y, options = FITS[name]
    found = []
    for data in ((x, y), tuple(KEPT[kept](tmp_path, a) for a in (x, y))):
        keras.utils.set_random_seed(3)
        model = make(keras)
        model.compile("sgd", loss)
        history = model.fit(*data, epochs=2, batch_size=7, verbose=0, **options).history
        found.append((history, model.evaluate(*data, verbose=0), model.predict(data[0], verbose=0).tolist()))
    assert found[0] == found[1]


def test_fits_as_keras_does(tmp_path: Path) -> None:
    ours, theirs = both(regressor)
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    histories(ours, theirs, mapped(tmp_path, X), mapped(tmp_path, Y), epochs=2)


def test_several_inputs_and_some_in_memory(tmp_path: Path) -> None:
    found = []
    for keep in (lambda folder, a: a, hdf5):
        keras.utils.set_random_seed(3)
        model = columns(keras)
        model.compile("sgd", "mse")
        data = {"a": keep(tmp_path, X[:, :1]), "b": X[:, 1:2]}
        found.append(model.fit(data, Y, sample_weight=WEIGHTS, verbose=0).history)
    assert found[0] == found[1]


def test_what_is_no_file_is_an_array(tmp_path: Path) -> None:
    from kcompile.keras.training.stored import is_stored

    kept = mapped(tmp_path, X)
    assert [is_stored(a) for a in (kept, kept[2:], kept.T, kept * 2, X, kept[[1, 2]], 3, kept.sum())] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip


MEMORY = """
import numpy as np
from kcompile import keras

WIDTH, ROWS = 4096, 1_250_000
x = np.lib.format.open_memmap("x.npy", "w+", np.{dtype}, (ROWS, WIDTH))  # sparse: 20 GB or 40
x = np.load("x.npy", mmap_mode="r")
y = np.zeros((ROWS, 1), np.float32)
model = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x[:64], y[:64], verbose=0)

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
for shuffle in (True, "batch", False):
    model.fit(x, y, batch_size=32, shuffle=shuffle, steps_per_epoch=20, verbose=0, validation_split=0.5, validation_steps=20)
model.evaluate(x, y, batch_size=32, steps=20, verbose=0)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_file(dtype: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.format(dtype=dtype)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # Pages of the rows that were read, which the system may take back, and an order of all rows.
    assert int(done.stdout) < 250, done


# ---- tables and loaders


def test_arrow_tables_are_as_those_of_pandas() -> None:
    found = []
    for table, y in ((TABLE, Y), (pa.Table.from_pandas(TABLE), pa.table({"0": Y[:, 0], "1": Y[:, 1]}))):
        keras.utils.set_random_seed(3)
        model = regressor(keras)
        model.compile("sgd", "mse")
        found.append((model.fit(table, y, verbose=0).history, model.predict(table, verbose=0).tolist()))
    assert found[0] == found[1]
    with pytest.raises(UsageError, match=r"Arrow table, column 'a', row 1: it is null"):
        model.predict(pa.table({"a": [1.0, None]}), verbose=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_with_workers_train_as_in_keras(workers: int) -> None:
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(data, 7, num_workers=workers)
    ours, theirs = both(regressor)
    for model in (ours, theirs):
        model.compile("sgd", "mse")
    histories(ours, theirs, loader, epochs=2)


# ---- Parquet


def save(path: Path, rows: int = 5) -> Path:
    """A Parquet file of what other tests train on, and of each row's number."""
    content = {"x": list(X), **dict(zip("abcd", X.T, strict=True)), "y": list(Y), "label": LABELS, "hot": list(HOT)}
    pq.write_table(pa.table({**content, "weight": WEIGHTS, "id": np.arange(ROWS)}), path, row_group_size=rows)
    return path


# name: (features, target, weights, the model, its loss, the same as arrays)
PARTS: dict[str, tuple[Any, Any, Any, Any, str, tuple[Any, ...]]] = {
    "a tensor": ("x", "y", None, regressor, "mse", (X, Y)),
    "numbers": (list("abcd"), "y", "weight", regressor, "mse", (X, Y, WEIGHTS)),
    "labels": ("x", "label", None, classifier, "sparse_categorical_crossentropy", (X, LABELS)),
    "by name": ({"a": "a", "b": ["b"]}, "y", None, columns, "mse", ({"a": X[:, :1], "b": X[:, 1:2]}, Y)),
}


@pytest.mark.parametrize("rows, buffer", [(5, 8), (100, 3), (2, 1000)])
@pytest.mark.parametrize("name", PARTS)
def test_parquet_trains_as_arrays_do(name: str, rows: int, buffer: int, tmp_path: Path) -> None:
    features, target, weights, make, loss, arrays = PARTS[name]
    data = kcompile.ParquetDataset(save(tmp_path / "d.parquet", rows), features, target, weights, buffer=buffer)
    assert len(data) == ROWS
    found = []
    for given in ((data,), arrays):
        keras.utils.set_random_seed(3)
        model = make(keras)
        model.compile("sgd", loss)
        weight = {"sample_weight": given[2]} if len(given) == 3 else {}
        options = {"epochs": 2, "batch_size": 7, "shuffle": False, "verbose": 0, **weight}
        valid = given[0] if len(given) == 1 else given
        history = model.fit(*given[:2], validation_data=valid, **options).history
        score = model.evaluate(*given[:2], batch_size=7, verbose=0, **weight)
        found.append((history, score, model.predict(given[0], batch_size=7, verbose=0).tolist()))
    assert found[0] == found[1]


def order(data: Any, batch: int = 4, shuffle: bool = True) -> list[int]:
    """The numbers of the rows in the order of an epoch."""
    source = ParquetData(data, batch, shuffle)
    batches = [x.flatten().tolist() for x, _, _ in source.batches()]
    assert len(batches) == source.num_batches and all(len(b) == batch for b in batches[:-1])
    return [int(i) for b in batches for i in b]


def test_parquet_is_shuffled_by_the_seed(tmp_path: Path) -> None:
    for name in "ab":
        pq.write_table(pa.table({"id": np.arange(50) + (50 if name == "b" else 0)}), tmp_path / f"{name}.parquet", row_group_size=10)  # fmt: skip
    data = kcompile.ParquetDataset(f"{tmp_path}/*.parquet", "id", buffer=25)
    runs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        runs.append([order(data), order(data)])
    assert runs[0] == runs[1] != runs[2] and runs[0][0] != runs[0][1]
    for epoch in (*runs[0], *runs[2]):
        assert sorted(epoch) == list(range(100))
        # Row groups of both files in a buffer, rows of several groups in a batch.
        assert len({i // 10 for i in epoch[:12]}) > 1
    assert order(data, shuffle=False) == list(range(100))


def test_files_whose_rows_differ_in_rank(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [[[1.0]], [[2.0]]]}), tmp_path / "b.parquet")
    with pytest.raises(
        UsageError, match=r"b\.parquet, column 'x', row 0: its shape is \[1, 1\], that of rows before \[1\]"
    ):
        order(kcompile.ParquetDataset(tmp_path, "x"), shuffle=False)


def test_rows_stay_together_when_they_are_shuffled(tmp_path: Path) -> None:
    ids = np.arange(50)
    pq.write_table(pa.table({"x": ids, "y": 2 * ids, "w": 3 * ids}), tmp_path / "a.parquet", row_group_size=7)
    data = kcompile.ParquetDataset(tmp_path, "x", "y", "w", buffer=20)
    for x, y, weight in ParquetData(data, 8, shuffle=True).batches():
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(weight, 3 * x)


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": np.arange(0)}), tmp_path / "a.parquet")
    assert order(kcompile.ParquetDataset(tmp_path, "id")) == []


ERRORS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no column": ({"a": [1.0]}, {"features": "b"}, r"d\.parquet: it has no column 'b'"),
    "null": ({"a": [1.0, 2.0, 3.0, 4.0, None]}, {"features": "a"}, r"d\.parquet, column 'a', row 4: it is null"),
    "null behind others of its group": (
        {"a": [1.0, 2.0, 3.0, None]},
        {"features": "a", "buffer": 1},
        r"column 'a', row 3: it is null",
    ),
    "shapes": ({"a": [[1.0], [1.0], [1.0, 2.0]]}, {"features": "a"}, r"column 'a', row 2: its shape is \[2\]"),
    "text": ({"a": ["x"]}, {"features": "a"}, r"dtype object can't be trained on"),
    "buffer": ({"a": [1.0]}, {"features": "a", "buffer": 0}, r"buffer must be at least 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_parquet_errors(case: str, tmp_path: Path) -> None:
    content, options, words = ERRORS[case]
    pq.write_table(pa.table(content), tmp_path / "d.parquet", row_group_size=2)
    with pytest.raises(ValueError, match=words):
        order(kcompile.ParquetDataset(tmp_path / "d.parquet", **options), shuffle=False)


def test_targets_belong_into_the_files(tmp_path: Path) -> None:
    data = kcompile.ParquetDataset(save(tmp_path / "d.parquet"), "x")
    model = regressor(keras)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`y` must not be given where x is a ParquetDataset"):
        model.fit(data, Y, verbose=0)


@pytest.mark.parametrize(("size", "shuffled", "kind"), [(1 << 20, True, 0), (1 << 50, True, 1), (1 << 50, False, 0)])
def test_what_the_system_is_told_of_a_map(size: int, shuffled: bool, kind: int) -> None:
    assert advice(size, shuffled) == (mmap.MADV_NORMAL, mmap.MADV_RANDOM)[kind]


def test_slices_read_their_own_rows() -> None:
    rows = Stored(np.arange(20)[:, None])[5:15][2:9]
    assert np.asarray(rows).ravel().tolist() == [7, 8, 9, 10, 11, 12, 13]
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    assert [part.ravel().tolist() for part in rows.parts([(0, 4), (4, 7)], order)] == [[10, 7, 13, 9], [12, 8, 11]]
    assert len(rows[4:2]) == 0


def test_a_single_number_has_no_rows(tmp_path: Path) -> None:
    assert not is_stored(np.memmap(tmp_path / "x", np.float32, "w+", shape=()))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        assert not is_stored(file.create_dataset("x", data=1.0))

"""Tables below the model: which files there are, how rows are numbered, what arrays and lists may hold."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.errors import FileFormatError, KcompileError, UsageError
from kcompile.tables.columns import Place
from kcompile.tables.files import Table, find, open_file
from kcompile.tables.numpy_files import ArrayWriter

pa = pytest.importorskip("pyarrow")
arrow, writers = (pytest.importorskip(f"kcompile.tables.{name}") for name in ("arrow", "writers"))
PAIRS = pa.list_(pa.float32(), 2)


def read(path: Path, size: int = 2) -> list[Any]:
    """Each chunk of the only column."""
    table = Table([path])
    return [rows.column(table.names[0]).array().tolist() for rows in table.rows(table.names, size)]


FOUND: dict[str, tuple[list[str], str, list[str]]] = {
    "a folder, in order": (["b.npy", "a.csv", "c/a.npy"], ".", ["a.csv", "b.npy", "c/a.npy"]),
    "no notes": (["a.npy", "notes.txt"], ".", ["a.npy"]),
    "nothing hidden": (["a.npy", "_a.npy", ".a.npy", "_temporary/0/b.npy", "c/.d/e.npy"], ".", ["a.npy"]),
    "a pattern, in order": (["b.npy", "a.npy", "c.csv"], "*.npy", ["a.npy", "b.npy"]),
    "a name that looks like one": (["a[1].npy", "a1.npy"], "a[1].npy", ["a[1].npy"]),
}


@pytest.mark.parametrize("case", FOUND)
def test_files(case: str, tmp_path: Path) -> None:
    there, source, wanted = FOUND[case]
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(p.relative_to(tmp_path)) for p in find(tmp_path / source)] == wanted


# name: (the values, words of the error); the rows before these were 10
COLUMNS: dict[str, tuple[Any, str]] = {
    "uneven lists": (pa.array([[[1.0, 2], [3, 4]], [[1.0], [2, 3]]]), r"f, column 'x', row 11: its inner lists"),
    "a null": (pa.array([1, 2, None]), r"row 12: it is null"),
    "a null in a list": (pa.array([[1], [2, 3, None]]), r"row 11: it is null"),
    "a null in a pair": (pa.array([[1, 2], [3, 4], [5, None]], PAIRS), r"row 12: it is null"),
    "no tensor": (
        pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1, 2], None], PAIRS)),
        r"row 11: it is null",
    ),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_rows_that_are_no_tensors(case: str) -> None:
    values, words = COLUMNS[case]
    with pytest.raises(UsageError, match=words):
        arrow.to_column(values, Place("f", "x", 10)).shapes()


# name: (the file's name, what is saved, the error, its words)
ARRAYS: dict[str, tuple[str, Any, type[KcompileError], str]] = {
    "a number": ("a.npy", np.float32(1), FileFormatError, "is a single number"),
    "by columns": ("a.npy", np.asfortranarray(np.ones((2, 3))), FileFormatError, r"numpy\.ascontiguousarray"),
    "objects": ("a.npy", np.array([{}, []], object), FileFormatError, "Python objects"),
    "lengths": ("a.npz", {"x": np.ones(2), "y": np.ones(3)}, UsageError, r"different numbers of rows: \[2, 3\]"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_no_tables(case: str, tmp_path: Path) -> None:
    name, content, kind, words = ARRAYS[case]
    np.savez(tmp_path / name, **content) if isinstance(content, dict) else np.save(tmp_path / name, content)
    with pytest.raises(kind, match=words):
        reader = open_file(tmp_path / name)
        list(reader.batches(reader.names, 2))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_chunks(count: int, tmp_path: Path) -> None:
    values = np.arange(count, dtype=np.float32)
    np.save(tmp_path / "a.npy", values)
    (tmp_path / "a.csv").write_text("x\n" + "".join(f"{v}\n" for v in values))
    wanted = [values[i : i + 2].tolist() for i in range(0, max(count, 1), 2)]
    assert read(tmp_path / "a.npy") == wanted
    if count:  # text without rows tells no types
        assert read(tmp_path / "a.csv") == wanted


def test_rows_in_any_memory_order_are_written() -> None:
    values, stream = np.arange(6, dtype=np.float32).reshape(3, 2), io.BytesIO()
    writer = ArrayWriter(stream)
    for rows in (values, np.asfortranarray(values)):
        writer.write({}, {"y": rows}, {"y": (2,)})
    writer.close()
    stream.seek(0)
    np.testing.assert_array_equal(np.load(stream), np.concatenate([values, values]))


def test_lists_of_lists_of_any_length() -> None:
    rows = [np.ones((2, 3)), np.ones((0, 1)), np.ones((1, 0))]
    assert arrow.to_arrow(rows, ("H", "W")).to_pylist() == [r.tolist() for r in rows]


def test_what_the_writers_refuse() -> None:
    images = writers.CsvWriter(io.BytesIO())
    with pytest.raises(UsageError, match=r"'y' is a fixed_size_list.*CSV can't hold"):
        images.write({}, {"y": np.ones((1, 2, 2), np.float32)}, {"y": (2, 2)})
    rows = writers.JsonWriter(io.BytesIO())
    rows.write({"id": pa.array([1])}, {"y": np.ones(1)}, {"y": ()})
    with pytest.raises(UsageError, match="column 'id' is string in one file and int64 in those before"):
        rows.write({"id": pa.array(["1"])}, {"y": np.ones(1)}, {"y": ()})

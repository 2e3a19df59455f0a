"""`predict_file` and `kcompile predict`: every row as if it were run alone, whatever holds it; nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import kcompile
from kcompile.cli.main import run
from kcompile.errors import FileFormatError, KcompileError, MissingError, UsageError
from tests.runtime import files

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

COUNT = 23
VALUES = np.random.default_rng(0).standard_normal((COUNT, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).standard_normal((COUNT, 4, 2)).astype(np.float32)
LENGTHS = [0, 3, 1, 5, 3, 3, 2, 1, 5, 4, 0, 3]
LISTS = [np.arange(n, dtype=np.float32) + i for i, n in enumerate(LENGTHS)]


def fixed(values: np.ndarray) -> Any:
    """Nested lists of fixed size."""
    array = pa.array(values.ravel())
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def save(path: Path, rows: int = 5, **columns: Any) -> Path:
    """A Parquet file of row groups of ``rows``."""
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def read(path: Path) -> dict[str, list[Any]]:
    return pq.read_table(path).to_pydict()


# name: (the input's sizes, its type, the columns, --columns, the array that the model gets)
COLUMNS: dict[str, tuple[list[Any], int, dict[str, Any], dict[str, Any], np.ndarray]] = {
    "list": (["N", 3], files.FLOAT, {"x": pa.array(list(VALUES))}, {}, VALUES),
    "large list": (["N", 3], files.FLOAT, {"x": pa.array(list(VALUES), pa.large_list(pa.float32()))}, {}, VALUES),
    "fixed list": (["N", 3], files.FLOAT, {"x": fixed(VALUES)}, {}, VALUES),
    "nested": (["N", 4, 2], files.FLOAT, {"x": pa.array(IMAGES.tolist(), pa.list_(pa.list_(pa.float32())))}, {}, IMAGES),
    "nested fixed": (["N", 4, 2], files.FLOAT, {"x": fixed(IMAGES)}, {}, IMAGES),
    "tensor": (["N", 4, 2], files.FLOAT, {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)}, {}, IMAGES),
    "flat image": (["N", 4, 2], files.FLOAT, {"x": fixed(IMAGES.reshape(COUNT, 8))}, {}, IMAGES),
    "packed": (["N", 3], files.FLOAT, dict(zip("abc", VALUES.T, strict=True)), {"x": ["a", "b", "c"]}, VALUES),
    "other name": (["N", 3], files.FLOAT, {"data.x": fixed(VALUES)}, {"x": "data.x"}, VALUES),
    "scalar": (["N"], files.FLOAT, {"x": VALUES[:, 0]}, {}, VALUES[:, 0]),
    "scalar for a vector": (["N", 1], files.FLOAT, {"x": VALUES[:, 0]}, {}, VALUES[:, :1]),
    "float64": (["N", 3], files.FLOAT, {"x": fixed(VALUES.astype(np.float64))}, {}, VALUES),
    "integers": (["N"], files.FLOAT, {"x": np.arange(COUNT)}, {}, np.arange(COUNT, dtype=np.float32)),
    "truth": (["N"], files.FLOAT, {"x": np.arange(COUNT) % 2 == 0}, {}, (np.arange(COUNT) % 2 == 0).astype(np.float32)),
    "small integers": (["N"], files.INT8, {"x": np.arange(COUNT)}, {}, np.arange(COUNT, dtype=np.int8)),
    "text": (["N"], files.STRING, {"x": [f"row {i}" for i in range(COUNT)]}, {}, np.array([f"row {i}" for i in range(COUNT)])),
    "categories": (["N"], files.STRING, {"x": pa.array(list("abc" * 8)[:COUNT]).dictionary_encode()}, {}, np.array(list("abc" * 8)[:COUNT])),
    "one batch size": ([5, 3], files.FLOAT, {"x": fixed(VALUES)}, {}, VALUES),
}  # fmt: skip


@pytest.mark.torchless
@pytest.mark.parametrize("case", COLUMNS)
def test_columns(case: str, tmp_path: Path) -> None:
    dims, kind, columns, given, expected = COLUMNS[case]
    model, data = files.identity(tmp_path, kind, dims), save(tmp_path / "data.parquet", **columns)
    done = kcompile.predict_file(model, data, tmp_path / "out.parquet", columns=given, batch_size=4)
    assert (done.rows, done.columns) == (COUNT, ("y",))
    assert read(done.path) == {"y": expected.reshape(COUNT).tolist() if expected.size == COUNT else expected.tolist()}


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_of_different_lengths_run_with_their_own(workers: int, tmp_path: Path) -> None:
    model = files.pair(tmp_path)
    data = save(tmp_path / "data.parquet", left=LISTS, right=[2 * a for a in LISTS], name=list("abcdefghijkl"))
    kcompile.predict_file(model, data, tmp_path / "out.parquet", keep=["name"], batch_size=2, workers=workers)
    alone = [kcompile.load(model)({"left": a[None], "right": 2 * a[None]}) for a in LISTS]
    expected = {k: [a[k][0].tolist() for a in alone] for k in ("sum", "product")}
    assert read(tmp_path / "out.parquet") == {"name": list("abcdefghijkl"), **expected}
    kcompile.predict_file(model, data, tmp_path / "out.parquet", keep=["left"], workers=workers)
    assert read(tmp_path / "out.parquet") == {"left": [a.tolist() for a in LISTS], **expected}


@pytest.mark.torchless
@pytest.mark.parametrize(
    "sizes", [[(1, 2), (3, 1), (1, 2), (2, 2), (0, 2)], [(2, 1), (2, 3), (2, 1)]], ids=["all", "widths"]
)
def test_rows_of_different_images(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    images = [np.full((h, w, 2), h + w, np.float32) for h, w in sizes]
    column = pa.array([i.tolist() for i in images], pa.list_(pa.list_(pa.list_(pa.float32(), 2))))
    model = files.identity(tmp_path, files.FLOAT, ["N", "H", "W", 2])
    kcompile.predict_file(model, save(tmp_path / "data.parquet", x=column), tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet") == {"y": [i.tolist() for i in images]}


def test_files_in_their_order_with_several_processes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "part").mkdir(parents=True)
    starts = {"a.parquet": 0, "b.parquet": 1000, "part/c.parquet": 2000, "_hidden.parquet": 9000, ".crc": 9000}
    for name, start in starts.items():
        save(
            folder / name, rows=77, x=np.arange(start, start + 300, dtype=np.float32), id=np.arange(start, start + 300)
        )
    (folder / "notes.txt").write_text("no table")
    model = files.identity(tmp_path, files.FLOAT, ["N"])
    for source in (folder, [folder / "a.parquet", f"{folder}/b*.parquet", str(folder / "part")]):
        kcompile.predict_file(model, source, tmp_path / "out.parquet", keep=["id"], batch_size=10, workers=2)
        found = read(tmp_path / "out.parquet")
        assert found["id"] == found["y"] == [s + i for s in (0, 1000, 2000) for i in range(300)]


@pytest.mark.torchless
@pytest.mark.parametrize("count", [0, 1, COUNT])
@pytest.mark.parametrize("source", ["parquet", "csv", "jsonl", "npy", "npz"])
def test_every_file_in_and_out(source: str, count: int, tmp_path: Path) -> None:
    model, values, data = files.double(tmp_path), VALUES[:count], tmp_path / f"data.{source}"
    columns = {"x": ["a", "b", "c"]} if source == "csv" else {}
    if source == "parquet":
        save(data, x=fixed(values))
    elif source == "csv":
        data.write_text("a,b,c\n" + "".join(",".join(map(str, row)) + "\n" for row in values.tolist()))
    elif source == "jsonl":
        data.write_text("".join(json.dumps({"x": row}) + "\n" for row in values.tolist()))
    else:
        np.save(data, values) if source == "npy" else np.savez_compressed(data, x=values, other=np.zeros(2))
    if source in ("csv", "jsonl") and not count:
        return  # a file without rows tells no types
    for target in ("parquet", "csv", "jsonl", "npy"):
        out = tmp_path / f"out.{target}"
        assert kcompile.predict_file(model, data, out, columns=columns, batch_size=5).rows == count
        if target == "npy":
            found = np.load(out)
            assert found.dtype == np.float32
        elif target == "csv":
            found = np.array([list(map(float, line.split(","))) for line in out.read_text().splitlines()[1:]])
        else:
            found = (
                read(out)["y"] if target == "parquet" else [json.loads(r)["y"] for r in out.read_text().splitlines()]
            )
        np.testing.assert_allclose(np.reshape(found, (count, 3)), 2 * values, rtol=1e-6)


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[np.nan, np.inf, 1]], np.float32))
    kcompile.predict_file(files.double(tmp_path), tmp_path / "x.npy", tmp_path / "y.jsonl")
    assert json.loads((tmp_path / "y.jsonl").read_text()) == {"y": ["nan", "inf", 2.0]}


@pytest.mark.torchless
def test_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.double(tmp_path)
    save(tmp_path / "data.parquet", **dict(zip("abc", VALUES.T, strict=True)), id=np.arange(COUNT))
    options = ["--columns", "x=a,b,c", "--keep", "id", "--batch-size", "5", "--workers", "2", "--threads", "1"]
    assert run(["predict", "double.onnx", "data.parquet", "-o", "out.parquet", *options]) == 0
    out, err = capfd.readouterr()
    assert f"{COUNT} rows in" in out and "wrote out.parquet: id, y" in out and err == ""
    assert read(tmp_path / "out.parquet") == {"id": list(range(COUNT)), "y": (2 * VALUES).tolist()}
    assert run(["predict", "double.onnx", "data.parquet", "-o", "out.parquet", "--columns", "x=a,b,c", "--json"]) == 0
    assert set(json.loads(capfd.readouterr().out)) == {"path", "rows", "columns", "seconds"}


def lists(*rows: Any) -> dict[str, Any]:
    return {"x": pa.array(list(rows))}


# name: (the model, the columns, options of predict_file, the error, words that it has)
ERRORS: dict[str, tuple[Any, dict[str, Any], dict[str, Any], type[KcompileError], tuple[str, ...]]] = {
    "null": (files.double, lists([1.0, 2, 3], None), {}, UsageError, ("data.parquet, column 'x', row 1: ", "null")),
    "null inside": (files.double, lists([1.0, 2, 3], [1.0, None, 3]), {}, UsageError, ("column 'x', row 1", "null")),
    "wrong length": (files.double, lists([1.0, 2, 3], [1.0]), {}, UsageError, ("column 'x', row 1", "[N, 3]", "[1, 1]")),
    "uneven": (lambda d: files.identity(d, files.FLOAT, ["N", "H", "W"]), lists([[1.0]], [[1.0], [2.0, 3]]), {}, UsageError,
               ("column 'x', row 1", "different lengths")),
    "another image": (lambda d: files.identity(d, files.FLOAT, ["N", 2, 4]), {"x": fixed(IMAGES)}, {}, UsageError, ("column 'x', row 0", "[1, 4, 2]")),
    "text for numbers": (files.double, lists(["a", "b", "c"]), {}, UsageError, ("column 'x', row 0", "wants float32")),
    "numbers for text": (lambda d: files.identity(d, files.STRING, ["N"]), {"x": [1, 2]}, {}, UsageError, ("column 'x', row 0", "wants object")),
    "too large": (lambda d: files.identity(d, files.INT8, ["N"]), {"x": [1, 2, 300]}, {}, UsageError, ("column 'x', row 2", "300")),
    "times": (files.double, {"x": pa.array([1, 2], pa.timestamp("ms"))}, {}, UsageError, ("column 'x'", "timestamp[ms]")),
    "no column": (files.double, {"xx": [1.0]}, {}, UsageError, ("no column 'x'", "did you mean 'xx'", "--columns x=")),
    "no such columns": (files.double, {"a": [1.0]}, {"columns": {"x": ["a", "b"]}}, UsageError, ("no column 'b'",)),
    "no such input": (files.double, {"a": [1.0]}, {"columns": {"z": ["a"]}}, UsageError, ("no input 'z'",)),
    "lists packed": (files.double, {"a": [[1.0]], "b": [1.0]}, {"columns": {"x": ["a", "b"]}}, UsageError, ("column 'a'", "packed")),
    "kept that is not there": (files.double, lists([1.0, 2, 3]), {"keep": ["id"]}, UsageError, ("data.parquet: it has no column 'id'",)),
    "kept twice": (files.double, {**lists([1.0, 2, 3]), "y": [1]}, {"keep": ["y"]}, UsageError, ("'y'", "output")),
    "uneven rows, .npy": (lambda d: files.identity(d, files.FLOAT, ["N", "T"]), lists([1.0], [1.0, 2]), {"output": "o.npy"}, UsageError,
                          ("'y'", "different shapes", ".parquet")),
    "two outputs, .npy": (files.pair, {"left": [[1.0]], "right": [[1.0]]}, {"output": "o.npy"}, UsageError, (".npy holds one array",)),
    "lists, .csv": (files.pair, {"left": [[1.0]], "right": [[1.0]]}, {"output": "o.csv"}, UsageError, ("'sum'", "CSV")),
    "other suffix": (files.double, lists([1.0, 2, 3]), {"output": "o.xlsx"}, UsageError, (".parquet, .csv",)),
    "no folder": (files.double, lists([1.0, 2, 3]), {"output": "none/o.npy"}, UsageError, ("does not exist",)),
    "backend": (files.double, lists([1.0, 2, 3]), {"backend": "dask"}, UsageError, ("'dask'",)),
    "ray, .npy": (files.double, lists([1.0, 2, 3]), {"backend": "ray", "output": "o.npy"}, UsageError, ("blocks are tables",)),
    "device": (files.double, lists([1.0, 2, 3]), {"device": "cuda"}, MissingError, ("cuda",)),
}  # fmt: skip


@pytest.mark.torchless
@pytest.mark.parametrize("case, workers", [*((case, 1) for case in ERRORS), ("wrong length", 2), ("too large", 2)])
def test_errors(case: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, columns, options, kind, words = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    model(tmp_path)
    there = {"data.parquet", *os.listdir()}
    options = {"output": "o.parquet", "workers": workers, **options}
    with pytest.raises(kind) as error:
        kcompile.predict_file(model(tmp_path), save(Path("data.parquet"), **columns), **options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), error.value
    assert set(os.listdir()) == there


def test_rows_are_numbered_in_their_file(tmp_path: Path) -> None:
    save(tmp_path / "0.parquet", x=fixed(VALUES))
    save(tmp_path / "1.parquet", x=pa.array([*VALUES.tolist(), [1.0]]))
    with pytest.raises(UsageError, match=rf"1\.parquet, column 'x', row {COUNT}: "):
        kcompile.predict_file(files.double(tmp_path), f"{tmp_path}/*.parquet", tmp_path / "out.jsonl", batch_size=4)


def test_a_row_that_the_model_fails_on_is_named(tmp_path: Path) -> None:
    gather = helper.make_node("Gather", ["table", "x"], ["y"])
    ends = [files.end("x", ["N"], files.INT64)], [files.end("y", ["N"])]
    model = files.write(tmp_path / "m.onnx", [gather], *ends, table=np.arange(5, dtype=np.float32))
    with pytest.raises(UsageError, match=r"data\.parquet, row 7: .*out of"):
        kcompile.predict_file(model, save(tmp_path / "data.parquet", x=[0, 1, 2, 3, 4, 0, 1, 9, 2]), tmp_path / "o.npy")


def test_files_must_have_the_columns_once(tmp_path: Path) -> None:
    good = save(tmp_path / "good.parquet", x=fixed(VALUES))
    bad = {"twice": pa.table([fixed(VALUES), VALUES[:, 0]], ["x", "x"]), "none": pa.table({"xx": fixed(VALUES)})}
    for name, words in {"twice": "more than one column 'x'", "none": r"no column 'x' \(did you mean 'xx'"}.items():
        pq.write_table(bad[name], tmp_path / f"{name}.parquet")
        with pytest.raises(UsageError, match=rf"{name}\.parquet: it has {words}"):
            kcompile.predict_file(files.double(tmp_path), [good, tmp_path / f"{name}.parquet"], tmp_path / "o.npy")
    with pytest.raises(UsageError, match="no files are given"):
        kcompile.predict_file(files.double(tmp_path), [], tmp_path / "o.npy")


DAMAGED = {"x.parquet": b"PAR1 no", "x.npy": b"\x93NUMPY", "x.npz": b"PK", "x.jsonl": b"{", "x.csv": b""}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(FileFormatError, match=name):
        kcompile.predict_file(files.double(tmp_path), tmp_path / name, tmp_path / "o.parquet")


@pytest.mark.parametrize("source", ["none.parquet", "*.parquet", "."])
def test_no_files(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no such file|no file of a table"):
        kcompile.predict_file(files.double(tmp_path), source, "o.parquet")


def _summed(folder: Path) -> Path:
    """y = the sum over rows, x: [N, 3]."""
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"])
    ends = [files.end("x", ["N", 3])], [files.end("y", [1, 3])]
    return files.write(folder / "m.onnx", [node], *ends, axes=np.array([0]))


def _uneven(folder: Path) -> Path:
    """y = a row of two batch sizes."""
    node = helper.make_node("Concat", ["x", "z"], ["y"], axis=0)
    ends = [files.end("x", [2, 3]), files.end("z", [3, 3])], [files.end("y", [5, 3])]
    return files.write(folder / "m.onnx", [node], *ends)


# name: (the model, options of predict_file, words of the error)
MODELS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no rows come out": (_summed, {}, "output 'y' has 1 rows for 4: it is not a row of each row"),
    "several batch sizes": (_uneven, {}, r"inputs have different numbers of rows: \[2, 3\]"),
    "columns of .npy": (files.double, {"columns": {"x": "a"}}, r"a \.npy file is one input"),
}


@pytest.mark.parametrize("case", MODELS)
def test_models_that_do_not_fit(case: str, tmp_path: Path) -> None:
    model, options, words = MODELS[case]
    np.save(tmp_path / "x.npy", VALUES)
    with pytest.raises(UsageError, match=words):
        kcompile.predict_file(model(tmp_path), tmp_path / "x.npy", tmp_path / "y.npy", batch_size=4, **options)


@pytest.mark.torchless
def test_arrays_need_no_pyarrow(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    files.double(tmp_path)
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import kcompile, numpy\n"
        "kcompile.predict_file('double.onnx', 'x.npy', 'y.npy', batch_size=4)\n"
        "print(numpy.load('y.npy').shape, 'torch' in sys.modules)\n"
        "kcompile.predict_file('double.onnx', 'x.npy', 'y.parquet')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"({COUNT}, 3) False\n" and "MissingError: tables other than .npy" in done.stderr, done


MEASURE = """
import os, sys
import kcompile

def peak(rows):
    tasks = [open(f"/proc/self/task/{t}/children").read().split() for t in os.listdir("/proc/self/task")]
    status = [open(f"/proc/{pid}/status").read() for pid in ("self", *sum(tasks, []))]
    peaks.append(sum(int(s.partition("VmHWM:")[2].split()[0]) for s in status) // 1024)

if __name__ == "__main__":
    for source in ("small", "large"):
        peaks = []
        data = f"{source}.{sys.argv[1]}"
        kcompile.predict_file("double.onnx", data, "out.parquet", workers=int(sys.argv[2]), progress=peak)
        print(max(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "suffix, workers",
    [("parquet", 1), *(pytest.param(*c, marks=pytest.mark.slow) for c in (("parquet", 2), ("npy", 1)))],
)
def test_memory_does_not_grow_with_the_data(suffix: str, workers: int, tmp_path: Path) -> None:
    width, megabytes, allowed = 1000, 200, 40
    node = helper.make_node("Add", ["x", "x"], ["y"])
    files.write(tmp_path / "double.onnx", [node], [files.end("x", ["N", width])], [files.end("y", ["N", width])])
    rows = megabytes * 250
    for name, count in (("small", rows // 5), ("large", rows)):
        values = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (count, width))  # sparse
        if suffix == "parquet":
            # One row group: nothing but the pages may be in memory.
            with pq.ParquetWriter(tmp_path / f"{name}.parquet", pa.schema([("x", fixed(values[:1]).type)])) as file:
                file.write_table(pa.table({"x": fixed(values)}), row_group_size=count)
    (tmp_path / "measure.py").write_text(MEASURE)
    done = subprocess.run(
        [sys.executable, "measure.py", suffix, str(workers)], cwd=tmp_path, capture_output=True, text=True
    )
    small, large = map(int, done.stdout.split())
    assert large - small < allowed < (megabytes - megabytes / 5) / 3, done
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == rows


@pytest.mark.slow
def test_ray(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    data = save(tmp_path / "data.parquet", left=LISTS, right=LISTS, name=list("abcdefghijkl"))
    options = {"keep": ["name"], "batch_size": 2, "workers": 2}
    try:
        for target, backend in (("ray", "ray"), ("here", "processes")):
            out = tmp_path / f"{target}.parquet"
            kcompile.predict_file(files.pair(tmp_path), data, out, backend=backend, **options)
        assert read(tmp_path / "ray.parquet") == read(tmp_path / "here.parquet")
        with pytest.raises(UsageError, match=r"column 'x', row 0: .* wants the shape"):
            bad = save(tmp_path / "bad.parquet", x=[[1.0]])
            kcompile.predict_file(files.double(tmp_path), bad, tmp_path / "o.parquet", backend="ray")
    finally:
        ray.shutdown()

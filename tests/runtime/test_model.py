"""`load`: what a loaded file takes, gives and refuses."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import kcompile
from kcompile.errors import FileFormatError, UnsupportedError, UsageError
from kcompile.runtime.bench import measure
from kcompile.runtime.model import OnnxModel
from kcompile.runtime.session import open_session, run, run_bound
from tests.runtime import files

pytestmark = pytest.mark.torchless
X = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_one_input_one_output(tmp_path: Path) -> None:
    model = kcompile.load(files.double(tmp_path))
    for given in (X, X.tolist(), X.astype(np.float64), X.astype(np.int32), X.astype(ml_dtypes.bfloat16), X[::-1][::-1]):
        np.testing.assert_array_equal(model(given), 2 * X)
    np.testing.assert_array_equal(model({"x": X}), model(x=X))
    assert (model.input_names, model.output_names, model.metadata) == (["x"], ["y"], {"who": "test"})
    assert model(X[:0]).shape == (0, 3)
    assert repr(model) == "<OnnxModel inputs=['x'] outputs=['y'] on CPU>"


def test_torch_tensors_are_arrays(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(kcompile.load(files.double(tmp_path))(torch.from_numpy(X).requires_grad_()), 2 * X)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    model = kcompile.load(files.pair(tmp_path))
    want = {"sum": X + 1, "product": X}
    one = np.ones_like(X)
    for found in (model(X, one), model([X, one]), model({"left": X, "right": one}), model(X, right=one)):
        assert list(found) == ["sum", "product"]
        for name, array in want.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((), {}, r"no value for the model's input\(s\) \['left', 'right'\]"),
        ((X,), {}, r"\['right'\]"),
        ((X, X, X), {}, r"takes 2 input\(s\) \['left', 'right'\], got 3"),
        ((X,), {"rigth": X}, r"no input 'rigth' \(did you mean 'right'\?\); its inputs are \['left', 'right'\]"),
        (({1: X},), {}, "no input '1'"),
        ((X,), {"left": X}, "input 'left' is given twice"),
        ((X, X[0]), {}, r"input 'right' wants the shape \[N, T\], got \[3\]"),
        ((X, X[:3]), {}, "ONNX Runtime fails on these inputs: .*"),
        ((X, X.astype(complex)), {}, "input 'right' wants float32, got complex128"),
        ((X, np.array([["a"]])), {}, "wants float32, got <U1"),
        ((X, [[None]]), {}, "wants float32, got object"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, args: tuple, named: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kcompile.load(files.pair(tmp_path))(*args, **named)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (files.INT8, [300, 1, 2], "wants int8, got values from 1 to 300"),
        (files.UINT8, [-1, 1, 2], "wants uint8, got values from -1 to 2"),
        (files.INT64, [1.5, 1, 2], "wants int64, got float64"),
        (files.INT64, [2**63, 1, 2], "wants int64, got values from 1 to 9223372036854775808"),
        (files.BOOL, [0.0, 1.0, 1.0], "wants bool, got float64"),
        (files.STRING, [1, 2, 3], "wants object, got int64"),
    ],
)
def test_numbers_are_never_cut(tmp_path: Path, kind: int, value: list, message: str) -> None:
    model = kcompile.load(files.identity(tmp_path, kind, ["N", 3]))
    given = np.array([value], np.uint64) if value[0] == 2**63 else np.array([value])
    with pytest.raises(UsageError, match=message):
        model(given)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(files.INT8, [-128, 127, 0]), (files.UINT8, [255, 0, 1]), (files.BOOL, [0, 1, 1]), (files.HALF, [1.5, 2, 3]), (files.STRING, ["a", "", "ü"])],
)  # fmt: skip
def test_other_dtypes(tmp_path: Path, kind: int, value: list) -> None:
    model = kcompile.load(files.identity(tmp_path, kind, ["N", 3]))
    assert model([value]).tolist() == np.array([value]).astype(model([value]).dtype).tolist()


def test_fixed_shapes_and_scalars(tmp_path: Path) -> None:
    fixed = kcompile.load(files.identity(tmp_path, files.FLOAT, [2, 3]))
    with pytest.raises(UsageError, match=r"input 'x' wants the shape \[2, 3\], got \[4, 3\]"):
        fixed(X)
    scalar = kcompile.load(files.identity(tmp_path, files.FLOAT, []))
    assert scalar(3).shape == () and scalar(np.float32(3)) == 3
    with pytest.raises(UsageError, match="'x' has no batch axis"):
        scalar.predict(3)


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_predict(tmp_path: Path, rows: int, batch_size: int) -> None:
    np.testing.assert_array_equal(
        kcompile.load(files.double(tmp_path)).predict(X[:rows], batch_size=batch_size), 2 * X[:rows]
    )
    found = kcompile.load(files.pair(tmp_path)).predict(X[:rows], right=X[:rows], batch_size=batch_size)
    np.testing.assert_array_equal(found["product"], X[:rows] ** 2)


def test_predict_refuses(tmp_path: Path) -> None:
    model = kcompile.load(files.pair(tmp_path))
    with pytest.raises(UsageError, match=r"different numbers of rows: \[2, 4\]"):
        model.predict(X, X[:2])
    with pytest.raises(UsageError, match="batch_size must be at least 1, got 0"):
        model.predict(X, X, batch_size=0)


DAMAGED = {
    "empty": (b"", "ONNX Runtime refuses it"),
    "text": (b"graph g() {}\n" * 20, "ONNX Runtime refuses it"),
    "zeros": (bytes(200), "ONNX Runtime refuses it"),
    "escape": (b"\x0a\x08\x1b[31mabc\x07", "ONNX Runtime refuses it"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    content, message = DAMAGED[name]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises((FileFormatError, UnsupportedError), match=message) as caught:
        kcompile.load(path)
    assert str(caught.value).startswith(str(path)) and str(caught.value).isprintable()


def test_every_cut_of_a_file_is_an_error_or_a_model(tmp_path: Path) -> None:
    whole = files.pair(tmp_path).read_bytes()
    path = tmp_path / "cut.onnx"
    loaded = []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with contextlib.suppress(FileFormatError, UnsupportedError):
            loaded.append(kcompile.load(path)(X, X))
    assert len(loaded) <= 3, "only metadata and opset stand behind the graph"


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        kcompile.load(tmp_path / name)


@pytest.mark.parametrize("inside_if", [False, True])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_recurrent_files_refuse_empty_inputs(tmp_path: Path, op: str, inside_if: bool) -> None:
    path = files.recurrent(tmp_path, op, inside_if)
    for model in (kcompile.load(path), OnnxModel(path.read_bytes())):
        assert model(np.ones((4, 2, 3))).shape == (4, 1, 2, 2)
        for shape in ((0, 2, 3), (4, 0, 3)):
            with pytest.raises(UsageError, match=r"input 'x' is empty .*LSTM and GRU"):
                model(np.ones(shape))


@pytest.mark.parametrize(("op", "shape"), [("LSTM", (4, 0, 3)), ("GRU", (4, 0, 3)), ("GRU", (0, 2, 3))])
def test_onnx_runtime_still_aborts_on_nothing(tmp_path: Path, op: str, shape: tuple) -> None:
    # The reason for the refusal above: where this fails, the guard can go.
    path = files.recurrent(tmp_path, op)
    code = "import sys, numpy as np, onnxruntime as o; o.InferenceSession(sys.argv[1]).run(None, {'x': np.zeros(eval(sys.argv[2]), 'f')})"
    done = subprocess.run([sys.executable, "-c", code, str(path), str(shape)], capture_output=True)
    assert done.returncode < 0, done.stderr


def test_simple_recurrence_may_be_empty(tmp_path: Path) -> None:
    assert kcompile.load(files.recurrent(tmp_path, "RNN"))(np.ones((4, 0, 3))).shape == (4, 1, 0, 2)


def test_levels_threads_and_binding_agree(tmp_path: Path) -> None:
    path = files.pair(tmp_path)
    for level in ("off", "basic", "extended", "all"):
        np.testing.assert_array_equal(run(path, {"left": X, "right": X}, level)[1], X * X)
    bound = run_bound(open_session(path, threads=1), {"left": X, "right": X})
    np.testing.assert_array_equal(bound[0], 2 * X)
    with pytest.raises(UsageError, match="ONNX Runtime fails"):
        run_bound(open_session(path), {"left": X, "right": X[:2]})


def test_latency_counts_and_orders() -> None:
    calls: list[int] = []
    found = measure(lambda: calls.append(1), seconds=0.0, warmup=2)
    assert found.runs == 5 and len(calls) == 7 and found.least <= found.p50 <= found.p99
    assert measure(lambda: None, seconds=9, most=6).runs == 6
    assert found.per_second(3) == pytest.approx(3000 / found.p50)

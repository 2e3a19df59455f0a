"""Files appear whole or not at all, alone or with their data beside them; reading believes nothing."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kcompile.errors import CheckError, FileFormatError, UsageError
from kcompile.onnx import files
from kcompile.onnx.model import to_onnx
from kcompile.runtime.session import run
from tests.onnx.graphs import array, medium
from tests.support import close

pytestmark = pytest.mark.torchless
FEEDS = {"x": array(2, 4, 6)}


@pytest.fixture
def model() -> onnx.ModelProto:
    return to_onnx(medium())


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_at_the_end_only(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    with files.staged(model, path) as staged:
        assert not path.exists() and staged.path.is_file() and staged.path.name == "m.onnx"
        files.check(staged.path)
    assert listing(tmp_path) == ["m.onnx"] and staged.final == [path]
    assert path.read_bytes() == to_onnx(medium()).SerializeToString(deterministic=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask()
    assert files.read(path) == to_onnx(medium())


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_external_data(tmp_path: Path, model: onnx.ModelProto) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(5000, dtype=np.float32), "large"))
    model.graph.node.append(helper.make_node("Identity", ["large"], ["extra"]))
    model.graph.output.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, [5000]))
    want = run(model.SerializeToString(), FEEDS)
    with files.staged(model, folder / "m.onnx", external_data_above=1000) as staged:
        files.check(staged.path)
        assert listing(folder) == [staged.path.parent.name]
        for got, expected in zip(run(staged.path, FEEDS), want, strict=True):
            np.testing.assert_array_equal(got, expected)
    assert listing(folder) == ["m.onnx", "m.onnx.data"] and staged.final == [folder / "m.onnx", folder / "m.onnx.data"]
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert (moved / "m.onnx").stat().st_size < 20_000 <= (moved / "m.onnx.data").stat().st_size
    for got, expected in zip(run(moved / "m.onnx", FEEDS, "all"), want, strict=True):
        close(got, expected)
    tensors = {t.name: t for t in files.read(moved / "m.onnx").graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensors["large"]), np.arange(5000))
    assert files.read(moved / "m.onnx", weights=False).graph.initializer[-1].data_location == TensorProto.EXTERNAL
    (moved / "m.onnx.data").unlink()
    with pytest.raises(FileFormatError, match="not an ONNX file"):
        files.read(moved / "m.onnx")


@pytest.mark.parametrize("limit", [None, 1000])
@pytest.mark.parametrize("error", [CheckError("wrong"), KeyboardInterrupt(), RuntimeError()])
def test_an_error_inside_leaves_the_older_file(
    tmp_path: Path, model: onnx.ModelProto, error: BaseException, limit: int | None
) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("older")
    with pytest.raises(type(error)), files.staged(model, path, limit):
        raise error
    assert listing(tmp_path) == ["m.onnx"] and path.read_text() == "older"


def test_a_full_disk_leaves_the_older_file(
    tmp_path: Path, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("older")

    def full(self: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="can't write: No space left"), files.staged(model, path):
        raise AssertionError("never gets here")
    assert listing(tmp_path) == ["m.onnx"] and path.read_text() == "older"


def test_a_target_that_can_not_be_replaced(tmp_path: Path, model: onnx.ModelProto) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(UsageError, match="can't write: Is a directory"), files.staged(model, tmp_path / "m.onnx"):
        pass
    assert listing(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize("target", ["missing/m.onnx", "file/m.onnx", "x" * 300 + ".onnx"])
def test_a_folder_that_can_not_be_written_to(tmp_path: Path, model: onnx.ModelProto, target: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't write there"), files.staged(model, tmp_path / target):
        raise AssertionError("never gets here")
    assert listing(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path: Path, model: onnx.ModelProto) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), files.staged(model, tmp_path / "m.onnx"):
        raise AssertionError("never gets here")


def test_the_checker_finds_what_is_wrong(tmp_path: Path, model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"
    with (
        pytest.raises(CheckError, match=r"onnx's checker refuses the file: .*Nonsense"),
        files.staged(model, tmp_path / "m.onnx") as staged,
    ):
        files.check(staged.path)
    assert listing(tmp_path) == []


def test_strict_inference_finds_a_wrong_shape(tmp_path: Path, model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 99
    with pytest.raises(CheckError, match="checker refuses"), files.staged(model, tmp_path / "m.onnx") as staged:
        files.check(staged.path)


@pytest.mark.parametrize(
    "content",
    [b"", b"graph g() {}", bytes(100), b"\x0a\x03\x1b[3", bytes(range(255, 0, -3))],
    ids=["empty", "text", "zeros", "escape", "noise"],
)
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not an ONNX file") as caught:
        files.read(path)
    assert str(caught.value).isprintable()


def test_data_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    inner = tmp_path / "inner"
    inner.mkdir()
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, [4])], [tensor]
    )
    (inner / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(FileFormatError, match=r"m.onnx"):
        files.read(inner / "m.onnx")


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        files.read(tmp_path / name)

"""Damaged and hostile files: one line that names the file, nothing run, nothing allocated, nothing changed."""

from __future__ import annotations

import base64
import io
import json
import marshal
import resource
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kcompile import keras
from kcompile.errors import FileFormatError, KcompileError, UnsupportedError

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    """The members of a good file: x -> Dense(3) -> Dense(2), functional."""
    x = keras.Input((4,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, name="b")(keras.layers.Dense(3, name="a")(x)), name="m")
    model.save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        return {n: archive.read(n) for n in MEMBERS}


def written(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def with_config(change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """The members with a changed config; ``change`` works in place or returns a new one."""

    def apply(members: dict[str, bytes]) -> dict[str, bytes]:
        config = json.loads(members["config.json"])
        changed = change(config)
        return {**members, "config.json": json.dumps(config if changed is None else changed).encode()}

    return apply


def with_weights(change: Callable[[h5py.File], None]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """The members with a changed weights file."""

    def apply(members: dict[str, bytes]) -> dict[str, bytes]:
        memory = io.BytesIO(members["model.weights.h5"])
        with h5py.File(memory, "a") as file:
            change(file)
        return {**members, "model.weights.h5": memory.getvalue()}

    return apply


KERNEL = "layers/dense/vars/0"


def replaced(make: Callable[[h5py.Group], Any]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        make(file["layers/dense/vars"])

    return with_weights(change)


def layer(config: Any, index: int = 1) -> Any:
    return config["config"]["layers"][index]


def history(config: Any, index: int = 2) -> list[Any]:
    return layer(config, index)["inbound_nodes"][0]["args"][0]["config"]["keras_history"]


def nest(depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


def as_lambda(config: Any) -> None:
    code = base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()
    function = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    layer(config).update(class_name="Lambda", config={"name": "a", "function": function})


def custom_in(module: str) -> Callable[[Any], None]:
    return lambda config: layer(config).update(module=module, class_name="Trap", registered_name="Trap")


def renamed(name: str) -> Callable[[Any], None]:
    return lambda config: layer(config).update(class_name=name)


def units(count: Any) -> Callable[[Any], None]:
    return lambda config: layer(config)["config"].update(units=count)


def unwritten(group: h5py.Group) -> None:
    group.create_dataset("0", shape=(4, 3), chunks=(1, 1), dtype="f4")


def vast(group: h5py.Group) -> None:
    """64 TB that were never written."""
    group.create_dataset("0", shape=(1 << 22, 1 << 22), chunks=(1 << 10, 1 << 10), dtype="f4")


def external(group: h5py.Group) -> None:
    group.create_dataset("0", shape=(4, 3), dtype="f4", external=[("/etc/passwd", 0, 48)])


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout(shape=(4, 3), dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", shape=(4, 3))
    group.create_virtual_dataset("0", layout)


def text(group: h5py.Group) -> None:
    group.create_dataset("0", data=np.full((4, 3), b"abc"))


def compound(group: h5py.Group) -> None:
    group.create_dataset("0", data=np.zeros((4, 3), dtype=[("a", "f4"), ("b", "i4")]))


Change = Callable[[dict[str, bytes]], dict[str, bytes]]

CHANGES: dict[str, tuple[Change, type[KcompileError], str]] = {
    "no config": (lambda m: {k: v for k, v in m.items() if k != "config.json"}, FileFormatError, "config.json"),
    "no weights": (lambda m: {k: v for k, v in m.items() if "h5" not in k}, FileFormatError, "model.weights.h5"),
    "config is not JSON": (lambda m: {**m, "config.json": b"{"}, FileFormatError, "config.json is not JSON"),
    "config is not text": (lambda m: {**m, "config.json": b"\xff\xfe\x00"}, FileFormatError, "config.json"),
    "config is a list": (lambda m: {**m, "config.json": b"[]"}, FileFormatError, "not an object"),
    "config is empty": (lambda m: {**m, "config.json": b"{}"}, FileFormatError, "."),
    "config of a loss": (with_config(lambda c: {"module": "keras.losses", "class_name": "MeanSquaredError", "config": {}}),
                         FileFormatError, "MeanSquaredError, not a model"),
    "JSON bomb": (lambda m: {**m, "config.json": b"[" * 100_000 + b"]" * 100_000}, FileFormatError, "config.json"),
    "nested config": (with_config(lambda c: layer(c)["config"].update(units=nest(150))), FileFormatError, "units"),
    "nested nodes": (with_config(lambda c: layer(c)["inbound_nodes"][0].update(args=nest(150))), FileFormatError, "."),
    "nested models": (with_config(lambda c: layer(c)["config"].update(name=nest(300))), FileFormatError, "."),
    "weights are not HDF5": (lambda m: {**m, "model.weights.h5": b"nothing"}, FileFormatError, "not an HDF5 file"),
    "weights are cut": (lambda m: {**m, "model.weights.h5": m["model.weights.h5"][:3000]}, FileFormatError, "."),
    "never written": (replaced(unwritten), FileFormatError, "claims 48 bytes and holds none"),
    "shape bomb": (replaced(vast), FileFormatError, "has shape"),
    "gzip bomb": (replaced(lambda g: g.create_dataset("0", data=np.zeros((4, 4)), compression="gzip")),
                  FileFormatError, "shape"),
    "external data": (replaced(external), FileFormatError, "another file|claims"),
    "virtual data": (replaced(virtual), FileFormatError, "another file|claims"),
    "soft link": (replaced(lambda g: g.__setitem__("0", h5py.SoftLink("/layers/dense_1/vars/0"))), FileFormatError, "link"),
    "external link": (replaced(lambda g: g.__setitem__("0", h5py.ExternalLink("/tmp/x.h5", "/x"))), FileFormatError, "link"),
    "a group": (replaced(lambda g: g.create_group("0")), FileFormatError, "not an array"),
    "complex": (replaced(lambda g: g.create_dataset("0", data=np.ones((4, 3), "c8"))), FileFormatError, "complex64"),
    "text": (replaced(text), FileFormatError, "not numbers"),
    "compound": (replaced(compound), FileFormatError, "not numbers"),
    "another shape": (replaced(lambda g: g.create_dataset("0", data=np.ones((3, 4)))), FileFormatError, "shape"),
    "missing": (replaced(lambda g: None), FileFormatError, "variables"),
    "misnumbered": (replaced(lambda g: g.create_dataset("7", data=np.ones((4, 3)))), FileFormatError, "no variable 0"),
    "negative node": (with_config(lambda c: history(c).__setitem__(1, -1)), FileFormatError, "-1"),
    "negative tensor": (with_config(lambda c: history(c).__setitem__(2, -1)), FileFormatError, "-1"),
    "tensor out of range": (with_config(lambda c: history(c).__setitem__(2, 7)), FileFormatError, "doesn't exist"),
    "boolean node": (with_config(lambda c: history(c).__setitem__(1, True)), FileFormatError, "."),
    "node of nobody": (with_config(lambda c: history(c).__setitem__(0, "zz")), FileFormatError, "circle|exist"),
    "node of itself": (with_config(lambda c: history(c).__setitem__(0, "b")), FileFormatError, "circle"),
    "history is text": (with_config(lambda c: layer(c, 2)["inbound_nodes"][0]["args"][0]["config"].update(keras_history="x")),
                        FileFormatError, "layer, node, tensor"),
    "circle": (with_config(lambda c: (history(c, 1).__setitem__(0, "b"), None)[1]), FileFormatError, "circle"),
    "no layers": (with_config(lambda c: c["config"].update(layers=[])), FileFormatError, "."),
    "layers is a number": (with_config(lambda c: c["config"].update(layers=3)), FileFormatError, "."),
    "same name twice": (with_config(lambda c: c["config"]["layers"].append(layer(c))), FileFormatError, "two layers"),
    "output of nobody": (with_config(lambda c: c["config"].update(output_layers=[["zz", 0, 0]])), FileFormatError, "zz"),
    "output out of range": (with_config(lambda c: c["config"].update(output_layers=[["b", 5, 0]])), FileFormatError, "call 5"),
    "a local package": (with_config(custom_in("trap_package")), UnsupportedError, "trap_package.Trap"),
    "a local module of Keras": (with_config(custom_in("keras.trap_package")), UnsupportedError, "trap_package.Trap"),
    "os.system": (with_config(lambda c: layer(c).update(module="os", class_name="system")), UnsupportedError, "os.system"),
    "builtins.eval": (with_config(lambda c: layer(c)["config"].update(activation={
        "module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"})),
        UnsupportedError, "eval"),
    "unknown class": (with_config(renamed("Densee")), UnsupportedError, "did you mean 'Dense'"),
    "class with control characters": (with_config(renamed("\x1b[31mDense\r\n\u202e")), UnsupportedError, r"\\x1b"),
    "layer with control characters": (
        with_config(lambda c: c["config"].update(output_layers=[["\x1b]0;owned\x07\n", 0, 0]])), FileFormatError, r"\\x1b"),
    "long name": (with_config(renamed("D" * 100_000)), UnsupportedError, "DDD"),
    "Lambda": (with_config(as_lambda), UnsupportedError, "never run"),
    "unknown argument": (with_config(lambda c: layer(c)["config"].update(unit=3)), FileFormatError, "unit"),
    "unknown activation": (with_config(lambda c: layer(c)["config"].update(activation="rellu")), FileFormatError, "relu"),
    "unknown operation": (with_config(lambda c: layer(c).update(module="keras.src.ops.numpy", class_name="Eig")),
                          UnsupportedError, "Eig"),
    "negative units": (with_config(units(-3)), FileFormatError, "units"),
    "units is text": (with_config(units("3")), FileFormatError, "units"),
    "huge units": (with_config(units(1 << 40)), FileFormatError, "shape|memory|Memory|large|big"),
    "endless units": (with_config(units(10**30)), FileFormatError, "."),
    "units not finite": (with_config(units(float("inf"))), FileFormatError, "."),
    "class name is a list": (with_config(lambda c: layer(c).update(class_name=["Dense"])), FileFormatError, "."),
    "config is null": (with_config(lambda c: layer(c).update(config=None)), FileFormatError, "."),
    "build config": (with_config(lambda c: layer(c).update(build_config={"input_shape": [None, 1 << 40]})), FileFormatError, "."),
    "build config of text": (with_config(lambda c: layer(c).update(build_config={"input_shape": "abc"})), FileFormatError, "."),
    "array of a silly dtype": (with_config(lambda c: layer(c)["config"].update(units={
        "class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S100000000000"}})), FileFormatError, "."),
}  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that can be imported, and must not be."""
    (tmp_path / "trap_package.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def little_memory() -> Any:
    """2 GB of address space more than now: what allocates on a header's word fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(path: Path, kind: type[KcompileError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        keras.saving.load_model(path)
    told = str(caught.value)
    assert told.startswith(str(path)), told
    assert told.isprintable() and len(told) < 500, told


@pytest.mark.parametrize("name", CHANGES)
def test_changed_files_are_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, trap: None, little_memory: None
) -> None:
    change, kind, words = CHANGES[name]
    refused(written(tmp_path / "bad.keras", change(members)), kind, words)
    assert "trap_package" not in sys.modules


def test_two_configs(members: dict[str, bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "bad.keras", members)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", members["config.json"])
    refused(path, FileFormatError, "2 members called config.json")


def test_a_zip_bomb(members: dict[str, bytes], tmp_path: Path, little_memory: None) -> None:
    """A member of 384 MB of zeros in 384 KB."""
    path = tmp_path / "bad.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", members["metadata.json"])
        archive.writestr("config.json", members["config.json"])
        with archive.open("model.weights.h5", "w", force_zip64=True) as stream:
            for _ in range(24):
                stream.write(bytes(16 << 20))
    refused(path, FileFormatError, "claims")


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_member_that_lies_about_its_size(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    """The directory says 10 bytes; the stream unpacks to more."""
    path = tmp_path / "bad.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in {**members, name: bytes(32 << 20)}.items():
            archive.writestr(member, data)
    data = bytearray(path.read_bytes())
    at = data.rfind(name.encode(), 0, len(data)) - 46
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    refused(path, FileFormatError, ".")


def test_a_gzip_bomb(tmp_path: Path, little_memory: None) -> None:
    """A dataset of 1 GB of zeros, which HDF5 stores in 1 MB: the model asks for just that shape."""
    rows = 1 << 14
    chunk = zlib.compress(bytes(rows * 1024 * 4), 9)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        made = file.create_dataset(
            "layers/dense/vars/0", (rows, 1 << 14), "f4", chunks=(rows, 1024), compression="gzip"
        )
        for i in range(16):
            made.id.write_direct_chunk((0, 1024 * i), chunk)
        file.create_dataset("layers/dense/vars/1", data=np.zeros(1 << 14, "f4"))
    x = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, rows], "name": "x"}}
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1 << 14, "name": "d"}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [x, dense]}}
    files = {"metadata.json": b"{}", "config.json": json.dumps(config).encode(), "model.weights.h5": memory.getvalue()}
    refused(written(tmp_path / "bad.keras", files), FileFormatError, "claims 1073741824 bytes")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files(share: float, members: dict[str, bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "bad.keras", members)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, FileFormatError, "not a .keras file")


def test_flipped_bytes(members: dict[str, bytes], tmp_path: Path) -> None:
    """Any one changed byte: refused in one line, or the file still is a file."""
    path = written(tmp_path / "bad.keras", members)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = 0
    for at in rng.integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            keras.saving.load_model(path)
        except KcompileError as error:
            refusals += 1
            assert str(error).startswith(str(path)) and len(str(error)) < 500 and str(error).isprintable()
    assert refusals > 100


OTHERS: list[tuple[str, bytes]] = [
    ("text", b"hello"), ("empty", b""), ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)), ("pickle", b"\x80\x04K\x01."),
    ("gzip", b"\x1f\x8b" + bytes(50)),
]  # fmt: skip


@pytest.mark.parametrize("name, data", OTHERS, ids=[o[0] for o in OTHERS])
def test_files_of_another_kind(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    path.write_bytes(data)
    refused(path, FileFormatError, "not a .keras file")


def test_folders_and_devices(tmp_path: Path) -> None:
    (tmp_path / "d.keras").mkdir()
    for name, message in (("d", "is a folder, not a file"), ("none", "no such file")):
        with pytest.raises(KcompileError, match=message):
            keras.saving.load_model(tmp_path / f"{name}.keras")


def test_nothing_changes_where_weights_do_not_fit(members: dict[str, bytes], tmp_path: Path) -> None:
    """The last array is bad: the first ones are not assigned either."""

    def change(file: h5py.File) -> None:
        file["layers/dense/vars/0"][...] = 7
        del file["layers/dense_1/vars/1"]
        file.create_dataset("layers/dense_1/vars/1", data=np.ones(2, "c8"))

    path = tmp_path / "bad.weights.h5"
    path.write_bytes(with_weights(change)(members)["model.weights.h5"])
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Dense(3)(x)))
    before = model.get_weights()
    with pytest.raises(FileFormatError, match=r"bad\.weights\.h5.*complex"):
        model.load_weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))

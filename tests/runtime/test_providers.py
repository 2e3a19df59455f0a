"""Which device a model runs on; CUDA as far as a CPU can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import kcompile
from kcompile.errors import MissingError, UnsupportedError, UsageError
from kcompile.runtime.providers import CUDA_OPTIONS, providers
from tests.runtime import files

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Session = ort.InferenceSession
pytestmark = pytest.mark.torchless


def available(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*names, CPU])


@pytest.mark.parametrize(
    ("device", "here", "expected"),
    [
        ("cpu", (), [CPU]),
        ("cpu", (CUDA,), [CPU]),
        ("auto", (), [CPU]),
        ("auto", (CUDA,), [(CUDA, {**CUDA_OPTIONS, "device_id": "0"}), CPU]),
        ("cuda", (CUDA,), [(CUDA, {**CUDA_OPTIONS, "device_id": "0"}), CPU]),
        ("cuda:3", (CUDA,), [(CUDA, {**CUDA_OPTIONS, "device_id": "3"}), CPU]),
    ],
)
def test_providers(monkeypatch: pytest.MonkeyPatch, device: str, here: tuple, expected: list) -> None:
    available(monkeypatch, *here)
    assert providers(device) == expected


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "CUDA", "cpu\x1b[1m"])
def test_unknown_devices(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    available(monkeypatch, CUDA)
    with pytest.raises(UsageError, match=r"unknown device .*use cpu, cuda, cuda:1 or auto") as caught:
        providers(device)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str) -> None:
    available(monkeypatch)
    with pytest.raises(MissingError, match="pip install onnxruntime-gpu"):
        kcompile.load(files.double(tmp_path), device=device)


class Recording:
    """Stands for ort.InferenceSession: a CPU session that claims ``works`` of the providers, or fails with ``error``."""

    def __init__(self, works: list[str], error: str = ""):
        self.works, self.error, self.asked = works, error, []  # type: ignore[var-annotated]

    def __call__(self, source: Any, options: Any, providers: list, **rest: Any) -> Any:
        self.asked.append(providers)
        assert rest == {"enable_fallback": 0}, "ONNX Runtime's own fallback prints and runs elsewhere"
        if self.error and len(providers) > 1:
            raise RuntimeError(self.error)
        session = Session(source, options, providers=[CPU])
        session.get_providers = lambda: self.works if len(providers) > 1 else [CPU]  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_cuda_is_asked_for_with_its_options_and_runs_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str
) -> None:
    available(monkeypatch, CUDA)
    fake = Recording([CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", fake)
    model = kcompile.load(files.pair(tmp_path), device=device)
    assert fake.asked == [[(CUDA, {**CUDA_OPTIONS, "device_id": "0"}), CPU]]
    assert model.on_cuda and "on CUDA" in repr(model)
    monkeypatch.setattr(model.session, "run", None)  # what runs is the binding
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(model(x, x)["sum"], 2 * x)
    np.testing.assert_array_equal(model.predict(x, x, batch_size=1)["product"], x)


def test_a_silent_fallback_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    available(monkeypatch, CUDA)
    monkeypatch.setattr(ort, "InferenceSession", Recording([CPU]))
    with pytest.raises(MissingError, match="could not start CUDA"):
        kcompile.load(files.double(tmp_path), device="cuda:1")
    assert not kcompile.load(files.double(tmp_path), device="auto").on_cuda


def test_cuda_that_fails_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    available(monkeypatch, CUDA)
    monkeypatch.setattr(
        ort, "InferenceSession", Recording([CUDA], "CUDA failure 100: no CUDA-capable device is detected")
    )
    with pytest.raises(MissingError, match=r"device 'cuda': .*no CUDA-capable device"):
        kcompile.load(files.double(tmp_path), device="cuda")
    assert not kcompile.load(files.double(tmp_path), device="auto").on_cuda


def test_a_file_that_no_device_runs_is_not_a_missing_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from onnx import helper

    available(monkeypatch, CUDA)
    monkeypatch.setattr(ort, "InferenceSession", Recording([CUDA], "unknown operator"))
    path = files.write(
        tmp_path / "odd.onnx",
        [helper.make_node("Nonsense", ["x"], ["y"])],
        [files.end("x", [1])],
        [files.end("y", [1])],
    )
    with pytest.raises(UnsupportedError, match="Nonsense"):
        kcompile.load(path, device="cuda")

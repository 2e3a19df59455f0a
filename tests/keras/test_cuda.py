"""What CUDA would be asked to do, with CUDA mocked."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras
from kcompile.engine import devices, jit
from kcompile.engine.function import Function
from kcompile.errors import MissingError
from kcompile.ir import Graph, Type, dtype, input_value
from kcompile.ir.dims import symbol
from kcompile.keras.training.data import Epochs, make_data
from kcompile.tracing.scope import current_device

META = torch.device("meta")


class FakeCuda:
    """Streams that note what they are asked."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        log = self.log

        class Stream:
            def __init__(self, name: Any) -> None:
                self.name = name if isinstance(name, str) else "side"

            def record_event(self) -> str:
                log.append(("recorded", self.name))
                return f"event {sum(entry[0] == 'recorded' for entry in log)}"

            def wait_event(self, event: str) -> None:
                log.append((self.name, "waits for", event))

            def __enter__(self) -> None:
                log.append(("into", self.name))

            def __exit__(self, *args: Any) -> None:
                log.append(("out of", self.name))

        self.Stream = Stream
        self.current = Stream("main")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "Stream", self.Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: self.log.append("pinned") or t)
        monkeypatch.setattr(
            torch.Tensor, "to", lambda t, device, non_blocking=False: self.log.append(("copy", non_blocking)) or t
        )
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda t, stream: self.log.append(("kept for", stream.name)))


def test_batches_are_copied_ahead_of_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda()
    fake.install(monkeypatch)
    batches = iter([(torch.full((2,), float(i)), None, None) for i in range(4)])
    ahead = devices.ahead(batches, torch.device("cuda", 0), list, lambda _, leaves: tuple(leaves))
    first = next(ahead)
    copy = [("into", "side"), "pinned", ("copy", True), ("recorded", "side"), ("out of", "side")]
    assert fake.log == [*copy * 3, ("main", "waits for", "event 1"), ("kept for", "main")]
    fake.log.clear()
    rest = list(ahead)
    assert fake.log[:5] == copy and fake.log[5] == ("main", "waits for", "event 2")
    assert [float(b[0][0]) for b in (first, *rest)] == [0, 1, 2, 3] and first[1] is None


def test_elsewhere_batches_are_left_alone() -> None:
    batches = iter([])
    for device in (None, META):
        assert devices.ahead(batches, device, list, lambda _, leaves: leaves) is batches


def test_a_source_that_is_read_ahead_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    closed: list[bool] = []

    def source() -> Iterator[Any]:
        try:
            while True:
                yield (torch.zeros(1),)
        finally:
            closed.append(True)

    ahead: Any = devices.ahead(source(), torch.device("cuda", 0), list, lambda _, leaves: leaves)
    next(ahead), ahead.close()
    assert closed == [True]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("device", [None, torch.device("cuda", 0)], ids=str)
def test_how_torch_is_set_up_while_fit_runs(
    monkeypatch: pytest.MonkeyPatch, device: Any, tf32: bool, deterministic: bool
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def state() -> tuple[bool, ...]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return (
            matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic,
            torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip

    before = state()
    with devices.set_up(device, tf32, deterministic):
        own = (tf32, tf32, not deterministic) if device else before[:3]
        assert state() == (*own, deterministic, deterministic)
    assert state() == before


def test_fit_sets_torch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = devices.set_up
    monkeypatch.setattr(devices, "set_up", lambda *given: asked.append(given) or original(None, *given[1:]))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((6, 4)), np.ones((6, 1))
    model.fit(x, y, verbose=0)
    keras.config.disable_tf32(), keras.config.enable_determinism()
    try:
        model.fit(x, y, verbose=0)
    finally:
        keras.config.enable_tf32(), keras.config.disable_determinism()
    assert asked == [(None, True, False), (None, False, True)]


@pytest.mark.parametrize(
    ("device", "sizes", "options"),
    [
        (None, ["N"], {}),
        ("cuda:0", ["N"], {"mode": "reduce-overhead", "dynamic": False}),
        ("cuda:0", ["N", "T"], {}),
    ],
)
def test_static_code_is_recorded_as_cuda_graphs(
    monkeypatch: pytest.MonkeyPatch, device: str | None, sizes: list[str], options: dict[str, Any]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda module, **given: asked.append(given) or module)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: asked.append("new step"))
    x = input_value("x", Type(dtype("float32"), tuple(map(symbol, sizes))))
    module: Any = lambda t: t  # noqa: E731
    run = jit.Jit(module, None if device is None else torch.device(device), jit.is_static(Graph("g", [x], [x])))
    t = torch.ones(2)
    assert run(t) is t and asked == [options, *["new step"] * bool(options)]


def test_what_a_recorded_graph_returns_is_handed_out_as_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **given: module)
    x = input_value("x", Type(dtype("float32"), (symbol("N"),)))
    function, t = Function(Graph("g", [x], [x]), {}, None, jit=True), torch.ones(2)
    assert function(t)[0] is t
    function.forward.recorded = True
    assert function(t)[0] is not t


def test_an_epoch_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the batches' own structure, to the last and shorter one; the next epoch begins anew."""
    fake = FakeCuda()
    fake.install(monkeypatch)
    x, y = {"a": np.arange(5.0), "b": np.ones(5)}, np.arange(5.0)
    run = Epochs(make_data(x, y, batch_size=2), None, 2, torch.device("cuda", 0))
    for _ in range(2):
        groups = [(begin, [b[0]["a"].tolist() for b in group]) for begin, group in run.epoch()]
        assert groups == [(0, [[0.0, 1.0], [2.0, 3.0]]), (2, [[4.0]])]
    assert fake.log.count("pinned") == 2 * 3 * 3


MISSING: list[tuple[dict[str, Any], str, str]] = [
    ({"built": False}, "cuda", "is built without CUDA; install a CUDA build .*or use the device 'cpu'"),
    ({"built": True}, "gpu:0", "sees no GPU, or no driver for it; see what `nvidia-smi` says"),
    ({"count": 2}, "cuda:2", "torch sees 2; use cuda:0 to cuda:1"),
]


@pytest.mark.parametrize(("here", "name", "words"), MISSING)
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, here: dict[str, Any], name: str, words: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "count" in here)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: here.get("built"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here["count"])
    with pytest.raises(MissingError, match=words) as caught, keras.device(name):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cpu", "cpu"),
        ("CPU:0", "cpu"),
        ("cuda", "cuda:1"),
        ("gpu", "cuda:1"),
        ("cuda:0", "cuda:0"),
        ("GPU:1", "cuda:1"),
    ],
)
def test_names_of_devices(monkeypatch: pytest.MonkeyPatch, name: str, found: str) -> None:
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, current_device=lambda: 1)
    monkeypatch.setattr(devices.torch, "cuda", cuda)
    with keras.device(name):
        assert current_device() == found
    assert current_device() is None


@pytest.mark.parametrize("name", ["", "cuda:", "cuda:x", "tpu", "cpu:1", None, 3])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(ValueError, match="device"), keras.device(name):
        pass

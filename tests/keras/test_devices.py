"""Training on a device, as far as a CPU tells.

torch's ``meta`` device stands for a GPU: it refuses to compute with tensors of the CPU, and to be read, which is what
would make a step wait. CUDA itself is mocked.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kcompile import keras
from kcompile.engine import devices, jit
from kcompile.engine.context import Running
from kcompile.engine.function import Function
from kcompile.errors import MissingError
from kcompile.ir import Graph, Type, dtype, input_value
from kcompile.ir.dims import symbol
from kcompile.keras.training.data import Epochs, make_data
from kcompile.tracing.scope import current_device, device_scope

L = keras.layers
META = torch.device("meta")


class Watch(TorchDispatchMode):
    """Notes what computes on the CPU: all but scalars, and the states of seeds, would be in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, results)):
            if (
                isinstance(x, torch.Tensor)
                and x.device != META
                and x.ndim
                and (x.dtype, x.shape) != (torch.int64, (2,))
            ):
                self.wrong.append(f"{function} {tuple(x.shape)}")
        return results


@pytest.fixture(autouse=True)
def host_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meta device has no generators: reading the seed, which must be on the CPU, is all that is left."""
    monkeypatch.setattr(
        Running, "generator", lambda self, seed, draw=0: None if seed is None else seed.tolist() and None
    )


def attention() -> list[Any]:
    x = keras.Input((6, 8))
    y = L.MultiHeadAttention(2, 4, dropout=0.1)(L.LayerNormalization()(x), x, use_causal_mask=True)
    return [keras.Model(x, L.GlobalAveragePooling1D()(y + x))]


MODELS: dict[str, tuple[tuple[int, ...], Any]] = {
    "small": ((4,), lambda: [L.Dense(3)]),
    "dense": ((4,), lambda: [L.Dense(8, "relu"), L.Dropout(0.5), L.Dense(3, kernel_regularizer="l2")]),
    "seeded": ((4,), lambda: [L.GaussianNoise(0.1, seed=3), L.Dropout(0.5, seed=1)]),
    "image": ((8, 8, 3), lambda: [L.Conv2D(4, 3), L.BatchNormalization(), L.SpatialDropout2D(0.3), L.Flatten()]),
    "sequence": ((5, 3), lambda: [L.Masking(), L.LSTM(4, return_sequences=True), L.Bidirectional(L.GRU(3))]),
    "words": ((5,), lambda: [L.Embedding(9, 4, mask_zero=True), L.GRU(3)]),
    "attention": ((6, 8), attention),
}
OPTIMIZERS: dict[str, Any] = {
    "Adam": lambda o: o.Adam(0.1, clipvalue=0.5, use_ema=True),
    "SGD": lambda o: o.SGD(o.schedules.CosineDecay(0.1, 5), momentum=0.9, global_clipnorm=1.0),
    "AdamW": lambda o: o.AdamW(0.1, gradient_accumulation_steps=2),
    "RMSprop": lambda o: o.RMSprop(0.1, centered=True),
    "Adafactor": lambda o: o.Adafactor(0.1),
}


def built(name: str, optimizer: str = "Adam") -> Any:
    shape, make = MODELS[name]
    model = keras.Sequential([keras.Input(shape), *make(), L.Dense(3, "softmax")])
    metrics = ["accuracy", keras.metrics.AUC()]
    model.compile(OPTIMIZERS[optimizer](keras.optimizers), "categorical_crossentropy", metrics=metrics)
    return model


def batch(name: str, device: Any = None) -> Any:
    x, y = np.ones((6, *MODELS[name][0]), "float32"), np.eye(3, dtype="float32")[np.arange(6) % 3]
    return torch.tensor(x, device=device), torch.tensor(y, device=device), None


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((n, "Adam") for n in MODELS), *(("dense", o) for o in OPTIMIZERS if o != "Adam")]
)
def test_whole_steps_are_on_the_device(name: str, optimizer: str) -> None:
    """No operand on the CPU, nothing read: the numbers of `meta` can't be."""
    model, data = built(name, optimizer), batch(name, META)
    with device_scope("meta"):
        for kind in ("train", "test", "predict"):
            step = model._step(kind)
            step.traced.prepare(data)
            with Watch() as watch:
                step(data)
            assert not step.failed and not watch.wrong
    held = [
        v for v in [*model.variables, *model.optimizer._variables] if isinstance(v.storage, torch.Tensor) and v.shape
    ]
    assert {v.storage.device for v in held if not v.on_host} == {META}
    assert all(v.storage.device == devices.CPU for v in held if v.on_host)


def test_the_code_names_the_device() -> None:
    model = built("attention")
    with device_scope("meta"):
        step = model._step("train").traced
        step.prepare(batch("attention", META))
    assert "device(type='meta')" in step.runner.forward.code
    plain = built("attention")._step("train").traced
    plain.prepare(batch("attention"))
    assert "meta" not in plain.runner.forward.code


def test_batches_are_taken_there() -> None:
    model = built("dense")
    with device_scope("meta"):
        step = model._step("train")
        step(batch("dense"))
    step(batch("dense"))  # the model stays where it is, also outside of the scope
    assert model.layers[0].kernel.storage.device == META


def test_a_model_that_moves_gets_new_code() -> None:
    model, data = built("dense"), batch("dense")
    x, y = (a.numpy() for a in data[:2])
    model.fit(x, y, verbose=0)
    before = model._step("train").traced.runner
    with device_scope("meta"):
        model._step("train")(data)
        assert model.layers[0].kernel.storage.device == META
        slots = [v for v in model.optimizer.variables if v.shape]
        assert slots and all(v.storage.device == META for v in slots)
    after = model._step("train").traced.runner
    assert after is not before and after is model._step("train").traced.runner


def test_back_on_the_cpu_all_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A move there and back through a device that keeps numbers, here a second name for the CPU."""
    rows = []
    for moves in (False, True):
        keras.utils.set_random_seed(1)
        model, (x, y, _) = built("dense"), batch("dense")
        for _ in range(2):
            if moves:
                for variable in [*model.variables, *model.optimizer.variables]:
                    variable.storage = torch.tensor(variable.numpy())
                devices._MOVES[0] += 1
            model.fit(x.numpy(), y.numpy(), batch_size=2, verbose=0)
        rows.append(model.get_weights())
    for a, b in zip(*rows, strict=True):
        np.testing.assert_array_equal(a, b)


def test_eager_operators_follow_their_tensors() -> None:
    x = torch.ones(3, device=META)
    assert keras.ops.add(x, np.ones(3)).device == META
    assert keras.ops.add(np.ones(3, "float32"), x).device == META
    with device_scope("meta"):
        assert keras.ops.zeros((2,)).device == META
        assert keras.ops.multiply(np.ones(3), 2.0).device == META
        assert keras.Variable(np.ones(2)).value.device == META
        assert keras.ops.convert_to_tensor([1.0]).device == META
    assert keras.ops.zeros((2,)).device == devices.CPU


def test_a_step_of_ones_own_stays_on_the_device() -> None:
    """Eager operators, gradients by ``backward``, the optimizer's assignments: no tensor comes back to the CPU."""

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(1)

        def call(self, x: Any) -> Any:
            return self.dense(x)

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.zero_grad()
            keras.ops.mean(keras.ops.square(self(x) - y)).backward()
            variables = self.trainable_variables
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
            return {}

    model = Own()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    with device_scope("meta"):
        step = model._step("train")
        for _ in range(2):
            step((torch.ones(3, 4), torch.ones(3, 1), None))
    held = [v.storage for v in [*model.variables, *model.optimizer.variables] if v.shape]
    assert held and {t.device for t in held} == {META}


# ---- CUDA, mocked


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
    model, (x, y, _) = built("dense"), batch("dense")
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

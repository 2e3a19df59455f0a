"""Training on a device, as far as a CPU tells.

torch's ``meta`` device stands for a GPU: it refuses to compute with tensors of the CPU, and to be read, which is what
would make a step wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kcompile import keras
from kcompile.engine import devices
from kcompile.engine.context import Running
from kcompile.tracing.scope import device_scope

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


def test_where_a_function_of_variables_runs() -> None:
    here, there, host = (keras.Variable(np.ones(2, "float32")) for _ in range(3))
    here.storage, there.storage, host.storage = torch.ones(2), torch.ones(2, device=META), torch.ones(2, device=META)
    host.on_host = True
    assert devices.placement([here, host]) is None
    assert devices.placement([here, there]) == META
    with device_scope("cpu"):
        assert devices.placement([there]) is None


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

"""`keras.RematScope` and `keras.remat`: the same training with less memory; real Keras is the oracle of the interface."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import kcompile
from kcompile.tracing.scope import device_scope

from tests.keras.support import keras, numbers, real  # isort: skip

MODES: list[dict[str, Any]] = [
    {"mode": "full"},
    {"mode": "activations"},
    {"mode": "larger_than", "output_size_threshold": 40},
    {"mode": "list_of_layers", "layer_names": ["a", "c"]},
    {"mode": None},
]


def test_the_interface_is_that_of_keras() -> None:
    for name in ("RematScope", "remat"):
        ours, theirs = (inspect.signature(getattr(room, name)) for room in (keras, real))
        assert [(p.name, p.default) for p in ours.parameters.values()] == [
            (p.name, p.default) for p in theirs.parameters.values()
        ]
    for room in (keras, real):
        with pytest.raises(ValueError, match=r"Invalid mode 'most'\. Supported modes are"):
            room.RematScope("most")


def test_layers_remember_the_innermost_scope() -> None:
    found = []
    for room in (keras, real):
        layers = [room.layers.Dense(1)]
        with room.RematScope() as scope:
            layers.append(room.layers.Dense(1))
            with room.RematScope("larger_than", 7), room.RematScope("list_of_layers", layer_names=["x"]):
                layers.append(room.layers.Dense(1))
            layers.append(room.layers.Dense(1))
            layers.append(room.layers.Dense.from_config(layers[0].get_config()))
        layers.append(room.layers.Dense.from_config(layers[1].get_config()))
        assert scope.mode == "full"
        found.append([layer._remat_mode and tuple(layer._remat_mode) for layer in layers])
        assert "remat" not in str(layers[1].get_config())
    assert found[0] == found[1]


# ---- the same training


class Block(keras.layers.Layer):
    """Layers within, one of which adds a loss, and a mask that comes from inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(8, "gelu", activity_regularizer="l2")
        self.norm, self.drop = keras.layers.LayerNormalization(), keras.layers.Dropout(0.4)

    def build(self, shape: Any) -> None:
        self.inner.build(shape), self.norm.build(shape)

    def call(self, x: Any) -> Any:
        return x + self.drop(self.norm(self.inner(x)))


def sequence(names: Any) -> list[Any]:
    L = keras.layers
    return [
        L.Masking(), L.Bidirectional(L.GRU(4, return_sequences=True)), L.LSTM(8, dropout=0.3, return_sequences=True),
        L.GlobalAveragePooling1D(),
    ]  # fmt: skip


def shared(names: Any) -> list[Any]:
    L, layer, x = keras.layers, keras.layers.Dense(8, "tanh", name="a"), keras.Input((8,))
    first, second = layer(x), layer(layer(x))
    inner = keras.Sequential([keras.Input((8,)), L.Dense(8, "relu"), L.Dropout(0.3)], name="c")
    return [keras.Model(x, inner(L.Add()([first, second])))]


BUILDS: dict[str, tuple[tuple[int, ...], Callable[[Any], list[Any]]]] = {
    "dense": ((8,), lambda L: [L.Dense(8, "gelu", name="a"), L.Dropout(0.3), L.Dense(8, "silu", kernel_regularizer="l2")]),
    "seeds": ((8,), lambda L: [L.Dense(8, name="a"), L.Dropout(0.3, seed=3), L.GaussianNoise(0.2, seed=4)]),
    "statistics": ((8,), lambda L: [L.Dense(8, name="a"), L.BatchNormalization(name="c"), L.Activation("relu")]),
    "image": ((6, 6, 2), lambda L: [L.Conv2D(4, 3, activation="elu"), L.BatchNormalization(), L.SpatialDropout2D(0.3), L.Flatten()]),
    "blocks": ((8,), lambda L: [Block(name="a"), Block(name="b"), Block(name="c")]),
    "sequence": ((5, 3), sequence),
    "shared": ((8,), shared),
}  # fmt: skip


def built(name: str, mode: dict[str, Any], dtype: str = "float32", jit: bool = False) -> Any:
    shape, make = BUILDS[name]
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(dtype)
    try:
        with keras.RematScope(**mode):
            model = keras.Sequential([keras.Input(shape), *make(keras.layers), keras.layers.Dense(1, name="last")])
    finally:
        keras.config.set_dtype_policy(None)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), "mse", jit_compile=jit)
    return model


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    x = numbers((10, *BUILDS[name][0]))
    if name == "sequence":
        x[3, 2:] = 0.0
    return x, numbers((10, 1), 1)


def trained(name: str, mode: dict[str, Any], **options: Any) -> tuple[Any, list[float]]:
    model, (x, y) = built(name, mode, **options), data(name)
    keras.utils.set_random_seed(5)
    history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert not model._step("train").failed
    return model, history.history["loss"]


@pytest.mark.parametrize("mode", MODES, ids=lambda m: str(m["mode"]))
@pytest.mark.parametrize("name", BUILDS)
def test_the_same_weights(name: str, mode: dict[str, Any]) -> None:
    """Chance decides the same again, statistics move once, seeds go on: to the last digits of float32."""
    (ours, losses), (plain, expected) = trained(name, mode), trained(name, {"mode": None})
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for a, b in zip(ours.variables, plain.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-7, err_msg=a.path)
    code, wanted = ours._step("train").traced.runner.forward.code, mode["mode"] == "full"
    assert ("checkpoint(" in code) >= wanted


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float64"])
def test_other_policies(dtype: str) -> None:
    (ours, losses), (plain, expected) = (trained("blocks", m, dtype=dtype) for m in (MODES[0], MODES[-1]))
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_what_larger_than_counts() -> None:
    """Numbers in a layer's outputs, with the batch's size."""
    codes = [built("dense", {"mode": "larger_than", "output_size_threshold": most}) for most in (79, 80)]
    x, y = data("dense")
    for model in codes:
        model.train_on_batch(x, y)
    first, second = (m._step("train").traced.runner.forward.code for m in codes)
    assert first.count("checkpoint(") == 3 and "checkpoint(" not in second


@pytest.mark.parametrize("mode", MODES[:3], ids=lambda m: str(m["mode"]))
def test_trains_as_keras_does(mode: dict[str, Any]) -> None:
    losses = []
    for room in (keras, real):
        with room.RematScope(**mode):
            layers = [room.layers.Dense(8, "gelu"), room.layers.BatchNormalization(), room.layers.Dense(1)]
            model = room.Sequential([room.Input((8,)), *layers])
        model.set_weights([0.5 * numbers(tuple(w.shape), i) + (i > 2) for i, w in enumerate(model.weights)])
        model.compile("sgd", "mse", run_eagerly=True)
        x, y = data("dense")
        losses.append(model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"])
        if room is keras:
            model.compile("sgd", "mse")
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_eager_steps_move_statistics_once() -> None:
    rows = []
    for mode in (MODES[0], MODES[-1]):
        for name in ("statistics", "seeds"):
            model, (x, y) = built(name, mode), data(name)
            model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
            model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
            rows.append([v.numpy() for v in model.variables])
    for with_it, without in ((rows[0], rows[2]), (rows[1], rows[3])):
        for a, b in zip(with_it, without, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_with_jit_compile() -> None:
    (ours, losses), (_, expected) = trained("statistics", MODES[0], jit=True), trained("statistics", MODES[-1])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    compiled = ours._step("train").traced.runner.forward.forward
    assert compiled.run is not compiled.module


# ---- memory


def kept(model: Any, batch: Any) -> int:
    """Bytes that a step keeps for its gradients, each tensor once."""
    found: dict[int, int] = {}
    step = model._step("train")
    step(batch)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        step(batch)
    return sum(found.values())


def test_a_deep_model_keeps_less() -> None:
    """16 blocks of Dense, gelu, layer norm and dropout at a batch of 512: one tensor a block instead of six."""
    rng = np.random.default_rng(0)
    batch = (torch.tensor(rng.random((512, 64), "float32")), torch.ones(512, 1), None)
    sizes = []
    for mode in ("full", None):
        with keras.RematScope(mode):
            layers = [Block() for _ in range(16)]
        for layer in layers:
            layer.inner = keras.layers.Dense(64, "gelu")
        model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        sizes.append(kept(model, batch))
    weights = 16 * (64 * 64 + 3 * 64) * 4
    assert sizes[0] <= 17 * 512 * 64 * 4 + 2 * weights
    assert sizes[0] < 0.3 * sizes[1]


# ---- functions


def test_remat_of_a_function() -> None:
    def twice(x: Any, scale: float = 1.0, *, room: Any) -> Any:
        return room.ops.tanh(room.ops.exp(-x * x) * scale) * 2.0

    gradients = []
    for room in (keras, real):
        x = torch.tensor(numbers((3, 4)), requires_grad=True)
        y = room.remat(twice)(x, scale=2.0, room=room)
        gradients.append(torch.autograd.grad(y.sum(), x)[0])
        np.testing.assert_allclose(y.detach(), twice(x, 2.0, room=room).detach())
    np.testing.assert_allclose(*gradients, rtol=1e-5)


class Function(keras.layers.Layer):
    def __init__(self, change: Any = keras.remat, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = change(self.inner)

    def inner(self, x: Any) -> Any:
        return keras.ops.tanh(x) * keras.ops.sigmoid(x) + 0.1 * x

    def call(self, x: Any) -> Any:
        return self.function(x)


def test_a_layer_that_calls_remat(tmp_path: Any) -> None:
    weights, codes, files = [], [], []
    for change in (keras.remat, lambda f: f):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), Function(change), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(*data("dense"), shuffle=False, verbose=0)
        weights.append(model.get_weights())
        codes.append(model._step("train").traced.runner.forward.code)
        files.append(kcompile.export(model, tmp_path / f"{len(files)}.onnx"))
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert "checkpoint(" in codes[0] and "checkpoint(" not in codes[1]
    assert files[0].nodes == files[1].nodes


# ---- what is left of it


def test_files_do_not_know_of_it(tmp_path: Any) -> None:
    model, _ = trained("dense", MODES[0])
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert all(layer._remat_mode is None for layer in again.layers)
    with keras.RematScope("full"):
        within = keras.models.load_model(tmp_path / "m.keras")
    assert all(layer._remat_mode is not None for layer in within.layers)
    assert kcompile.trace(model) == kcompile.trace(again)


def test_the_code_is_read_with_its_regions() -> None:
    from kcompile.keras.training.code import step_code

    code = step_code(built("blocks", MODES[0]))
    assert "torch.utils.checkpoint.checkpoint(a, in0, " in code
    assert "# self.a\ndef forward(self, in0, " in code and "gelu(" in code.partition("# self.a\n")[2]


def test_on_a_device_seeds_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from kcompile.engine.context import Running

    drawn: list[Any] = []
    monkeypatch.setattr(Running, "generator", lambda self, seed, draw=0: drawn.append(seed.tolist()))
    model = built("seeds", MODES[0])
    x, y = (torch.empty(a.shape, device="meta") for a in data("seeds"))
    with device_scope("meta"):
        step = model._step("train")
        step.traced.prepare((x, y, None))
        step((x, y, None))
    assert not step.failed and drawn[:2] == [[3, 0], [4, 0]]

"""Training in other dtypes than float32, loss scaling with overflows, gradient accumulation: against real Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import array, close, keras, numbers, real  # isort: skip
from keras.src.backend.common import global_state


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    yield
    for room in (keras, real):
        room.config.set_floatx("float32")
    keras.config.set_dtype_policy(None)
    # Real Keras has no public way back to "as floatx".
    global_state.set_global_attribute("dtype_policy", None)


def network(room: Any) -> list[Any]:
    L = room.layers
    return [L.Dense(8, "tanh"), L.LayerNormalization(), L.Dense(8, "gelu"), L.Dense(2)]


def image(room: Any) -> list[Any]:
    L = room.layers
    return [L.Reshape((2, 2, 1)), L.Conv2D(3, 2, activation="relu"), L.BatchNormalization(), L.Flatten(), L.Dense(2)]


def both(make: Any, optimizer: Any, policy: str, layers: Any = network, **options: Any) -> list[Any]:
    models = []
    for room in (keras, real):
        room.config.set_dtype_policy(policy)
        model = room.Sequential([room.Input((4,)), *layers(room)])
        values = [0.4 * numbers(tuple(w.shape), i) for i, w in enumerate(model.weights)]
        model.set_weights(
            [abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, model.weights, strict=True)]
        )
        model.compile(optimizer(room.optimizers), make, metrics=["mae"], **options)
        models.append(model)
    return models


# Rounding of the dtype, over a few steps: 2^-11 and 2^-8 of the numbers' size; losses are floatx, float32 here.
ROUNDING = {"float64": 1e-6, "float16": 1e-2, "bfloat16": 6e-2, "mixed_float16": 3e-3, "mixed_bfloat16": 2e-2}
POLICIES = ["float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]
X, Y = numbers((14, 4)), numbers((14, 2), 1)


@pytest.mark.parametrize("layers", [network, image])
@pytest.mark.parametrize("policy", POLICIES)
def test_fits_as_keras_does(policy: str, layers: Any) -> None:
    ours, theirs = both("mse", lambda o: o.SGD(0.05, momentum=0.9), policy, layers)
    losses = [m.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history for m in (ours, theirs)]
    assert not ours._step("train").failed and type(ours.optimizer).__name__ == type(theirs.optimizer).__name__
    for name in ("loss", "mae"):
        np.testing.assert_allclose(losses[0][name], losses[1][name], rtol=ROUNDING[policy])
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        assert a.dtype == b.dtype
        close(array(a.numpy()).astype("float64"), b.numpy().astype("float64"), ROUNDING[policy], what=a.path)
    outputs = ours.predict(X, verbose=0)
    assert outputs.dtype == theirs.predict(X, verbose=0).dtype


def test_float64_by_floatx() -> None:
    """All of a step, the rate too. The oracle is torch: layer norms and losses of Keras round to float32."""
    for room in (keras, real):
        room.config.set_floatx("float64")
    x, y = X.astype("float64"), Y.astype("float64")
    ours, theirs = both("mse", lambda o: o.SGD(0.05), "float64")
    weights = [torch.tensor(w, requires_grad=True) for w in ours.get_weights()]
    expected = []
    for _ in range(3):
        h = torch.nn.functional.layer_norm(
            torch.tanh(torch.tensor(x) @ weights[0] + weights[1]), (8,), *weights[2:4], 1e-3
        )
        h = torch.nn.functional.gelu(h @ weights[4] + weights[5]) @ weights[6] + weights[7]
        loss = ((h - torch.tensor(y)) ** 2).mean()
        expected.append(float(loss))
        with torch.no_grad():
            for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w -= 0.05 * g
    losses = [m.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"] for m in (ours, theirs)]
    np.testing.assert_allclose(losses[0], expected, rtol=1e-12)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    for a, b in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b.detach(), rtol=1e-12)
    assert {v.dtype for v in ours.optimizer.variables} == {v.dtype for v in theirs.optimizer.variables}


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_layers_of_several_dtypes(optimizer: str) -> None:
    """Updates of lists are of one dtype each, as the kernels of a GPU want them."""

    def layers(room: Any) -> list[Any]:
        return [room.layers.Dense(5, "tanh", dtype=d) for d in ("float64", "float32", "float64", "float32")]

    ours, theirs = both(
        "mse", lambda o: getattr(o, optimizer)(0.05), "float32", lambda r: [*layers(r), r.layers.Dense(2)]
    )
    for model in (ours, theirs):
        model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        close(a.numpy(), b.numpy(), 1e-4, what=a.path)
    lists = ours._step("train").traced.runner.update.lists.values()
    assert len({t.dtype for tensors in lists for t in tensors}) == 2


# ---- loss scaling


def scaling(scale: float, growth: int, **inner: Any) -> Any:
    return lambda o: o.LossScaleOptimizer(o.SGD(0.05, **inner), initial_scale=scale, dynamic_growth_steps=growth)


SCALINGS: dict[str, tuple[Any, list[int]]] = {
    "never too large": (scaling(64.0, 3), []),
    "too large at first": (scaling(2.0**28, 100), []),
    "grows until it is too large": (scaling(2.0**13, 1), []),
    "a batch that overflows": (scaling(256.0, 2, momentum=0.9), [1, 4]),
    "with averages and accumulation": (scaling(256.0, 3, gradient_accumulation_steps=2, use_ema=True), [2]),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_loss_scaling_in_fit(name: str) -> None:
    """The scale and the counter after each step; a step with infinite gradients is left out."""
    optimizer, infinite = SCALINGS[name]
    ours, theirs = both("mse", optimizer, "mixed_float16")
    left_out = 0
    for step in range(8):
        x = X[:4] * (1 + step / 8)
        y = Y[:4] * (1e30 if step in infinite else 1.0)
        before = ours.get_weights()
        for model in (ours, theirs):
            model.train_on_batch(x, y)
        scales = [
            (float(m.optimizer.dynamic_scale.numpy()), int(m.optimizer.step_counter.numpy())) for m in (ours, theirs)
        ]
        assert scales[0] == scales[1], f"step {step}"
        left_out += all((a == b).all() for a, b in zip(before, ours.get_weights(), strict=True))
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            close(a, b, 5e-3, what=f"step {step}")
    assert not ours._step("train").failed
    assert (left_out > 0) == (name != "never too large")


# ---- accumulation

ACCUMULATIONS: list[dict[str, Any]] = [
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3, "clipnorm": 0.3},
    {"gradient_accumulation_steps": 3, "global_clipnorm": 0.3, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 20},
]


@pytest.mark.parametrize("config", ACCUMULATIONS, ids=str)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_accumulation_in_fit(policy: str, config: dict[str, Any]) -> None:
    """Seven steps, so that epochs end between two updates; step numbers as Keras counts them."""
    ours, theirs = both("mse", lambda o: o.Adam(0.05, **config), policy)
    for model in (ours, theirs):
        model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        model.train_on_batch(X[:3], Y[:3])
    assert int(array(ours.optimizer.iterations)) == int(array(theirs.optimizer.iterations))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(a, b, 1e-4 if policy == "float32" else 6e-2)


def test_accumulated_steps_are_one_of_a_larger_batch() -> None:
    keras.config.set_floatx("float64")
    models = []
    for steps, size in ((None, 12), (3, 4)):
        (model, _) = both("mse", lambda o, steps=steps: o.SGD(0.1, gradient_accumulation_steps=steps), "float64")
        model.fit(X[:12].astype("float64"), Y[:12].astype("float64"), batch_size=size, shuffle=False, verbose=0)
        models.append(model.get_weights())
    for a, b in zip(*models, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)

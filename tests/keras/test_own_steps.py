"""Models that override train_step and its kin, as written for Keras on torch: the same code in both Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import close, keras, numbers, real

X, Y = numbers((24, 3), 0, "float32"), numbers((24, 2), 1, "float32")


def network(room: Any) -> list[Any]:
    return [room.layers.Dense(4, activation="tanh"), room.layers.Dense(2)]


def by_hand(room: Any) -> Any:
    """Forward, backward and update written out; a metric of the model's own."""

    class ByHand(room.Model):
        def __init__(self) -> None:
            super().__init__(name="by_hand")
            self.parts = network(room)
            self.error = room.metrics.Mean(name="error")

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def train_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            loss.backward()
            variables = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
            self.error.update_state(room.ops.mean(room.ops.abs(room.ops.stop_gradient(y - y_pred))))
            return {"error": self.error.result(), "twice": 2 * float(loss.detach())}

    return ByHand()


def on_top(room: Any) -> Any:
    """super().train_step with the inputs changed."""

    class OnTop(room.Model):
        def __init__(self) -> None:
            super().__init__(name="on_top")
            self.parts = network(room)

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def train_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            return super().train_step((x * 2.0, y))

        def test_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            return super().test_step((x * 2.0, y))

        def predict_step(self, data: Any) -> Any:
            return super().predict_step(data) + 1.0

    return OnTop()


def own_loss(room: Any) -> Any:
    """compute_loss overridden: traced like the default."""

    class OwnLoss(room.Model):
        def __init__(self) -> None:
            super().__init__(name="own_loss")
            self.parts = network(room)

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            return room.ops.mean(room.ops.abs(y - y_pred)) + 0.1 * room.ops.mean(room.ops.square(self.parts[0].kernel))

    return OwnLoss()


@pytest.mark.parametrize("make", [by_hand, on_top, own_loss], ids=lambda m: m.__name__)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_trains_as_in_keras(make: Any, optimizer: str) -> None:
    models = [make(room) for room in (keras, real)]
    for model, room in zip(models, (keras, real), strict=True):
        model(X)
        model.compile(getattr(room.optimizers, optimizer)(0.05), "mse", metrics=["mae"] if make is on_top else None)
    models[0].set_weights(models[1].get_weights())
    histories = [m.fit(X, Y, batch_size=10, epochs=3, shuffle=False, verbose=0).history for m in models]
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=2e-5, err_msg=key)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        close(a, b, 2e-5, what="weight")
    close(models[0].predict(X, verbose=0), models[1].predict(X, verbose=0), 2e-5, what="prediction")
    if make is not by_hand:
        found = [m.evaluate(X, Y, verbose=0, return_dict=True) for m in models]
        assert found[0].keys() == found[1].keys()
        np.testing.assert_allclose(list(found[0].values()), list(found[1].values()), rtol=2e-5)


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"steps_per_execution": 4}], ids=str)
def test_options_without_effect_say_so(options: dict[str, Any]) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match=f"{next(iter(options))} has no effect yet"):
        model.compile("sgd", "mse", **options)

"""The code of a training step, as it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from kcompile import keras
from kcompile.errors import UsageError
from kcompile.keras.training.code import step_code


def model(*layers: Any, **compiled: Any) -> Any:
    made = keras.Sequential([keras.Input((4,)), *layers])
    if compiled:
        made.compile(**compiled)
    return made


CASES = [
    # layers, loss, what the code holds
    ([keras.layers.Dense(3, name="out")], "mse", ["self.sequential.out.kernel", "torch.square", "torch.matmul"]),
    ([keras.layers.Dense(3, activation="softmax")], "sparse_categorical_crossentropy", ["log_softmax", "torch.gather"]),
    ([keras.layers.Dense(3), keras.layers.Dropout(0.5)], keras.losses.Huber(), ["dropout_noise"]),
]


@pytest.mark.parametrize(("layers", "loss", "wanted"), CASES)
def test_forward_pass_and_update(layers: list[Any], loss: Any, wanted: list[str]) -> None:
    made = model(*layers, optimizer="adam", loss=loss)
    made.name = "sequential"
    before = [w.copy() for w in made.get_weights()]
    code = step_code(made)
    forward, update = code.split("# update")
    assert forward.startswith("# forward pass\ndef forward(self, in0, in1):") and "adam_step(" in update
    assert all(part.split(".")[-1] in forward for part in wanted)
    assert all((a == b).all() for a, b in zip(before, made.get_weights(), strict=True))


def test_what_has_no_code() -> None:
    with pytest.raises(UsageError, match="not compiled"):
        step_code(model(keras.layers.Dense(1)))

    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            return {}

    own = Own()
    own.compile("sgd", "mse")
    with pytest.raises(UsageError, match="train_step of its own"):
        step_code(own)

"""`enable_lora` against real Keras: weights, numbers, training, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.keras.support import export_and_run, keras, numbers, real, same

KINDS: dict[str, tuple[Any, Any]] = {
    "Dense": ((4,), lambda k: k.layers.Dense(3, name="part")),
    "EinsumDense": ((5, 4), lambda k: k.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="e", name="part")),
    "Embedding": ((5,), lambda k: k.layers.Embedding(7, 3, name="part")),
}


def built(room: Any, kind: str, alpha: float | None = 4) -> Any:
    shape, make = KINDS[kind]
    start = room.Input(shape, dtype="int32" if kind == "Embedding" else "float32", name="x")
    model = room.Model(start, make(room)(start), name="m")
    model.get_layer("part").enable_lora(2, lora_alpha=alpha)
    model.set_weights([0.3 * numbers(w.shape, i) for i, w in enumerate(model.weights)])
    return model


def data(kind: str, batch: int = 6) -> np.ndarray:
    return numbers((batch, *KINDS[kind][0]), 3, "int32" if kind == "Embedding" else "float32", 7)


@pytest.mark.parametrize("alpha", [None, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_as_in_keras(kind: str, alpha: float | None) -> None:
    ours, theirs = (built(room, kind, alpha) for room in (keras, real))
    for which in ("weights", "trainable_weights", "non_trainable_weights"):
        assert [w.path for w in getattr(ours, which)] == [w.path for w in getattr(theirs, which)]
    x = data(kind)
    outputs = theirs.predict(x, verbose=0)
    same(ours.predict(x, verbose=0), outputs)
    same(export_and_run(ours, {"x": x})[0], outputs)
    for room, model in ((keras, ours), (real, theirs)):
        model.compile(room.optimizers.SGD(0.1), "mse")
        model.fit(x, numbers(outputs.shape, 5), epochs=3, shuffle=False, verbose=0)
    same(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_sum_and_are_read_by_keras(kind: str, tmp_path: Path) -> None:
    ours, x = built(keras, kind), data(kind)
    wanted = ours.predict(x, verbose=0)
    ours.save(tmp_path / "m.keras")
    for room in (keras, real):
        read = room.models.load_model(tmp_path / "m.keras")
        same(read.predict(x, verbose=0), wanted)
        assert [w.path for w in read.trainable_weights] == [w.path for w in ours.trainable_weights]


def test_what_it_refuses_is_as_in_keras() -> None:
    def constrained(room: Any) -> Any:
        layer = room.layers.Dense(3, kernel_constraint="non_neg")
        layer.build((None, 2))
        return layer

    def twice(room: Any) -> Any:
        layer = room.layers.Dense(3, lora_rank=1)
        layer.build((None, 2))
        return layer

    for make in (lambda room: room.layers.Dense(3), constrained, twice):
        messages = []
        for room in (keras, real):
            with pytest.raises(ValueError) as refused:
                make(room).enable_lora(2)
            messages.append(str(refused.value))
        assert messages[0] == messages[1]

"""Every learning-rate schedule against real Keras: values at many steps, eager, traced and exported; configs."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest

from kcompile.engine.lower import lower
from kcompile.ir import Type, dtype, input_value
from kcompile.tracing.tensor import SymbolicTensor, lift
from kcompile.tracing.tracer import Tracer
from tests.keras.support import array, close, keras, real

START: dict[str, Any] = {"initial_learning_rate": 0.1, "decay_steps": 10}
CASES: list[tuple[str, dict[str, Any]]] = [
    *[(n, {**START, "decay_rate": 0.7, **o}) for n in ("ExponentialDecay", "InverseTimeDecay")
      for o in ({}, {"staircase": True}, {"name": "mine"})],
    *[("PolynomialDecay", {**START, **o}) for o in ({}, {"power": 2.0}, {"cycle": True, "end_learning_rate": 0.01})],
    *[("CosineDecay", {**START, **o}) for o in (
        {}, {"alpha": 0.2}, {"warmup_target": 0.5, "warmup_steps": 7}, {"warmup_target": 0.5, "warmup_steps": 3, "alpha": 0.1})],
    *[("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 6, **o}) for o in (
        {}, {"t_mul": 1.0, "m_mul": 0.5}, {"t_mul": 1.5, "m_mul": 0.9, "alpha": 0.1})],
    ("PiecewiseConstantDecay", {"boundaries": [3, 8], "values": [1.0, 0.5, 0.1]}),
    ("PiecewiseConstantDecay", {"boundaries": [5], "values": [0.5, 0.25], "name": "p"}),
]  # fmt: skip
STEPS = np.arange(60, dtype=np.int32)


@pytest.mark.parametrize("name, config", CASES, ids=str)
def test_schedule(name: str, config: dict[str, Any]) -> None:
    ours, theirs = (getattr(room.optimizers.schedules, name)(**config) for room in (keras, real))
    assert json.dumps(ours.get_config()) == json.dumps(theirs.get_config())
    rows = [
        [(p.name, p.default) for p in inspect.signature(type(s).__init__).parameters.values()] for s in (ours, theirs)
    ]
    assert rows[0] == rows[1]
    written = json.loads(json.dumps(real.optimizers.schedules.serialize(theirs)))
    assert json.loads(json.dumps(keras.optimizers.schedules.serialize(ours))) == written
    ours = keras.optimizers.schedules.deserialize(written)
    step = input_value("step", Type(dtype("int32"), ()))
    tracer = Tracer()
    with tracer.scope():
        rate = lift(ours(SymbolicTensor(step)))
    traced = lower(tracer.graph("rate", [step], [rate]))
    wanted = np.array([array(theirs(real.ops.convert_to_tensor(s))) for s in STEPS])
    close(np.array([array(ours(s)) for s in STEPS]), wanted, 2e-5)
    close(np.array([array(traced(keras.ops.convert_to_tensor(s))[0]) for s in STEPS]), wanted, 2e-5)


def test_every_schedule_has_a_case() -> None:
    names = {n for n in dir(real.optimizers.schedules) if n[0].isupper()} - {"LearningRateSchedule"}
    assert {c.__name__ for c in keras.optimizers.schedules.CLASSES} == {name for name, _ in CASES} == names


@pytest.mark.parametrize("name, config", [
    ("ExponentialDecay", {**START, "decay_steps": 0, "decay_rate": 0.5}), ("CosineDecay", {**START, "decay_steps": -1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 0}),
    ("PiecewiseConstantDecay", {"boundaries": [1, 2], "values": [1.0, 2.0]}),
], ids=str)  # fmt: skip
def test_bad_arguments(name: str, config: dict[str, Any]) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=r"decay_steps|boundaries"):
            getattr(room.optimizers.schedules, name)(**config)


def test_a_schedule_of_ones_own() -> None:
    for room in (keras, real):

        class Warm(room.optimizers.schedules.LearningRateSchedule):
            pass

        with pytest.raises(NotImplementedError, match="Warm"):
            Warm()(1)
        with pytest.raises(NotImplementedError, match="get_config"):
            Warm().get_config()

"""Every optimizer against real Keras: ten steps, each slot, traced and eager, configs, files both ways."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch

from kcompile.engine.eager import hold
from kcompile.engine.foreach import Update
from kcompile.keras.distribution.share import Share
from kcompile.keras.training.steps import trace_update
from kcompile.tracing.variable import Variable
from tests.keras.support import close, keras, numbers, real

DECAY = ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.7})
COMMON: list[dict[str, Any]] = [
    {}, {"learning_rate": 0.1}, {"learning_rate": DECAY}, {"weight_decay": 0.1}, {"clipnorm": 0.5}, {"clipvalue": 0.3},
    {"global_clipnorm": 0.5}, {"use_ema": True, "ema_momentum": 0.7},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3, "learning_rate": 0.1},
    {"gradient_accumulation_steps": 3, "learning_rate": DECAY, "clipnorm": 0.5, "weight_decay": 0.1},
    {"loss_scale_factor": 8.0}, {"name": "mine"},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "learning_rate": 0.1},
]  # fmt: skip
OWN: dict[str, list[dict[str, Any]]] = {
    "SGD": [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
    "Adam": [{"amsgrad": True}, {"beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.1}],
    "AdamW": [{"amsgrad": True, "weight_decay": 0.2}],
    "RMSprop": [{"momentum": 0.5}, {"centered": True}, {"momentum": 0.5, "centered": True, "rho": 0.7, "epsilon": 0.1}],
    "Adagrad": [{"initial_accumulator_value": 0.5, "epsilon": 0.1}],
    "Adadelta": [{"rho": 0.5, "epsilon": 0.1, "learning_rate": 1.0}],
    "Adamax": [{"beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.1}],
    "Nadam": [{"beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.1}],
    "Adafactor": [{"beta_2_decay": -0.5, "epsilon_1": 1e-3, "epsilon_2": 0.1, "clip_threshold": 0.5},
                  {"relative_step": False, "learning_rate": 0.5}],
    "Ftrl": [{"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2, "beta": 0.3, "learning_rate": 0.1},
             {"l2_shrinkage_regularization_strength": 0.3, "learning_rate_power": -0.7, "initial_accumulator_value": 1.0}],
    "Lion": [{"beta_1": 0.5, "beta_2": 0.6}],
    "Lamb": [{"beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.1}],
    "Muon": [{"nesterov": False, "ns_steps": 3, "rms_rate": None}, {"exclude_layers": ["kern"], "adam_lr_ratio": 0.5},
             {"momentum": 0.5, "weight_decay": None, "adam_weight_decay": 0.3}],
    "ScheduleFreeAdamW": [{"warmup_steps": 4, "learning_rate": 0.1}, {"beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.1}],
}  # fmt: skip
CASES = [(name, config) for name, own in OWN.items() for config in COMMON + own]
VALUES = [numbers((3, 2)), numbers((2,), 1)]
STEPS = 10


def gradients(step: int) -> list[np.ndarray]:
    return [numbers((3, 2), 10 + step), numbers((2,), 50 + step)]


def made(room: Any, name: str, config: dict[str, Any]) -> Any:
    rate = config.get("learning_rate")
    if isinstance(rate, tuple):
        config = {**config, "learning_rate": getattr(room.optimizers.schedules, rate[0])(**rate[1])}
    return getattr(room.optimizers, name)(**config)


def variables(room: Any) -> list[Any]:
    kind = Variable if room is keras else real.Variable
    return [kind(a.copy(), name=n) for a, n in zip(VALUES, ("kernel", "bias"), strict=True)]


def check(
    optimizer: Any, weights: list[Any], others: Any, their_weights: list[Any], what: str, rtol: float = 2e-5
) -> None:
    rows = zip([*weights, *optimizer.variables], [*their_weights, *others.variables], strict=True)
    for i, (a, b) in enumerate(rows):
        close(a.numpy(), np.asarray(real.ops.convert_to_numpy(b) if not isinstance(b, Variable) else b.numpy()), rtol,
              what=f"{what}: variable {i} ({a.path})")  # fmt: skip


@pytest.fixture(autouse=True)
def keep_old_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's ScheduleFreeAdamW reads a slot's old value after it has changed it, which on torch is the new one.

    Its other backends, and the paper, use the old one; here the slot gets a new tensor.
    """

    def assign_sub(self: Any, variable: Any, value: Any) -> None:
        variable._value = torch.nn.Parameter((variable.value - value).detach(), requires_grad=False)

    monkeypatch.setattr(real.optimizers.ScheduleFreeAdamW, "assign_sub", assign_sub)


def plain(config: Any) -> Any:
    return json.loads(json.dumps(config))


def check_config(ours: Any, theirs: Any, named: bool = True) -> None:
    """Equal configs; automatic names up to their numbers, which count what other tests made."""
    rows = [plain(optimizer.get_config()) for optimizer in (ours, theirs)]
    if not named:
        names = [row.pop("name").rstrip("0123456789_") for row in rows]
        assert names[0] == names[1]
    assert rows[0] == rows[1]
    if type(ours).__name__ == "Lamb":  # Keras's own `get` does not know its Lamb; loading a file does.
        return
    assert (
        real.optimizers.get(plain(keras.optimizers.serialize(ours))).get_config().keys() == theirs.get_config().keys()
    )


def stepper(optimizer: Any, weights: list[Variable]) -> Any:
    """The traced step as generated code over lists."""
    optimizer.build(weights)
    graph, tracer, groups = trace_update(optimizer, weights, Share())
    tensors = {label: hold(v).detach() for label, v in tracer.variables.items()}
    return Update(graph, tensors, groups, len(weights))


@pytest.mark.parametrize("name, config", CASES, ids=str)
def test_optimizer(name: str, config: dict[str, Any]) -> None:
    ours, theirs, traced = made(keras, name, config), made(real, name, config), made(keras, name, config)
    check_config(ours, theirs, named="name" in config)
    ours = keras.optimizers.get(plain(real.optimizers.serialize(theirs)))
    check_config(ours, theirs)
    weights, their_weights, traced_weights = variables(keras), variables(real), variables(keras)
    update = stepper(traced, traced_weights)
    for step in range(STEPS):
        given = [torch.from_numpy(g) for g in gradients(step)]
        with torch.no_grad():
            theirs.apply(given, their_weights)
            ours.apply([g.clone() for g in given], weights)
        update([g.clone() for g in given])
        check(ours, weights, theirs, their_weights, f"step {step}")
        check(traced, traced_weights, ours, weights, f"traced, step {step}")
    for optimizer, trained in ((ours, weights), (theirs, their_weights), (traced, traced_weights)):
        optimizer.finalize_variable_values(trained)
    check(ours, weights, theirs, their_weights, "finalized")
    check(traced, traced_weights, ours, weights, "traced, finalized")


@pytest.mark.parametrize("name", [*OWN, "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"])
def test_signature_and_names(name: str) -> None:
    ours, theirs = getattr(keras.optimizers, name), getattr(real.optimizers, name)
    rows = [
        [(p.name, p.kind, p.default) for p in inspect.signature(cls.__init__).parameters.values()]
        for cls in (ours, theirs)
    ]
    assert rows[0] == rows[1]
    if name in OWN:
        assert type(keras.optimizers.get(name.upper())) is ours is type(keras.optimizers.get(name.lower()))


def test_every_optimizer_has_a_case() -> None:
    assert {c.__name__ for c in keras.optimizers.CLASSES} == {
        *OWN,
        "LossScaleOptimizer",
        "MultiOptimizer",
        "OptimizerMap",
    }
    public = {n for n in dir(real.optimizers) if n[0].isupper()}
    assert public <= set(dir(keras.optimizers))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("SGD", {"momentum": 2.0}, "momentum"), ("SGD", {"learning_rate": 1}, "learning_rate"),
    ("SGD", {"clipnorm": 1.0, "clipvalue": 1.0}, "clipnorm"), ("Adam", {"speed": 1}, "not recognized"),
    ("Adam", {"gradient_accumulation_steps": 1}, "gradient_accumulation_steps"),
    ("Adam", {"use_ema": True, "ema_momentum": 1.5}, "ema_momentum"),
    ("Adam", {"use_ema": True, "ema_overwrite_frequency": 0.5}, "ema_overwrite_frequency"),
    ("AdamW", {"weight_decay": None}, "weight_decay"), ("Lion", {"beta_1": 0.0}, "beta_1"),
    ("Ftrl", {"learning_rate_power": 0.1}, "learning_rate_power"), ("Ftrl", {"l1_regularization_strength": -1.0}, "l1_reg"),
]  # fmt: skip


@pytest.mark.parametrize("name, config, words", REFUSED, ids=str)
def test_bad_arguments(name: str, config: dict[str, Any], words: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=words):
            getattr(room.optimizers, name)(**config)


def test_weight_decay_exceptions_and_missing_gradients() -> None:
    for excluded in ({"var_names": ["bi"]}, {"var_list": [1]}):
        rows = []
        for room in (keras, real):
            optimizer, weights = room.optimizers.AdamW(0.1, weight_decay=0.5), variables(room)
            given = {k: [weights[i] if isinstance(i, int) else i for i in v] for k, v in excluded.items()}
            optimizer.exclude_from_weight_decay(**given)
            optimizer.build(weights)
            rows.append((optimizer, weights))
            if room is keras:
                traced, others = room.optimizers.AdamW(0.1, weight_decay=0.5), variables(room)
                given = {k: [others[i] if isinstance(i, int) else i for i in v] for k, v in excluded.items()}
                traced.exclude_from_weight_decay(**given)
                update = stepper(traced, others)
        for step in range(3):
            given = [torch.from_numpy(g) for g in gradients(step)]
            for optimizer, weights in rows:
                with (
                    torch.no_grad(),
                    pytest.warns(UserWarning, match="radients do not exist") if step == 1 else torch.no_grad(),
                ):
                    optimizer.apply([given[0], None] if step == 1 else given, weights)
            if step == 0:
                update(given)
                check(traced, others, *rows[0], "traced")
        check(*rows[0], *rows[1], "eager")


SHAPES: Any = [(3, 2), (2,), (4, 4), (2, 3, 2), ()]


@pytest.mark.parametrize("name", [n for n in OWN if n not in ("Muon", "Adafactor", "Lamb")])
def test_calls_do_not_grow_with_the_variables(name: str) -> None:
    lengths = []
    for count in (2, 5):
        optimizer = getattr(keras.optimizers, name)(
            0.1, weight_decay=0.1, clipvalue=0.5, use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=2
        )
        weights = [Variable(numbers(s), name=f"v{i}") for i, s in enumerate(SHAPES[:count])]
        lengths.append(len(stepper(optimizer, weights).code.splitlines()))
    assert lengths[0] == lengths[1]


# ---- what is not one rule for every variable


def loss_scaled(room: Any) -> Any:
    return room.optimizers.LossScaleOptimizer(room.optimizers.Adam(0.1), initial_scale=64.0, dynamic_growth_steps=3)


def multi(room: Any) -> Any:
    chosen = room.optimizers.OptimizerMap(room.optimizers.Adam(0.1), {"ker.*": room.optimizers.SGD(0.2, momentum=0.5)})
    return room.optimizers.MultiOptimizer(chosen, loss_scale_factor=4.0)


@pytest.mark.parametrize("make", [loss_scaled, multi])
def test_wrapping_optimizers(make: Any) -> None:
    ours, theirs, traced = make(keras), make(real), make(keras)
    ours = keras.optimizers.get(plain(real.optimizers.serialize(theirs)))
    assert ours.get_config().keys() == theirs.get_config().keys()
    weights, their_weights, traced_weights = variables(keras), variables(real), variables(keras)
    update = stepper(traced, traced_weights)
    ours.build(weights), theirs.build(their_weights)
    for step in range(STEPS):
        given = [torch.from_numpy(g) for g in gradients(step)]
        if step in (2, 8) and make is loss_scaled:
            given[1][0] = float("inf" if step == 2 else "nan")
        with torch.no_grad():
            theirs.apply(given, their_weights)
            ours.apply([g.clone() for g in given], weights)
        update([g.clone() for g in given])
        check(ours, weights, theirs, their_weights, f"step {step}")
        check(traced, traced_weights, ours, weights, f"traced, step {step}")
        for room_optimizer in (ours, traced):
            scaled = room_optimizer.scale_loss(torch.tensor(2.0))
            close(np.asarray(scaled), np.asarray(theirs.scale_loss(torch.tensor(2.0)).detach()))


# ---- in models


def model(room: Any, optimizer: Any, **policy: Any) -> Any:
    built = room.Sequential(
        [room.Input((4,)), room.layers.Dense(3, name="one", **policy), room.layers.Dense(2, name="two")]
    )
    built.set_weights([0.5 * numbers(tuple(w.shape), i) for i, w in enumerate(built.weights)])
    built.compile(optimizer, "mse")
    return built


X, Y = numbers((8, 4)), numbers((8, 2), 1)
FITTED = [(n, {"learning_rate": 0.1}) for n in OWN] + [
    ("Adam", {"use_ema": True, "ema_overwrite_frequency": 2, "ema_momentum": 0.5}), ("SGD", {"loss_scale_factor": 16.0}),
    ("Nadam", {"gradient_accumulation_steps": 2, "use_ema": True}), ("RMSprop", {"learning_rate": DECAY, "centered": True}),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, config", [*FITTED, (loss_scaled, {}), (multi, {})], ids=lambda x: getattr(x, "__name__", str(x))
)
def test_fit_and_files_both_ways(name: Any, config: dict[str, Any], tmp_path: Any) -> None:
    make = name if callable(name) else lambda room: made(room, name, config)
    ours, theirs = model(keras, make(keras)), model(real, make(real))
    for fitted in (ours, theirs):
        fitted.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert not ours._steps["train"].failed
    check(ours.optimizer, ours.weights, theirs.optimizer, theirs.weights, "after fit", 1e-4)
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    back = real.saving.load_model(tmp_path / "ours.keras")
    check(ours.optimizer, ours.weights, back.optimizer, back.weights, "ours in Keras")
    again = keras.saving.load_model(tmp_path / "theirs.keras")
    check(again.optimizer, again.weights, theirs.optimizer, theirs.weights, "Keras's here")
    for fitted in (again, theirs):
        fitted.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    check(again.optimizer, again.weights, theirs.optimizer, theirs.weights, "trained on", 1e-4)


def test_an_optimizer_of_ones_own() -> None:
    """As one writes it for Keras: own slots, `assign_add`, operators on variables."""
    rows = []
    for room in (keras, real):

        class Mine(room.optimizers.Optimizer):
            def build(self, var_list: Any, room: Any = room) -> None:
                room.optimizers.Optimizer.build(self, var_list)
                self.means = self.add_optimizer_variables(var_list, "mean", "ones")
                self.total = self.add_variable(shape=(), initializer="zeros", dtype="float32", name="total")

            def update_step(self, gradient: Any, variable: Any, learning_rate: Any, room: Any = room) -> None:
                mean = self.means[self._get_variable_index(variable)]
                self.assign_add(mean, (gradient - mean) * 0.5)
                self.assign_add(self.total, room.ops.sum(gradient))
                step = room.ops.cast(self.iterations + 1, variable.dtype)
                self.assign_sub(variable, learning_rate * mean / step)

        fitted = model(room, Mine(learning_rate=0.1, clipnorm=1.0))
        fitted.fit(X, Y, batch_size=2, epochs=2, shuffle=False, verbose=0)
        rows.append(fitted)
    assert not rows[0]._steps["train"].failed
    check(rows[0].optimizer, rows[0].weights, rows[1].optimizer, rows[1].weights, "own optimizer")


def test_the_rate_can_be_changed_while_training() -> None:
    rows = []
    for room in (keras, real):
        fitted = model(room, room.optimizers.SGD(0.1))
        rows.append(fitted)
        for rate in (0.1, 0.3, made(room, "SGD", {"learning_rate": DECAY})._learning_rate):
            fitted.optimizer.learning_rate = rate
            fitted.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    check(rows[0].optimizer, rows[0].weights, rows[1].optimizer, rows[1].weights, "changed rate")


def test_a_callable_rate_is_called_at_every_step() -> None:
    rows = []
    for room in (keras, real):
        rates = iter([0.1, 0.2, 0.3, 0.4] * 4)
        fitted = model(room, room.optimizers.SGD(lambda rates=rates: next(rates)))
        fitted.fit(X, Y, batch_size=2, epochs=1, shuffle=False, verbose=0)
        rows.append(fitted)
    check(rows[0].optimizer, rows[0].weights, rows[1].optimizer, rows[1].weights, "callable rate")


def test_float16_training_scales_its_loss() -> None:
    ours, theirs = (model(room, room.optimizers.SGD(0.1), dtype="mixed_float16") for room in (keras, real))
    for fitted in (ours, theirs):
        assert type(fitted.optimizer).__name__ == "SGD", "a layer's policy is not the model's"
    choose = (keras.dtype_policies.set_dtype_policy, real.config.set_dtype_policy)
    for set_policy in choose:
        set_policy("mixed_float16")
    try:
        ours, theirs = (model(room, room.optimizers.SGD(0.1)) for room in (keras, real))
    finally:
        for set_policy in choose:
            set_policy("float32")
    assert type(ours.optimizer).__name__ == type(theirs.optimizer).__name__ == "LossScaleOptimizer"
    for fitted in (ours, theirs):
        fitted.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    # Gradients are half precision: 2^-11 of rounding in each.
    check(ours.optimizer, ours.weights, theirs.optimizer, theirs.weights, "float16", 2e-3)

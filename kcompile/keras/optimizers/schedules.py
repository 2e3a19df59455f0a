"""Learning-rate schedules: the rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object


class LearningRateSchedule:
    """Called with the step (a tensor), gives the rate."""

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__(self, step)`")

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must implement `get_config`")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class _Decay(LearningRateSchedule):
    """Base of schedules whose config is the constructor's arguments: ``arguments`` names them."""

    arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in self.arguments}


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"Argument `{name}` must be > 0. Received: {name}={value}")


def _float(step: Any) -> Any:
    return ops.cast(step, "float32")


class ExponentialDecay(_Decay):
    """initial * decay_rate ^ (step / decay_steps); in whole periods where ``staircase``."""

    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        _positive("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: Any) -> Any:
        periods = ops.divide(_float(step), float(self.decay_steps))
        periods = ops.floor(periods) if self.staircase else periods
        return ops.multiply(ops.power(_float(self.decay_rate), periods), float(self.initial_learning_rate))


class InverseTimeDecay(_Decay):
    """initial / (1 + decay_rate * step / decay_steps); in whole periods where ``staircase``."""

    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        _positive("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: Any) -> Any:
        periods = ops.divide(_float(step), float(self.decay_steps))
        periods = ops.floor(periods) if self.staircase else periods
        left = ops.add(ops.multiply(periods, float(self.decay_rate)), 1.0)
        return ops.divide(float(self.initial_learning_rate), left)


class PiecewiseConstantDecay(_Decay):
    """values[i] as far as step boundaries[i], including it; the last value from there on."""

    arguments = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. "
                f"Received: {len(boundaries)} boundaries {boundaries} and {len(values)} values {values}."
            )
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step: Any) -> Any:
        step = ops.convert_to_tensor(step)
        rate: Any = _float(self.values[-1])
        for boundary, value in zip(self.boundaries[::-1], self.values[-2::-1], strict=True):
            rate = ops.where(ops.less_equal(step, ops.cast(boundary, step.dtype)), float(value), rate)
        return rate


class PolynomialDecay(_Decay):
    """From the initial to the end rate along (1 - step / decay_steps) ^ power; ``cycle`` starts anew, each time longer."""

    arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        _positive("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name

    def __call__(self, step: Any) -> Any:
        step, length = _float(step), float(self.decay_steps)
        if self.cycle:
            cycles = ops.where(ops.equal(step, 0.0), 1.0, ops.ceil(ops.divide(step, length)))
            fraction = ops.divide(step, ops.multiply(cycles, length))
        else:
            fraction = ops.divide(ops.minimum(step, length), length)
        left = ops.power(ops.subtract(1.0, fraction), float(self.power))
        span = float(self.initial_learning_rate) - float(self.end_learning_rate)
        return ops.add(ops.multiply(left, span), float(self.end_learning_rate))


class CosineDecay(_Decay):
    """Half a cosine from the initial rate down to alpha times it, after a linear warm-up where one is given."""

    arguments = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        _positive("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps, self.alpha = initial_learning_rate, decay_steps, alpha
        self.name, self.warmup_target, self.warmup_steps = name, warmup_target, warmup_steps

    def __call__(self, step: Any) -> Any:
        step, start = _float(step), float(self.initial_learning_rate)
        if self.warmup_target is None:
            return self._decayed(step, start)
        warm, target = float(self.warmup_steps), float(self.warmup_target)
        decayed = self._decayed(ops.subtract(step, warm), target)
        if not warm:
            return decayed
        warming = ops.add(ops.multiply(ops.divide(step, warm), target - start), start)
        return ops.where(ops.less(step, warm), warming, decayed)

    def _decayed(self, step: Any, start: float) -> Any:
        fraction = ops.divide(ops.minimum(step, float(self.decay_steps)), float(self.decay_steps))
        wave = ops.multiply(ops.add(ops.cos(ops.multiply(fraction, math.pi)), 1.0), 0.5)
        return ops.multiply(ops.add(ops.multiply(wave, 1.0 - self.alpha), float(self.alpha)), start)


class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after the other, each t_mul times as long and m_mul times as high (Loshchilov & Hutter 2016)."""

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        _positive("first_decay_steps", first_decay_steps)
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self._t_mul, self._m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step: Any) -> Any:
        fraction = ops.divide(_float(step), float(self.first_decay_steps))
        growth = _float(self._t_mul)
        if self._t_mul == 1.0:
            restarts = ops.floor(fraction)
            fraction = ops.subtract(fraction, restarts)
        else:
            # Periods are a geometric series: its partial sums say where each begins.
            grown = ops.subtract(1.0, ops.multiply(fraction, 1.0 - self._t_mul))
            restarts = ops.floor(ops.divide(ops.log(grown), ops.log(growth)))
            length = ops.power(growth, restarts)
            begun = ops.divide(ops.subtract(1.0, length), 1.0 - self._t_mul)
            fraction = ops.divide(ops.subtract(fraction, begun), length)
        height = ops.power(_float(self._m_mul), restarts)
        wave = ops.multiply(ops.add(ops.cos(ops.multiply(fraction, math.pi)), 1.0), ops.multiply(height, 0.5))
        decayed = ops.add(ops.multiply(wave, 1.0 - self.alpha), float(self.alpha))
        return ops.multiply(decayed, float(self.initial_learning_rate))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self._t_mul,
            "m_mul": self._m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }


CLASSES: tuple[type[LearningRateSchedule], ...] = (
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay,
)  # fmt: skip


def serialize(learning_rate_schedule: LearningRateSchedule) -> Any:
    """The schedule's config."""
    return serialize_keras_object(learning_rate_schedule)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The schedule of a config."""
    return deserialize_keras_object(config, custom_objects)

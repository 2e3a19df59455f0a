"""`keras.optimizers`."""

from __future__ import annotations

from typing import Any

from kcompile.errors import printable
from kcompile.keras.optimizers import schedules
from kcompile.keras.optimizers.adadelta import Adadelta
from kcompile.keras.optimizers.adafactor import Adafactor
from kcompile.keras.optimizers.adagrad import Adagrad
from kcompile.keras.optimizers.adam import Adam, AdamW
from kcompile.keras.optimizers.adamax import Adamax
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.ftrl import Ftrl
from kcompile.keras.optimizers.lamb import Lamb
from kcompile.keras.optimizers.lion import Lion
from kcompile.keras.optimizers.loss_scale import LossScaleOptimizer
from kcompile.keras.optimizers.multi import MultiOptimizer, OptimizerMap
from kcompile.keras.optimizers.muon import Muon
from kcompile.keras.optimizers.nadam import Nadam
from kcompile.keras.optimizers.rmsprop import RMSprop
from kcompile.keras.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from kcompile.keras.optimizers.sgd import SGD
from kcompile.keras.saving.lookup import find
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object

CLASSES: tuple[Any, ...] = (
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, LossScaleOptimizer, MultiOptimizer, Muon,
    Nadam, OptimizerMap, RMSprop, SGD, ScheduleFreeAdamW,
)  # fmt: skip
_BY_LOWER_NAME = {c.__name__.lower(): c for c in CLASSES}


def serialize(optimizer: Optimizer) -> Any:
    """The optimizer's config."""
    return serialize_keras_object(optimizer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer of a config; class names of Keras's own optimizers in any case."""
    known = _BY_LOWER_NAME.get(str(config.get("class_name")).lower())
    named = config if known is None else {**config, "class_name": known.__name__}
    return deserialize_keras_object(named, custom_objects)


def get(identifier: Any) -> Any:
    """The optimizer for a name (any case), a config, a class or an instance; None stays None.

    Raises ValueError for what is no optimizer.
    """
    if isinstance(identifier, dict):
        found = deserialize(identifier)
    else:
        name = (
            identifier.lower() if isinstance(identifier, str) and identifier.lower() in _BY_LOWER_NAME else identifier
        )
        found = find(name, CLASSES, "optimizer", _BY_LOWER_NAME)
    if found is not None and not isinstance(found, Optimizer):
        raise ValueError(f"Could not interpret optimizer identifier: {printable(repr(identifier))}")
    return found


__all__ = [
    "CLASSES", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion",
    "LossScaleOptimizer", "MultiOptimizer", "Muon", "Nadam", "Optimizer", "OptimizerMap", "RMSprop",
    "ScheduleFreeAdamW", "deserialize", "get", "schedules", "serialize",
]  # fmt: skip

"""The initializer, regularizer and constraint of each weight, which most layers take by the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcompile.keras import constraints, initializers, regularizers
from kcompile.keras.saving.serialization import serialize_keras_object
from kcompile.tracing.variable import Variable


def get_parameters(layer: Any, arguments: Mapping[str, Any], *weights: str) -> None:
    """Set ``kernel_initializer`` and so on from a constructor's arguments, those that it has."""
    for weight in weights:
        for suffix, room in (("initializer", initializers), ("regularizer", regularizers), ("constraint", constraints)):
            name = f"{weight}_{suffix}"
            if name in arguments:
                setattr(layer, name, room.get(arguments[name]))


def add_parameter(layer: Any, name: str, shape: tuple[int, ...], of: str | None = None, **options: Any) -> Variable:
    """A weight with the initializer, regularizer and constraint that the layer holds for ``of`` (or its name)."""
    prefix = of or name
    initializer = options.pop("initializer", None)
    return layer.add_weight(
        shape,
        initializer if initializer is not None else getattr(layer, f"{prefix}_initializer"),
        regularizer=getattr(layer, f"{prefix}_regularizer", None),
        constraint=getattr(layer, f"{prefix}_constraint", None),
        name=name,
        **options,
    )


def serialized(layer: Any, *weights: str) -> dict[str, Any]:
    """The same as config entries, in Keras's order."""
    found: dict[str, Any] = {}
    for suffix in ("initializer", "regularizer"):
        for weight in weights:
            if hasattr(layer, f"{weight}_{suffix}"):
                found[f"{weight}_{suffix}"] = serialize_keras_object(getattr(layer, f"{weight}_{suffix}"))
    if hasattr(layer, "activity_regularizer"):
        found["activity_regularizer"] = serialize_keras_object(layer.activity_regularizer)
    for weight in weights:
        if hasattr(layer, f"{weight}_constraint"):
            found[f"{weight}_constraint"] = serialize_keras_object(getattr(layer, f"{weight}_constraint"))
    return found

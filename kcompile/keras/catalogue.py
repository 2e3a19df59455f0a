"""The table of everything that a Keras config may name, under the module that Keras writes for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcompile.keras import (
    activations,
    constraints,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    random_state,
    regularizers,
)
from kcompile.keras.saving.registration import BUILTINS, public_name


def named(items: Iterable[Any]) -> dict[str, Any]:
    """Classes and functions by the names that Keras gives them."""
    return {public_name(x): x for x in items}


BUILTINS.update(
    {
        "keras.layers": named(layers.CLASSES),
        "keras": named([models.Sequential, models.Model, dtype_policies.DTypePolicy]),
        "keras.dtype_policies": named([dtype_policies.DTypePolicyMap]),
        "keras.src.models.functional": named([models.Functional]),
        "keras.initializers": named(initializers.CLASSES),
        "keras.regularizers": named(regularizers.CLASSES),
        "keras.constraints": named(constraints.CLASSES),
        "keras.optimizers": named(optimizers.CLASSES),
        "keras.optimizers.schedules": named(optimizers.schedules.CLASSES),
        "keras.losses": named([*losses.CLASSES, *losses.FUNCTIONS]),
        "keras.metrics": named([*metrics.CLASSES, *metrics.FUNCTIONS]),
        "keras.activations": named(activations.FUNCTIONS),
        "keras.random": named([random_state.SeedGenerator]),
    }
)

"""Whole models in HDF5 (``.h5``), the format of Keras 2 that Keras 3 still reads and writes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, UnsupportedError, UsageError, printable
from kcompile.keras.saving.legacy_config import with_modules, without_legacy
from kcompile.keras.saving.serialization import serialize_keras_object


def save(model: Any, stream: Any, version: str) -> None:
    """Write architecture, weights and what `compile` was given; the optimizer's state is not in it."""
    from kcompile.files.legacy_h5 import write_legacy

    config = serialize_keras_object(model)
    compiled = config.pop("compile_config", None)
    attributes = {"keras_version": version, "backend": "torch", "model_config": json.dumps(config)}
    if compiled is not None:
        training = {k: v for k, v in compiled.items() if k != "optimizer"}
        attributes["training_config"] = json.dumps({**training, "optimizer_config": compiled["optimizer"]})
    layers = [(layer.name, [(w.path, w.numpy()) for w in ordered(layer)]) for layer in model.layers]
    write_legacy(stream, attributes, layers, [(w.path, w.numpy()) for w in top_level(model)])


def config_of(path: Path, reader: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the model's config, that of `compile` or None) in Keras 3's form."""
    config = reader.config("model_config")
    if config is None:
        raise FileFormatError(
            f"{path}: holds no model_config: these are weights alone; load them with model.load_weights"
        )
    training = reader.config("training_config")
    try:
        if training is None:
            return without_legacy(config), None
        optimizer = training.pop("optimizer_config", None)
        return without_legacy(config), {**with_modules(training), "optimizer": without_legacy(optimizer)}
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from error


def restore(model: Any, reader: Any) -> None:
    """Set all weights, layer by layer in the model's order; nothing changes where they don't fit."""
    layers = [layer for layer in model.layers if layer.weights]
    stored = reader.layers()
    if len(layers) != len(stored):
        raise FileFormatError(
            f"{reader.label}: holds weights of {len(stored)} layers, the model has {len(layers)} with weights"
        )
    pending: list[tuple[Any, np.ndarray]] = []
    groups = [*((ordered(layer), *entry) for layer, entry in zip(layers, stored, strict=True)),
              (top_level(model), model.name, reader.top_level())]  # fmt: skip
    for variables, name, datasets in groups:
        if len(variables) != len(datasets):
            raise FileFormatError(
                f"{reader.label}: layer {printable(name)} has {len(datasets)} weights in the file and {len(variables)} "
                "in the model"
            )
        pending += [(v, reader.array(d, v.shape, v.path)) for v, d in zip(variables, datasets, strict=True)]
    for variable, array in pending:
        variable.assign(array)


def ordered(layer: Any) -> list[Any]:
    """A layer's weights in this format's order: those that training changes first."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def top_level(model: Any) -> list[Any]:
    """A model's own weights, outside of its layers."""
    inner = {id(w) for layer in model.layers for w in layer.weights}
    return [w for w in ordered(model) if id(w) not in inner]


def tell_about_optimizer(reader: Any) -> None:
    """One line where the file holds what is not read."""
    if reader.has_optimizer_state():
        warnings.warn(
            f"{reader.label}: the optimizer's state is not read from .h5 files; training starts with a fresh one (save as "
            ".keras to keep it)",
            stacklevel=4,
        )


def check_name(path: Path) -> None:
    """Raise UsageError where the name says that the file holds weights alone."""
    if path.name.endswith(".weights.h5"):
        raise UsageError(f"{path}: holds weights alone; build the model and call model.load_weights")


def check_model(model: Any) -> None:
    """Raise UnsupportedError for a model whose weights have no place in this format."""
    if not model.built:
        raise UnsupportedError(
            f"model {model.name!r} has no weights yet: build it (or call it once) before saving as .h5"
        )

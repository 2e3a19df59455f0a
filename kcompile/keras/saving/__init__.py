"""`keras.saving`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcompile.keras.saving.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)


def load_model(
    filepath: str | Path, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model of a ``.keras`` file; see `kcompile.keras.saving.keras_file.load_model`."""
    from kcompile.keras.saving.keras_file import load_model as load

    return load(filepath, custom_objects, compile, safe_mode)


def save_model(model: Any, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a ``.keras`` file."""
    model.save(filepath, overwrite=overwrite)


def serialize_keras_object(obj: Any) -> Any:
    """An object's config."""
    from kcompile.keras.saving import serialization

    return serialization.serialize_keras_object(obj)


def deserialize_keras_object(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The object of a config."""
    from kcompile.keras.saving import serialization

    return serialization.deserialize_keras_object(config, custom_objects)


__all__ = [
    "CustomObjectScope", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
    "get_registered_name", "get_registered_object", "load_model", "register_keras_serializable", "save_model",
    "serialize_keras_object",
]  # fmt: skip

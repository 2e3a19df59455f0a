"""Finds the class or function that a name or config means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.errors import did_you_mean, printable
from kcompile.keras.naming import to_snake_case
from kcompile.keras.saving.registration import find_custom
from kcompile.keras.saving.serialization import deserialize_keras_object


def find(identifier: Any, classes: Sequence[type], what: str, aliases: dict[str, Any] | None = None) -> Any:
    """An instance for None, a name, a config, a class, an instance or a callable.

    Raises ValueError for a name that is not known.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize_keras_object(identifier)
    if isinstance(identifier, str):
        table = {c.__name__: c for c in classes} | {to_snake_case(c.__name__): c for c in classes} | (aliases or {})
        found = table.get(identifier) or find_custom(identifier)
        if found is None:
            raise ValueError(
                f"Could not interpret {what} identifier: {printable(identifier)!r}{did_you_mean(identifier, table)}"
            )
        return found() if isinstance(found, type) else found
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier) or hasattr(identifier, "get_config"):
        return identifier
    raise ValueError(f"Could not interpret {what} identifier: {printable(repr(identifier))}")


def find_function(identifier: Any, functions: Sequence[Any], what: str, aliases: dict[str, Any] | None = None) -> Any:
    """A function for a name, a config of a registered one, or a callable. Raises ValueError for an unknown name."""
    if isinstance(identifier, dict):
        return deserialize_keras_object(identifier)
    if isinstance(identifier, str):
        table = {f.__name__: f for f in functions} | (aliases or {})
        found = table.get(identifier) or find_custom(identifier)
        if found is None:
            raise ValueError(
                f"Could not interpret {what} function identifier: {printable(identifier)!r}"
                f"{did_you_mean(identifier, table)}"
            )
        return found() if isinstance(found, type) else found
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret {what} function identifier: {printable(repr(identifier))}")

"""Names of users' own classes and functions: registered, or given for a while."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

# What a file may name without anything being registered: Keras's module -> name -> class or function.
# Filled once, by `kcompile.keras.catalogue`, so that nothing here depends on what it lists.
BUILTINS: dict[str, dict[str, Any]] = {}
_REGISTERED: dict[str, Any] = {}
_SCOPES: list[dict[str, Any]] = []


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """A decorator: a file may name the class or function as ``package>name``."""

    def decorate(target: Any) -> Any:
        if inspect.isclass(target) and not hasattr(target, "get_config"):
            raise ValueError("Cannot register a class that does not have a get_config() method.")
        _REGISTERED[f"{package}>{name or target.__name__}"] = target
        return target

    return decorate


def get_registered_name(target: Any) -> str:
    """``package>name`` where registered, else the plain name."""
    return next((k for k, v in _REGISTERED.items() if v is target), target.__name__)


def public_name(target: Any) -> str:
    """The name under which Keras exports one of its classes or functions: mostly its own."""
    return vars(target).get("public_name", target.__name__)


def get_registered_object(name: str | None, custom_objects: dict[str, Any] | None = None) -> Any:
    """What is known by this name in the arguments, open scopes or the registry, else None."""
    for table in (custom_objects or {}, *reversed(_SCOPES), _REGISTERED):
        if name in table:
            return table[name]
    return None


def find_custom(name: str) -> Any:
    """A custom object by its full registered name or its bare name, else None."""
    found = get_registered_object(name)
    if found is None:
        found = next((v for k, v in _REGISTERED.items() if k.rpartition(">")[2] == name), None)
    return found


def get_custom_objects() -> dict[str, Any]:
    """The registry itself."""
    return _REGISTERED


@contextlib.contextmanager
def custom_object_scope(custom_objects: dict[str, Any]) -> Iterator[None]:
    """Names known within, for loading."""
    _SCOPES.append(dict(custom_objects))
    try:
        yield
    finally:
        _SCOPES.pop()


CustomObjectScope = custom_object_scope

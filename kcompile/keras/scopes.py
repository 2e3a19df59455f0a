"""`keras.name_scope` and `keras.device`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from kcompile.errors import printable
from kcompile.keras import backend
from kcompile.tracing.scope import device_scope as scope_of_device
from kcompile.tracing.scope import name_scope as scope


@contextlib.contextmanager
def name_scope(name: str, **kwargs: Any) -> Iterator[None]:
    """Variables made within carry the name in front of theirs. Raises ValueError for a name that is no plain string."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"Argument `name` must be a string and cannot contain character `/`. Received: name={name}")
    with scope(name):
        yield


@contextlib.contextmanager
def device(device_name: str) -> Iterator[None]:
    """What is computed within runs on ``cpu``, ``cuda`` or ``cuda:1`` (``gpu`` is the same); models move there when used.

    A model stays where it was moved: outside of all scopes it runs where its variables are. Raises ValueError
    for other names, MissingError where there is no such device.
    """
    if not isinstance(device_name, str):
        raise ValueError(
            "Invalid value for argument `device_name`. Expected a string like 'gpu:0' or 'cpu'. "
            f"Received: device_name='{device_name}'"
        )
    found = re.fullmatch(r"cpu(?::0)?|(?:cuda|gpu)(?::([0-9]+))?", device_name.lower())
    if found is None:
        raise ValueError(f"keras.device({printable(device_name)!r}): expected 'cpu', 'cuda' or 'cuda:1'")
    name = device_name.lower()
    with scope_of_device("cpu" if name.startswith("cpu") else cuda(found[1])):
        yield


def cuda(index: str | None = None) -> str:
    """The name of a CUDA device with its index; MissingError, saying what is missing, where it is not there."""
    return str(backend.devices().cuda(None if index is None else int(index)))


def automatic() -> str:
    """``cuda`` where torch finds one, else ``cpu``."""
    return "cuda" if backend.devices().has_cuda() else "cpu"

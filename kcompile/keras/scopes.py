"""`keras.name_scope` and `keras.device`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kcompile.errors import UnsupportedError
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
    """Accepts the CPU, where models are held; UnsupportedError for others."""
    if str(device_name).lower().partition(":")[0] != "cpu":
        raise UnsupportedError(f"keras.device({device_name!r}): models are held on the CPU; leave it out")
    yield

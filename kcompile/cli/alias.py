"""``import keras`` in a user's script is kcompile's Keras API, so that an unmodified Keras script runs."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator

OURS, THEIRS = "kcompile.keras", "keras"


@contextlib.contextmanager
def keras_alias() -> Iterator[None]:
    """Within, ``keras`` and its submodules are kcompile's own module objects; after it all is as before.

    A part of Keras that kcompile lacks is a ModuleNotFoundError or AttributeError by name, never the
    real Keras's.
    """
    importlib.import_module(OURS)
    before = {name: m for name, m in sys.modules.items() if _is(name, THEIRS)}
    for name in before:
        del sys.modules[name]
    for name in [n for n in sys.modules if _is(n, OURS)]:
        sys.modules[THEIRS + name[len(OURS) :]] = sys.modules[name]
    try:
        yield
    finally:
        for name in [n for n in sys.modules if _is(n, THEIRS)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")

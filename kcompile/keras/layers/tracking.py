"""Finds the layers and variables that an object holds, in the order in which they were assigned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcompile.tracing.variable import Variable


def held(owner: Any, kind: type | tuple[type, ...]) -> Iterator[Any]:
    """Objects of ``kind`` among the attributes of ``owner``, in lists, tuples and dicts too, each once."""
    seen: set[int] = set()
    for name, value in list(vars(owner).items()):
        if name not in _SKIPPED:
            yield from _within(value, kind, seen)


def _within(value: Any, kind: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, kind):
        if id(value) not in seen:
            seen.add(id(value))
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _within(item, kind, seen)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _within(item, kind, seen)


# Attributes that lead back to the owner's surroundings, or hold arguments rather than state.
_SKIPPED = frozenset({"_auto_config", "_called_with", "_compile_arguments", "_kept_states", "_loss_tensors", "_nodes"})


def unique(items: Iterator[Any]) -> list[Any]:
    """Each object once, by identity."""
    return list({id(x): x for x in items}.values())


def variables_of(owner: Any) -> list[Variable]:
    """The variables that an object holds itself, those made trainable first: freezing one later does not move it."""
    found = list(held(owner, Variable))
    return [v for v in found if v.made_trainable] + [v for v in found if not v.made_trainable]

"""Automatic names: ``dense``, ``dense_1``, ..."""

from __future__ import annotations

import re
from collections import defaultdict

_COUNTS: defaultdict[str, int] = defaultdict(int)
_UIDS: defaultdict[str, int] = defaultdict(int)


def to_snake_case(name: str) -> str:
    """``BatchNormalization`` -> ``batch_normalization``, ``Conv2D`` -> ``conv2d``, ``ReLU`` -> ``re_lu``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(prefix: str) -> str:
    """``prefix`` the first time, then ``prefix_1``, ``prefix_2``, ..."""
    count = _COUNTS[prefix]
    _COUNTS[prefix] += 1
    return f"{prefix}_{count}" if count else prefix


def count(prefix: str) -> int:
    """How often this was asked for ``prefix``, 1 the first time."""
    _UIDS[prefix] += 1
    return _UIDS[prefix]


def unique(name: str, used: dict[str, int]) -> str:
    """``name`` or ``name_1``, ... where ``used`` counts the names given so far."""
    count = used.get(name, 0)
    used[name] = count + 1
    return f"{name}_{count}" if count else name


def reset() -> None:
    """Start the counts anew (`keras.utils.clear_session`)."""
    _COUNTS.clear()
    _UIDS.clear()

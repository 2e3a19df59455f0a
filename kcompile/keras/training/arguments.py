"""What `compile`, `fit` and their kin were asked for, checked before anything runs."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from kcompile.errors import printable


def integers(least: int, **given: Any) -> None:
    """Raise TypeError for an argument that is no integer, ValueError for one below ``least``."""
    for name, value in given.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"`{name}` must be an integer, got {printable(repr(value))}")
        if operator.index(value) < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")


def optional_integers(least: int, **given: Any) -> None:
    """`integers` for arguments that may be None."""
    integers(least, **{name: value for name, value in given.items() if value is not None})


def one_of(choices: tuple[Any, ...], **given: Any) -> None:
    """Raise ValueError for an argument that is none of the choices."""
    for name, value in given.items():
        if not (value is None or isinstance(value, (str, int, np.bool_))) or value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {printable(repr(value))}")


def share(**given: Any) -> None:
    """Raise ValueError for an argument that is no number from 0 to 1."""
    for name, value in given.items():
        number = value if isinstance(value, (int, float)) else math.nan
        if not 0 <= number <= 1:
            raise ValueError(f"`{name}` must be a number from 0 to 1, got {printable(repr(value))}")

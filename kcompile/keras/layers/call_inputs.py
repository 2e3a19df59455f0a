"""What a model's first call was given: shapes and dtypes, kept for a later trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import backend, tree


class InputShape:
    """Shape and dtype of one input; not a container, so that structures keep it whole."""

    def __init__(self, shape: Sequence[int | None], dtype: Any, name: str | None = None):
        self.shape, self.dtype, self.name = tuple(shape), dtype, name


def called_with(inputs: Any) -> Any:
    """What a model's first call was given, kept for a later trace: shapes with a free batch, dtypes."""

    def spec(x: Any) -> Any:
        shape = backend.shape_of(x)
        free = [None if i == 0 or not isinstance(d, int) else d for i, d in enumerate(shape)]
        return InputShape(free, backend.dtype_of(x).keras)

    known = [backend.is_array_like(x) for x in tree.leaves(inputs)]
    return tree.map_structure(spec, inputs) if known and all(known) else None

"""The table of all ONNX operators that the IR has a form for."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from kcompile.onnx.reader import (
    convolution,
    elementwise,
    indexing,
    linear,
    movement,
    normalization,
    recurrent,
    reduction,
)
from kcompile.onnx.reader.reading import Function, Reading

FAMILIES: tuple[ModuleType, ...] = (
    elementwise, movement, reduction, indexing, linear, convolution, normalization, recurrent,
)  # fmt: skip


def readings_of(module: ModuleType) -> Iterator[Reading]:
    """The readings that a family's module defines, singly or in tuples."""
    for value in vars(module).values():
        for found in value if isinstance(value, tuple) else (value,):
            if isinstance(found, Reading):
                yield found


READERS: dict[str, Function] = {
    name: reading.function for module in FAMILIES for reading in readings_of(module) for name in reading.op_types
}

"""Rows of tables as a model's batches, and its outputs as rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompile.errors import UsageError, did_you_mean, printable
from kcompile.runtime.model import DTYPES, OnnxModel
from kcompile.tables.columns import Column, Outputs, Place, packed


@dataclass(frozen=True)
class Settings:
    """What a process needs to run a model on rows; ``columns`` tells which ones make each input."""

    model: str
    columns: dict[str, tuple[str, ...]]
    batch_size: int
    device: str
    threads: int | None


def match_columns(
    inputs: Mapping[str, Any], names: Sequence[str], given: Mapping[str, Sequence[str]], where: str
) -> dict[str, tuple[str, ...]]:
    """The columns of each input: those that are ``given`` for it, else the one of its name.

    Raises UsageError for an input that has none. A column without a name is the only input's.
    """
    for name in given:
        if name not in inputs:
            raise UsageError(
                f"the model has no input {printable(name)!r}{did_you_mean(name, inputs)}; it has {[*inputs]}"
            )
    matched = {name: tuple(given.get(name, (name,))) for name in inputs}
    if list(names) == [""]:
        if given or len(inputs) > 1:
            raise UsageError(
                f"{where}: a .npy file is one input, the model has {[*inputs]}; give a .npz file of arrays by name"
            )
        return dict.fromkeys(inputs, ("",))
    for name, columns in matched.items():
        for column in columns:
            if column not in names:
                close = did_you_mean(column, names) or f"; it has {', '.join(map(printable, names[:20]))}"
                hint = "" if name in given else f"; name the input's columns with --columns {name}=..."
                raise UsageError(f"{where}: no column {printable(column)!r} for the model's input{close}{hint}")
    return matched


class Predictor:
    """A session that takes columns of rows and gives the outputs of each row.

    Rows whose shapes differ are run in batches of one shape, so that none is padded: each row's
    outputs are those that it has alone.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.model = OnnxModel(settings.model, settings.device, settings.threads)
        ends = [*self.model.inputs.values(), *self.model.session.get_outputs()]
        for end in ends:
            if not end.shape:
                raise UsageError(f"{printable(end.name)!r} has no batch axis, so the model can't predict row by row")
        # A file made for one batch size runs on nothing else: its last batch is filled up.
        sizes = {i.shape[0] for i in self.model.inputs.values() if isinstance(i.shape[0], int)}
        if len(sizes) > 1:
            raise UsageError(f"the model's inputs have different numbers of rows: {sorted(sizes)}")
        self.fixed = sizes.pop() if sizes else None

    @property
    def dims(self) -> dict[str, tuple[Any, ...]]:
        """Each output's sizes behind the batch axis: integers, or the names of those that vary."""
        return {o.name: tuple(o.shape[1:]) for o in self.model.session.get_outputs()}

    @property
    def varies(self) -> bool:
        """Whether rows of different shapes fit."""
        return any(not isinstance(d, int) for i in self.model.inputs.values() for d in i.shape[1:])

    def __call__(self, columns: Mapping[str, Column]) -> Outputs:
        """Outputs by name for all rows; UsageError names the file, the column and the row that don't fit."""
        inputs = {name: packed([columns[c] for c in made_of]) for name, made_of in self.settings.columns.items()}
        count, places = len(next(iter(inputs.values()))), {name: c.place for name, c in inputs.items()}
        parts: list[tuple[np.ndarray, list[np.ndarray]]] = []
        for rows, same in _by_shape(inputs, count):
            arrays = {name: self._fitted(name, column) for name, column in same.items()}
            size = self.fixed or self.settings.batch_size
            for part in (slice(start, start + size) for start in range(0, len(rows), size)):
                batch = {name: a[part] for name, a in arrays.items()}
                parts.append((rows[part], self._run(batch, places, rows[part])))
        return {
            name: self._joined(name, [(rows, outputs[i]) for rows, outputs in parts], count)
            for i, name in enumerate(self.model.output_names)
        }

    def _fitted(self, name: str, column: Column) -> np.ndarray:
        """Rows in the form that the input has: a number or a flat list of the right length is a tensor of it."""
        array, dims = column.array(), self.model.inputs[name].shape[1:]
        known = all(isinstance(d, int) for d in dims)
        if known and array.ndim <= 2 and math.prod(array.shape[1:]) == math.prod(dims):
            return array.reshape(len(array), *dims)
        return array

    def _run(self, batch: dict[str, np.ndarray], places: dict[str, Place], rows: np.ndarray) -> list[np.ndarray]:
        """Outputs of one batch; the error of one that fails is that of the first row that fails alone."""
        try:
            return self._outputs(batch, places, rows)
        except UsageError:
            for i in range(len(rows)) if len(rows) > 1 else ():
                self._run({n: a[i : i + 1] for n, a in batch.items()}, places, rows[i : i + 1])
            raise

    def _outputs(self, batch: dict[str, np.ndarray], places: dict[str, Place], rows: np.ndarray) -> list[np.ndarray]:
        feeds, count = {}, len(rows)
        for name, array in batch.items():
            if self.fixed is not None and count < self.fixed:
                array = np.concatenate([array, np.repeat(array[-1:], self.fixed - count, axis=0)])
            try:
                feeds[name] = self.model.array(name, array)
            except UsageError as error:
                raise places[name].error(str(error), int(rows[0])) from error
        place = dataclasses.replace(next(iter(places.values())), column="")
        try:
            outputs = self.model.run(feeds)
        except UsageError as error:
            raise place.error(str(error), int(rows[0])) from error
        for name, output in zip(self.model.output_names, outputs, strict=True):
            if len(output) != (self.fixed or count):
                raise UsageError(
                    f"output {printable(name)!r} has {len(output)} rows for {count}: it is not a row of each row"
                )
        return [output[:count] for output in outputs]

    def _joined(
        self, name: str, parts: list[tuple[np.ndarray, np.ndarray]], count: int
    ) -> np.ndarray | list[np.ndarray]:
        """An output's rows in their order."""
        if len({part.shape[1:] for _, part in parts}) > 1:
            found: list[Any] = [None] * count
            for rows, part in parts:
                for row, values in zip(rows, part, strict=True):
                    found[row] = values
            return found
        if not parts:
            output = next(o for o in self.model.session.get_outputs() if o.name == name)
            return np.empty((0, *(d if isinstance(d, int) else 0 for d in output.shape[1:])), DTYPES[output.type])
        joined = np.empty((count, *parts[0][1].shape[1:]), parts[0][1].dtype)
        for rows, part in parts:
            joined[rows] = part
        return joined


def _by_shape(inputs: dict[str, Column], count: int) -> Iterator[tuple[np.ndarray, dict[str, Column]]]:
    """(numbers of the rows, the rows) for each combination of shapes that rows have."""
    if not count:
        return
    shapes = np.concatenate([column.shapes() for column in inputs.values()], axis=1)
    if (shapes == shapes[:1]).all():
        yield np.arange(count), inputs
        return
    kinds, kind = np.unique(shapes, axis=0, return_inverse=True)
    for number in range(len(kinds)):
        rows = np.flatnonzero(kind.reshape(-1) == number)
        yield rows, {name: column.take(rows) for name, column in inputs.items()}

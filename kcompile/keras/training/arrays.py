"""Arrays, tensors and pandas tables as the data of an epoch."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kcompile.errors import printable
from kcompile.keras import backend, config, tree
from kcompile.keras.training.source import Batch, Rows, Source, Span
from kcompile.keras.training.stored import Stored, is_stored


def plain(a: Any) -> Any:
    """A table of pandas or Arrow as an array of its rows, a column as one of shape [N, 1], what is on the disk as `Stored`."""
    if is_stored(a):
        return Stored(a)
    if type(a).__module__ == "pyarrow.lib":
        from kcompile.tables.arrow import to_rows

        return to_rows(a)
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(a, (pandas.DataFrame, pandas.Series)):
        return a
    array = a.to_numpy()
    if array.dtype == object:
        # Columns of several kinds (numbers and truth values, or pandas's own types that know missing values).
        for name, column in a.items() if array.ndim > 1 else [(a.name, a)]:
            if not pandas.api.types.is_numeric_dtype(column.dtype):
                told = "the column" if name is None else f"column {printable(name)!r}"
                raise ValueError(f"{told} holds {column.dtype}, not numbers; encode or leave it out")
        array = a.to_numpy(dtype=config.floatx(), na_value=np.nan)
    return array if array.ndim > 1 else array[:, None]


def numeric(structure: Any) -> Any:
    """Leaves as arrays: pandas tables, and lists of numbers, which are one array and no structure."""
    if isinstance(structure, list) and all(isinstance(a, (int, float, list)) for a in structure):
        try:
            return np.asarray(structure)
        except ValueError as error:
            raise ValueError(
                "lists of different lengths make no array; make them of one length (keras.utils.pad_sequences)"
            ) from error
    if isinstance(structure, (dict, list, tuple)):
        return tree.map_structure(plain, structure)
    return plain(structure)


def as_tensor(a: Any, name: str = "the data") -> Any:
    """A torch tensor; float64 (numpy's default, not a choice) in floatx. An error calls it by ``name``."""
    array = a if hasattr(a, "detach") else np.asarray(a)
    if not hasattr(a, "detach"):
        if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
            raise ValueError(f"{name}: an array of dtype {array.dtype} can't be trained on; give numbers")
        if array.dtype == np.float64:
            array = array.astype(config.floatx() if config.floatx() != "bfloat16" else np.float32)
    return backend.engine().to_tensor(array)


class ArrayData(Source):
    """Arrays, sliced into batches as torch tensors; of those on the disk only the batches are read.

    ``shuffle=True`` mixes the samples, ``shuffle="batch"`` only the order of the batches. Without a
    ``batch_size``, ``steps`` batches hold all samples, or 32 samples make a batch. ``own`` says which rows of a
    batch this process needs, from where they are in all; None: all of them. Others are not read.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        shuffle: bool | str = False,
        class_weight: dict[int, float] | None = None,
        steps: int | None = None,
        own: Callable[[Span], Span] | None = None,
    ):
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("You cannot `class_weight` and `sample_weight` at the same time.")
            if tree.is_nested(y):
                raise ValueError("`class_weight` is only supported for Models with a single output.")
            if y is None:
                raise ValueError("`class_weight` needs `y`, the classes that it weighs")
            sample_weight = class_weights(y, class_weight)
        _check_weights(y, sample_weight)
        self.structure = (x, y, sample_weight)
        named = _named(self.structure)
        self.tensors = [a if a is None or isinstance(a, Stored) else as_tensor(a, name) for name, a in named]
        lengths = {int(t.shape[0]) if t.ndim else -1 for t in self.tensors if t is not None}
        if -1 in lengths or len(lengths) != 1:
            raise ValueError(
                f"Data cardinality is ambiguous. Make sure all arrays contain the same number of samples: {self._sizes()}"
            )
        self.length = lengths.pop()
        if not self.length:
            raise ValueError(f"the data hold no sample: {self._sizes()}")
        self.batch_size = batch_size or (max(math.ceil(self.length / steps), 1) if steps else 32)
        self.shuffle, self.own = shuffle, own

    def _sizes(self) -> str:
        named = _named(self.structure)
        return ", ".join(f"{name} has shape {tuple(np.shape(a))}" for name, a in named if a is not None)

    @property
    def num_batches(self) -> int:
        return math.ceil(self.length / self.batch_size)

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        engine, size = backend.engine(), self.batch_size
        starts: Sequence[int] = range(0, self.length, size)
        if self.shuffle == "batch":
            starts = (engine.permutation(self.num_batches) * size).tolist()
        order = engine.permutation(self.length) if self.shuffle and self.shuffle != "batch" else None
        return self._read([(i, min(i + size, self.length)) for i in starts[skip:]], order)

    def _read(self, spans: list[Span], order: Any) -> Iterator[Batch]:
        """The batches whose rows lie in these spans of the ``order``."""
        nested = any(tree.is_nested(part) for part in self.structure)
        own = spans if self.own is None else [self.own(span) for span in spans]
        rows = zip(*(_parts(t, own, order) for t in self.tensors), strict=False)
        for (begin, end), mine, row in zip(spans, own, rows, strict=True):
            batch = tree.pack_like(self.structure, row) if nested else row
            yield batch if mine == (begin, end) else Rows.of(batch, end - begin)


def _parts(t: Any, spans: list[Span], order: Any) -> Iterable[Any]:
    """The rows of what `ArrayData` holds that lie in each span, as tensors."""
    if isinstance(t, Stored):
        return map(as_tensor, t.parts(spans, None if order is None else order.numpy()))
    return itertools.repeat(None) if t is None else backend.engine().parts(t, spans, order)


def _named(structure: tuple[Any, Any, Any]) -> list[tuple[str, Any]]:
    """Each array of (x, y, sample_weight) with its name, ``x['image']`` in a dict and ``x[0]`` in a list."""
    return [
        (name + "".join(f"[{key!r}]" for key in path), leaf)
        for name, part in zip(("x", "y", "sample_weight"), structure, strict=True)
        for path, leaf in tree.flatten_with_path(part)
    ]


def _check_weights(y: Any, sample_weight: Any) -> None:
    """Raise ValueError where weights don't belong to the targets: one array for all, or one for each."""
    if sample_weight is None or not tree.is_nested(y):
        return
    if not tree.is_nested(sample_weight):
        shape = np.shape(sample_weight)
        if len(shape) > 1 and shape[1:] != (1,):
            raise ValueError(
                f"one `sample_weight` for several outputs must have a number a sample, its shape is {shape}; give one "
                "array for each output"
            )
        return
    same = set(y) == set(sample_weight) if isinstance(y, dict) and isinstance(sample_weight, dict) else (
        isinstance(y, dict) == isinstance(sample_weight, dict) and len(y) == len(sample_weight)
    )  # fmt: skip
    if not same:
        told = [sorted(s) if isinstance(s, dict) else f"{len(s)} arrays" for s in (y, sample_weight)]
        raise ValueError(f"`sample_weight` needs one array for each output: y is {told[0]}, sample_weight is {told[1]}")


def class_weights(y: Any, weights: dict[int, float]) -> np.ndarray:
    """Each sample's weight by its class; y holds integers or one-hot rows."""
    known = isinstance(weights, dict) and not any(isinstance(x, str) for pair in weights.items() for x in pair)
    if not known:
        raise ValueError(
            f"`class_weight` must be a dict of numbers by class, such as {{0: 1.0, 1: 2.0}}, got {weights!r}"
        )
    labels = backend.convert_to_numpy(y)
    if labels.ndim > 1:
        labels = labels.argmax(-1) if labels.shape[-1] > 1 else labels[..., 0]
    return np.array([weights.get(round(float(label)), 1.0) for label in labels], dtype=np.float32)


def split_validation(arrays: Any, fraction: float) -> tuple[Any, Any]:
    """(the first part, the last ``fraction``) of every array in a structure."""
    arrays = tuple(numeric(part) for part in arrays)
    leaves = [a for a in tree.leaves(arrays) if a is not None]
    if not leaves or not all(hasattr(a, "__array__") or hasattr(a, "detach") for a in leaves):
        raise ValueError("`validation_split` needs arrays; give `validation_data` for other kinds of data")
    at = math.floor(len(leaves[0]) * (1.0 - fraction))
    if at in (0, len(leaves[0])):
        raise ValueError(
            f"Training data contains {len(leaves[0])} samples, which is not sufficient to split it into a validation and "
            f"training set as specified by `validation_split={fraction}`."
        )
    first = tree.map_structure(lambda a: None if a is None else a[:at], arrays)
    return first, tree.map_structure(lambda a: None if a is None else a[at:], arrays)

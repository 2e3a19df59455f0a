"""Batches out of arrays, tensors and generators."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kcompile.keras import backend, config, tree

Batch = tuple[Any, Any, Any]


def unpack(data: Any) -> Batch:
    """(x, y, sample_weight) of what a generator gives."""
    if isinstance(data, tuple):
        if len(data) > 3:
            raise ValueError(f"a batch must be x, (x, y) or (x, y, sample_weight), got a tuple of {len(data)}")
        return (*data, None, None)[:3]  # type: ignore[return-value]
    return data, None, None


class ArrayData:
    """Arrays that fit in memory: sliced into batches as torch tensors, shuffled where asked."""

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        shuffle: bool = False,
        class_weight: dict[int, float] | None = None,
    ):
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("You cannot `class_weight` and `sample_weight` at the same time.")
            sample_weight = class_weights(y, class_weight)
        self.structure = (x, y, sample_weight)
        self.tensors = [None if a is None else as_tensor(a) for a in tree.leaves(self.structure)]
        lengths = {int(t.shape[0]) if t.ndim else -1 for t in self.tensors if t is not None}
        if -1 in lengths or len(lengths) != 1:
            raise ValueError(
                f"Data cardinality is ambiguous. Make sure all arrays contain the same number of samples: {self._sizes()}"
            )
        self.length = lengths.pop()
        self.batch_size = batch_size or 32
        self.shuffle = shuffle

    def _sizes(self) -> str:
        sizes = []
        for name, part in zip(("x", "y", "sample_weight"), self.structure, strict=True):
            sizes += [f"{name} has shape {tuple(np.shape(a))}" for a in tree.leaves(part) if a is not None]
        return ", ".join(sizes)

    def __len__(self) -> int:
        return math.ceil(self.length / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = backend.engine().permutation(self.length) if self.shuffle else None
        for start in range(0, self.length, self.batch_size):
            stop = min(start + self.batch_size, self.length)
            if order is None:
                parts = [None if t is None else t[start:stop] for t in self.tensors]
            else:
                chosen = order[start:stop]
                parts = [None if t is None else t[chosen] for t in self.tensors]
            yield tree.pack_like(self.structure, parts)


class GeneratorData:
    """Batches from an iterable; one that can't be started again runs on over epochs."""

    def __init__(self, source: Iterable[Any]):
        self.source = source
        self._running: Iterator[Any] | None = iter(source) if iter(source) is source else None

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    @property
    def known_length(self) -> int | None:
        """Batches an epoch, None where the source does not say."""
        return len(self) if hasattr(self.source, "__len__") else None

    def __iter__(self) -> Iterator[Batch]:
        for data in self._running if self._running is not None else iter(self.source):
            if isinstance(data, list) and type(self.source).__module__.startswith("torch."):
                # A torch DataLoader collates each batch into a list.
                data = tuple(data)
            yield tree.map_structure(lambda a: None if a is None else as_tensor(a), unpack(data))


def make_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    class_weight: dict[int, float] | None = None,
) -> ArrayData | GeneratorData:
    """Data for a loop over batches; raises ValueError for what can't be iterated."""
    if any(backend.is_array_like(a) or hasattr(a, "__array__") for a in tree.leaves(x)) or _is_list_of_numbers(x):
        if _is_list_of_numbers(x):
            x = np.asarray(x)
        y = np.asarray(y) if _is_list_of_numbers(y) else y
        return ArrayData(x, y, sample_weight, batch_size, shuffle, class_weight)
    if hasattr(x, "__iter__"):
        if y is not None:
            raise ValueError("`y` must not be given where x is a generator: it yields (x, y)")
        return GeneratorData(x)
    raise ValueError(f"Unrecognized data type: x={x!r} (of type {type(x).__name__})")


def _is_list_of_numbers(x: Any) -> bool:
    return isinstance(x, list) and bool(x) and all(isinstance(a, (int, float, list)) for a in x)


def as_tensor(a: Any) -> Any:
    """A torch tensor; float64 (numpy's default, not a choice) in floatx."""
    array = a if hasattr(a, "detach") else np.asarray(a)
    if not hasattr(a, "detach"):
        if array.dtype == object or array.dtype.kind in "USV":
            raise ValueError(f"an array of dtype {array.dtype} can't be trained on; give numbers")
        if array.dtype == np.float64:
            array = array.astype(config.floatx() if config.floatx() != "bfloat16" else np.float32)
    return backend.engine().to_tensor(array)


def class_weights(y: Any, weights: dict[int, float]) -> np.ndarray:
    """Each sample's weight by its class; y holds integers or one-hot rows."""
    labels = backend.convert_to_numpy(y)
    if labels.ndim > 1:
        labels = labels.argmax(-1) if labels.shape[-1] > 1 else labels.reshape(len(labels))
    return np.array([weights.get(int(label), 1.0) for label in labels], dtype=np.float32)


def split_validation(arrays: Any, fraction: float) -> tuple[Any, Any]:
    """(the first part, the last ``fraction``) of every array in a structure."""
    lengths = [len(a) for a in tree.leaves(arrays) if a is not None]
    if not lengths:
        raise ValueError("validation_split needs arrays")
    at = math.floor(lengths[0] * (1.0 - fraction))
    if at in (0, lengths[0]):
        raise ValueError(
            f"Training data contains {lengths[0]} samples, which is not sufficient to split it into a validation and "
            f"training set as specified by `validation_split={fraction}`."
        )
    first = tree.map_structure(lambda a: None if a is None else a[:at], arrays)
    return first, tree.map_structure(lambda a: None if a is None else a[at:], arrays)

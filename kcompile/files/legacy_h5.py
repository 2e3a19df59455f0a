"""Whole models as HDF5: attributes with JSON configs and a group ``model_weights`` (Keras 2, and Keras 3's ``.h5``)."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import h5py
import numpy as np

from kcompile.errors import FileFormatError, KcompileError, printable
from kcompile.files.keras_archive import MOST_JSON
from kcompile.files.weights import WeightsReader

GROUP, TOP = "model_weights", "top_level_model_weights"
MOST_NAMES = 1000  # in one attribute, which HDF5 holds to 64 KB; more are spread over several

Arrays = Sequence[tuple[str, np.ndarray]]


class LegacyReader(WeightsReader):
    """Reads a whole model's configs, and its arrays layer by layer."""

    def __init__(self, path: Path):
        super().__init__(path, str(path))

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; what h5py raises about a damaged file, which may be met anywhere in it, becomes one line."""
        super().__exit__(kind, error, trace)
        damaged = (KeyError, OSError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)
        if isinstance(error, damaged) and not isinstance(error, KcompileError):
            raise FileFormatError(f"{self.label}: the file is damaged: {printable(error)}") from error

    def config(self, name: str) -> dict[str, Any] | None:
        """The JSON object that an attribute of the file holds; None where there is no such attribute."""
        if name not in self.file.attrs:
            return None
        if self.file.attrs.get_id(name).get_storage_size() > MOST_JSON:
            raise FileFormatError(f"{self.label}: the attribute {name} is larger than {MOST_JSON} bytes")
        try:
            text = self.file.attrs[name]
            if not isinstance(text, (str, bytes)) or len(text) > MOST_JSON:
                raise FileFormatError(f"{self.label}: the attribute {name} is no text of at most {MOST_JSON} bytes")
            found = json.loads(text)
        except (OSError, TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise FileFormatError(f"{self.label}: the attribute {name} is not JSON: {printable(error)}") from error
        if not isinstance(found, dict):
            raise FileFormatError(f"{self.label}: the attribute {name} holds a {type(found).__name__}, not an object")
        return found

    def layers(self) -> list[tuple[str, list[h5py.Dataset]]]:
        """(name, arrays in order) of each layer that has arrays, in the model's order."""
        group = self._weights()
        named = [(name, self._arrays(group, name)) for name in self._names(group, "layer_names")]
        return [(name, arrays) for name, arrays in named if arrays]

    def top_level(self) -> list[h5py.Dataset]:
        """Arrays of the model itself, outside of any layer."""
        group = self._weights()
        return self._arrays(group, TOP) if TOP in group else []

    def has_optimizer_state(self) -> bool:
        """True where the file holds an optimizer's variables."""
        return "optimizer_weights" in self.file

    def _weights(self) -> Any:
        # A file of weights alone has the layers at its top.
        group = self.file if "layer_names" in self.file.attrs else self._child(self.file, GROUP)
        if not isinstance(group, h5py.Group):
            raise FileFormatError(f"{self.label}: holds no group {GROUP}: it is no model in HDF5")
        return group

    def _arrays(self, group: Any, name: str) -> list[h5py.Dataset]:
        layer = self._inside(group, name)
        if not isinstance(layer, h5py.Group):
            raise FileFormatError(f"{self.label}: layer {printable(name)} is named and not there")
        found = []
        for path in self._names(layer, "weight_names"):
            array = self._inside(layer, path)
            if not isinstance(array, h5py.Dataset):
                raise FileFormatError(f"{self.label}: {printable(path)} of layer {printable(name)} is not an array")
            found.append(array)
        return found

    def _inside(self, group: Any, path: str) -> Any:
        for part in [p for p in path.split("/") if p]:
            group = self._child(group, part)
        return group

    def _names(self, group: Any, attribute: str) -> list[str]:
        if attribute in group.attrs:
            parts = [group.attrs[attribute]]
        else:
            numbered = (f"{attribute}{i}" for i in itertools.count())
            parts = [group.attrs[n] for n in itertools.takewhile(lambda n: n in group.attrs, numbered)]
        names = [
            n.decode("utf-8", "replace") if isinstance(n, bytes) else n for p in parts for n in np.ravel(p).tolist()
        ]
        if not parts or not all(isinstance(n, str) for n in names):
            raise FileFormatError(f"{self.label}: {printable(group.name)} has no list of names {attribute}")
        return names


def write_legacy(
    stream: BinaryIO, attributes: dict[str, str], layers: Sequence[tuple[str, Arrays]], top_level: Arrays
) -> None:
    """Write a whole model: text attributes, each layer's (path, array) pairs, and the model's own."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", track_order=False) as file:
        file.attrs.update(attributes)
        group = file.create_group(GROUP)
        for key in ("keras_version", "backend"):
            group.attrs[key] = attributes[key]
        _write_names(group, "layer_names", [name for name, _ in layers])
        for name, arrays in [*layers, (TOP, top_level)]:
            _write_arrays(group.create_group(name), arrays)
    stream.write(memory.getbuffer())


def _write_arrays(group: Any, arrays: Arrays) -> None:
    names: list[str] = []
    for path, array in arrays:
        # Two weights of one path (a layer that makes two of one name) must not be one.
        name = path if path not in names else f"{path}_{len(names)}"
        names.append(name)
        group.create_dataset(name, data=array, track_times=False)
    _write_names(group, "weight_names", names)


def _write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    encoded = [n.encode() for n in names]
    if len(encoded) <= MOST_NAMES:
        group.attrs[attribute] = encoded
        return
    for i, start in enumerate(range(0, len(encoded), MOST_NAMES)):
        group.attrs[f"{attribute}{i}"] = encoded[start : start + MOST_NAMES]

"""``.weights.h5``: arrays in HDF5 groups ``<path>/vars/0``, ``1``, ... (Keras 3)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import h5py
import numpy as np

from kcompile.errors import FileFormatError, UsageError, printable

BOMB_SIZE, BOMB_RATIO = 16 << 20, 100
KINDS = "biuf"  # no complex numbers, strings, objects or references


class WeightsReader:
    """Reads arrays by group path. Links out of the file, and arrays larger than their bytes, are refused."""

    def __init__(self, source: bytes | Path, label: str):
        self.label = label
        if isinstance(source, Path) and not source.is_file():
            raise UsageError(f"{source}: no such file")
        try:
            self.file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
        except OSError as error:
            raise FileFormatError(f"{label}: the weights are not an HDF5 file: {printable(error)}") from error

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def variables(self, path: str) -> dict[str, h5py.Dataset]:
        """Datasets of the group ``path/vars`` by number; empty where there is no such group."""
        group: Any = self.file
        for part in [p for p in path.split("/") if p] + ["vars"]:
            group = self._child(group, part)
            if group is None:
                return {}
        if not isinstance(group, h5py.Group):
            raise FileFormatError(f"{self.label}: {printable(path)}/vars is not a group")
        found: dict[str, h5py.Dataset] = {}
        for name in group:
            child = self._child(group, name)
            if not isinstance(child, h5py.Dataset):
                raise FileFormatError(f"{self.label}: {printable(path)}/vars/{printable(name)} is not an array")
            found[name] = child
        return found

    def _child(self, group: Any, name: str) -> Any:
        if not isinstance(group, h5py.Group) or name not in group:
            return None
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileFormatError(f"{self.label}: {printable(name)} is a link, not data of this file")
        return group[name]

    def array(self, dataset: h5py.Dataset, shape: tuple[int, ...], variable: str) -> np.ndarray:
        """The dataset's numbers, if it has the ``variable``'s shape and holds as many bytes as it claims."""
        where = f"{self.label}: {printable(dataset.name)}"
        if dataset.shape != shape:
            raise FileFormatError(f"{where} has shape {dataset.shape}, the model's {variable!r} has {shape}")
        bfloat16 = dataset.attrs.get("dtype") == "bfloat16"
        if dataset.dtype.kind not in KINDS and not (bfloat16 and dataset.dtype.itemsize == 2):
            raise FileFormatError(f"{where} holds {printable(dataset.dtype)}, not numbers")
        if dataset.is_virtual or dataset.external:
            raise FileFormatError(f"{where} takes its data from another file")
        stored, claimed = dataset.id.get_storage_size(), int(dataset.nbytes)
        if claimed and stored == 0:
            raise FileFormatError(f"{where} claims {claimed} bytes and holds none")
        if claimed > BOMB_SIZE and claimed > BOMB_RATIO * stored:
            raise FileFormatError(f"{where} claims {claimed} bytes out of {stored} stored ones")
        try:
            data = dataset[()]
        except (OSError, ValueError) as error:
            raise FileFormatError(f"{where} can't be read: {printable(error)}") from error
        if bfloat16:
            import ml_dtypes

            return np.asarray(data).view(ml_dtypes.bfloat16)
        return np.asarray(data)


def write_weights(stream: BinaryIO, groups: Mapping[str, tuple[str | None, list[np.ndarray]]]) -> None:
    """Write ``{path: (name, arrays)}`` as an HDF5 file into a stream."""
    memory = io.BytesIO()
    # No time stamps: the same weights give the same bytes.
    with h5py.File(memory, "w", track_order=False) as file:
        for path, (name, arrays) in groups.items():
            group = file.create_group(f"{path}/vars" if path else "vars")
            if name is not None:
                group.attrs["name"] = name
            for i, array in enumerate(arrays):
                if array.dtype.name == "bfloat16":
                    dataset = group.create_dataset(str(i), data=array.view(np.uint16), track_times=False)
                    dataset.attrs["dtype"] = "bfloat16"
                else:
                    group.create_dataset(str(i), data=array, track_times=False)
    stream.write(memory.getbuffer())

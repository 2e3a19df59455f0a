"""Devices by name, and how a tensor's axes lie on them: DeviceMesh, TensorLayout, LayoutMap."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np

from kcompile.errors import UnsupportedError
from kcompile.keras import backend


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of all processes, ``cpu:0`` or ``gpu:0`` and on: one a process, or this process's GPUs.

    ``device_type`` is "cpu" or "gpu"; None means GPUs where there are any.
    """
    kind = None if device_type is None else device_type.lower()
    if kind not in (None, "cpu", "gpu", "cuda", "tpu"):
        raise ValueError(f"`device_type` must be 'cpu', 'gpu' or 'tpu', got {device_type!r}")
    processes, _ = backend.distributed()
    count = processes.count_of_devices(kind)
    return [
        f"{'cpu' if kind == 'cpu' or (kind is None and not processes.on_gpus()) else 'gpu'}:{i}" for i in range(count)
    ]


def get_device_count(device_type: str | None = None) -> int:
    """How many `list_devices` gives."""
    return len(list_devices(device_type))


class DeviceMesh:
    """Devices in a grid of ``shape`` whose axes have names; by default all of `list_devices`."""

    def __init__(self, shape: Sequence[int], axis_names: Sequence[str], devices: Any = None):
        if not shape or not axis_names:
            raise ValueError(f"Shape and axis_names cannot be empty. Received: shape={shape}, axis_names={axis_names}")
        if len(shape) != len(axis_names):
            raise ValueError(
                f"Shape and axis_names should have same size. Received: shape={shape}, axis_names={axis_names}"
            )
        found = np.array(list_devices() if devices is None else devices)
        if math.prod(shape) != found.size:
            raise ValueError(
                f"Shape does not match the number of devices. Received: shape={shape}; devices.shape={found.shape}"
            )
        self.shape, self.axis_names = shape, axis_names
        self.devices = found.reshape(shape)

    @property
    def backend_mesh(self) -> Any:
        raise UnsupportedError(
            "DeviceMesh.backend_mesh: kcompile has no object of torch's behind a mesh; read `devices`"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} shape={self.shape}, axis_names={self.axis_names}>"


class TensorLayout:
    """Over which axis of a mesh each axis of a tensor is split; None for one that is whole everywhere."""

    def __init__(self, axes: Sequence[str | None], device_mesh: DeviceMesh | None = None):
        self.axes, self._device_mesh = tuple(axes), device_mesh
        self._check()

    @property
    def device_mesh(self) -> DeviceMesh | None:
        return self._device_mesh

    @device_mesh.setter
    def device_mesh(self, mesh: DeviceMesh) -> None:
        if self._device_mesh is not None:
            raise ValueError(f"Cannot override device mesh value. Existing value is {self._device_mesh}")
        self._device_mesh = mesh
        self._check()

    @property
    def backend_layout(self) -> Any:
        raise UnsupportedError("TensorLayout.backend_layout: kcompile has no object of torch's behind it; read `axes`")

    @property
    def splits(self) -> bool:
        """Whether it puts parts of a tensor on several devices."""
        mesh = self._device_mesh
        sizes = {} if mesh is None else dict(zip(mesh.axis_names, mesh.shape, strict=True))
        return any(axis is not None and sizes.get(axis, 2) > 1 for axis in self.axes)

    def _check(self) -> None:
        if self._device_mesh is None:
            return
        known = set(self._device_mesh.axis_names)
        wrong = {axis for axis in self.axes if axis is not None} - known
        if wrong:
            raise ValueError(f"Invalid axis names for Layout. Valid axis names: {known}, Got {wrong}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} axes={self.axes}, device_mesh={self.device_mesh}>"


class LayoutMap(MutableMapping[str, Any]):
    """Layouts by path, or by a regular expression that matches the whole of a path; None for a path that none matches."""

    def __init__(self, device_mesh: DeviceMesh | None):
        self.device_mesh = device_mesh
        self._layouts: dict[str, TensorLayout] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self._layouts:
            return self._layouts[key]
        found = [pattern for pattern in self._layouts if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(f"Path '{key}' matches multiple layout specification keys: {found}. Keep one of them.")
        return self._layouts[found[0]] if found else None

    def __setitem__(self, key: str, layout: Any) -> None:
        if key in self._layouts:
            raise ValueError(f"{key} already exist in the LayoutMap with value {self._layouts[key]}.")
        if isinstance(layout, tuple):
            layout = TensorLayout(layout)
        if not isinstance(layout, TensorLayout):
            raise ValueError(f"{layout} should be a TensorLayout type, got {type(layout)}")
        if layout.device_mesh is None and self.device_mesh is not None:
            layout.device_mesh = self.device_mesh
        self._layouts[key] = layout

    def __delitem__(self, key: str) -> None:
        self._layouts.pop(key)

    def __len__(self) -> int:
        return len(self._layouts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)


def distribute_tensor(tensor: Any, layout: Any) -> Any:
    """The tensor, where the layout leaves it whole; UnsupportedError for one that splits it."""
    if backend.is_tensor(tensor) and not hasattr(tensor, "detach"):
        return tensor
    if isinstance(layout, TensorLayout) and layout.splits:
        raise UnsupportedError(
            f"distribute_tensor: {layout} splits one tensor over devices; kcompile splits batches (DataParallel) and "
            "weights (FullySharded) as a whole"
        )
    return tensor

"""Variables of which each process holds a part."""

from __future__ import annotations

import numpy as np
import torch

from kcompile.engine import collectives
from kcompile.engine.eager import hold
from kcompile.tracing.variable import Storage, Variable, to_numpy


class Sharded(Storage):
    """This rank's run of a tensor along ``axis``, cut as torch.chunk does. Reading it whole is for all ranks at once."""

    def __init__(self, whole: torch.Tensor, axis: int):
        self.shape, self.axis, self.dtype = tuple(whole.shape), axis, whole.dtype
        self.unit = self.shape[axis]
        part = collectives.own_part(whole.detach(), axis, self.unit, True)
        self.local = torch.nn.Parameter(part) if whole.requires_grad else part

    def whole(self) -> torch.Tensor:
        """The tensor, gathered from all ranks."""
        return collectives.gather_parts(self.local.detach(), self.axis, self.unit, self.unit, True)

    def held(self) -> torch.Tensor:
        return self.local

    def read(self) -> np.ndarray:
        return to_numpy(self.whole())

    def write(self, array: np.ndarray) -> None:
        self.local.detach().copy_(collectives.own_part(torch.as_tensor(array), self.axis, self.unit, True))


def shard(variable: Variable, axis: int) -> None:
    """Keep this rank's part only."""
    if not isinstance(variable.storage, Sharded):
        variable.storage = Sharded(hold(variable), axis)


def axis_to_split(shape: tuple[int, ...]) -> int | None:
    """Along which axis a variable is split: the longest that divides evenly, else the longest; None for a small one."""
    count = collectives.world()
    even = [i for i, size in enumerate(shape) if size and size % count == 0]
    axis = max(even or range(len(shape)), key=lambda i: shape[i], default=None)
    # With less than two a rank, what a split saves is less than what its padding costs.
    return None if axis is None or count == 1 or (not even and shape[axis] < 2 * count) else axis

"""Checkpoints to which each process writes its part of the variables that are split, through torch.distributed.checkpoint."""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from kcompile.engine import collectives
from kcompile.engine.distributed import wait
from kcompile.engine.shards import Sharded
from kcompile.errors import FileFormatError, printable
from kcompile.tracing.variable import Variable, to_numpy

PREFIX = "shards-"


def split(variable: Variable) -> bool:
    """Whether this process has only a part of it."""
    return isinstance(variable.storage, Sharded)


def save(folder: Path, number: int, variables: Mapping[str, Variable]) -> str | None:
    """Write split variables by name into a folder of that number, all processes together; None where there are none.

    Nothing reads it until its name is written elsewhere, so a process may be killed at any point of it.
    """
    tensors = {name: _whole(v.storage) for name, v in variables.items() if isinstance(v.storage, Sharded)}
    if not tensors:
        return None
    name = f"{PREFIX}{number}"
    if not collectives.rank():
        # What a run that was killed while it wrote has left.
        shutil.rmtree(folder / name, ignore_errors=True)
    wait()
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(folder / name))
    return name


def load(folder: Path) -> dict[str, np.ndarray]:
    """Whole arrays by name, whatever number of processes wrote them. Raises FileFormatError for a damaged folder."""
    try:
        reader = dcp.FileSystemReader(folder)
        stored = reader.read_metadata().state_dict_metadata
        tensors: dict[str, Any] = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in stored.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        with warnings.catch_warnings():
            # That other processes take no part is what is wanted.
            warnings.simplefilter("ignore")
            dcp.load(tensors, storage_reader=reader, no_dist=True)
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        EOFError,
        pickle.UnpicklingError,
        dcp.CheckpointException,
    ) as error:
        raise FileFormatError(
            f"{folder}: not a sharded checkpoint: {printable(error)}; delete it to start anew"
        ) from error
    return {name: to_numpy(tensor) for name, tensor in tensors.items()}


def forget(folder: Path, but: str | None = None) -> None:
    """Delete all folders that `save` wrote but one."""
    for found in folder.glob(f"{PREFIX}*"):
        if found.name != but:
            shutil.rmtree(found, ignore_errors=True)


def _whole(held: Sharded) -> DTensor:
    mesh = init_device_mesh(held.local.device.type, (collectives.world(),))
    strides = torch.empty(held.shape, device="meta").stride()
    return DTensor.from_local(
        held.local.detach(), mesh, [Shard(held.axis)], run_check=False, shape=torch.Size(held.shape), stride=strides
    )

"""Distributions: DataParallel, FullySharded, ModelParallel, and the one that holds now."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kcompile.errors import UnsupportedError, UsageError
from kcompile.files import atomic
from kcompile.keras import backend, config, generators
from kcompile.keras.distribution.mesh import DeviceMesh, LayoutMap, TensorLayout, list_devices
from kcompile.keras.distribution.share import Joint, PerBatch, Share, Split
from kcompile.keras.training.source import Span

BATCH_AXIS = "batch"


class Distribution:
    """Base: a mesh, the name of its axis over which batches are split, and what is split besides."""

    shards = False  # whether weights and optimizer state are split too

    def __init__(self, device_mesh: DeviceMesh, batch_dim_name: str | None = None, auto_shard_dataset: bool = True):
        self.device_mesh, self.batch_dim_name = device_mesh, batch_dim_name
        self.auto_shard_dataset = auto_shard_dataset

    @property
    def num_processes(self) -> int:
        count: int = backend.distributed()[0].world()
        return count

    @property
    def num_model_replicas(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define `num_model_replicas`")

    @property
    def data_shard_id(self) -> int:
        """Which part of each batch this process has."""
        number: int = backend.distributed()[0].rank()
        replicas = self.num_model_replicas
        return number if replicas >= self.num_processes else number // (self.num_processes // replicas)

    def get_data_layout(self, data_shape: Any) -> TensorLayout:
        return TensorLayout([self.batch_dim_name, *[None] * (len(data_shape) - 1)], self.device_mesh)

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        return TensorLayout([None] * len(variable.shape), self.device_mesh)

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        return None

    def distribute_dataset(self, dataset: Any) -> Any:
        """The dataset as it is: each process reads all of it, and steps take their rows of each batch."""
        return dataset

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Within, this is the distribution."""
        before = distribution()
        set_distribution(self)
        try:
            yield
        finally:
            set_distribution(before)

    def check(self) -> None:
        """Raise UnsupportedError or UsageError where it can't be honoured."""
        if not self.auto_shard_dataset:
            raise UnsupportedError(
                f"{type(self).__name__}: auto_shard_dataset=False is not supported: give every process the whole batches, "
                "it takes its rows"
            )
        wanted, count = self.device_mesh.devices.size, self.num_processes
        if wanted != count:
            raise UsageError(
                f"{type(self).__name__}: {wanted} devices need {wanted} processes, here {'is' if count == 1 else 'are'} "
                f"{count}: start the script with torchrun --nproc-per-node {wanted}, or kcompile train --workers {wanted}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} device_mesh={self.device_mesh}>"


class DataParallel(Distribution):
    """Each process computes its rows of every batch; all hold the whole model.

    ``batch_size`` is that of all together, and the result that of one process. By default over one device
    for each process that torchrun (or `kcompile train --workers`) started.
    """

    def __init__(self, device_mesh: DeviceMesh | None = None, devices: Any = None, auto_shard_dataset: bool = True):
        if device_mesh is not None and not isinstance(device_mesh, DeviceMesh):
            raise ValueError(
                f"Expect `mesh` to be an instance of `DeviceMesh`. Received: mesh={device_mesh} (of type {type(device_mesh)})"
            )
        if device_mesh is None:
            join()
            found = np.array(devices or list_devices())
            device_mesh = DeviceMesh(found.shape, [BATCH_AXIS], found)
        elif device_mesh.devices.ndim != 1:
            warnings.warn(
                f"Expect the input mesh to be 1D, but received mesh.devices.ndim={device_mesh.devices.ndim}. The first axis "
                "will be used for data-parallel sharding.",
                stacklevel=2,
            )
        super().__init__(device_mesh, device_mesh.axis_names[0], auto_shard_dataset)

    @property
    def num_model_replicas(self) -> int:
        return int(self.device_mesh.devices.size)


class FullySharded(DataParallel):
    """DataParallel where each process holds only its part of weights and optimizer state between steps.

    kcompile's own (Keras has no name for it): what others call FSDP or ZeRO stage 3. Reading a variable
    (``numpy()``, ``save``, ``summary``) gathers it: do that in all processes.
    """

    shards = True


class ModelParallel(Distribution):
    """Variables split as a LayoutMap says. Made and read as in Keras; training with it is refused."""

    def __init__(
        self,
        *,
        layout_map: Any = None,
        batch_dim_name: str | None = None,
        auto_shard_dataset: bool = True,
        **kwargs: Any,
    ):
        kwargs.pop("device_mesh", None)
        if layout_map is None:
            raise ValueError("You must specify a layout_map argument.")
        if not isinstance(layout_map, LayoutMap):
            raise ValueError(f"Argument `layout_map` must be a `LayoutMap` instance. Received: layout_map={layout_map}")
        mesh = layout_map.device_mesh
        if mesh is None:
            raise ValueError("ModelParallel: the LayoutMap needs a DeviceMesh")
        super().__init__(mesh, batch_dim_name or mesh.axis_names[0], auto_shard_dataset)
        self._layout_map = layout_map

    @property
    def num_model_replicas(self) -> int:
        return int(self.device_mesh.shape[list(self.device_mesh.axis_names).index(str(self.batch_dim_name))])

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        return self._layout_map[variable.path] or super().get_variable_layout(variable)

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        found: TensorLayout | None = self._layout_map[path]
        return found

    def check(self) -> None:
        if any(layout.splits for layout in self._layout_map.values()):
            raise UnsupportedError(
                "ModelParallel: layouts of single variables are not supported; use keras.distribution.FullySharded(), which "
                "splits all weights and optimizer state, or DataParallel()"
            )
        super().check()


_CURRENT: list[Distribution | None] = [None]


def distribution() -> Distribution | None:
    """The distribution that holds now."""
    return _CURRENT[0]


def set_distribution(value: Distribution | None) -> None:
    """Train, evaluate and predict with this distribution from now on; None for one process.

    Raises UnsupportedError or UsageError for one that can't be honoured.
    """
    if value is not None:
        if not isinstance(value, Distribution):
            raise ValueError(f"set_distribution takes a distribution or None, got {value!r}")
        join()
        value.check()
    _CURRENT[0] = value


def initialize(
    job_addresses: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Meet the other processes. torchrun tells each where they are; else the arguments do, or Keras's variables.

    ``job_addresses`` are ``host:port`` of all jobs, parted by commas: the first is where they meet.
    """
    given = {
        "job_addresses": job_addresses or os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        "num_processes": num_processes or os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES"),
        "process_id": process_id if process_id is not None else os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID"),
    }
    if all(v is not None for v in given.values()):
        host, _, port = str(given["job_addresses"]).split(",")[0].rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"initialize: job_addresses must be host:port, got {given['job_addresses']!r}")
        os.environ |= {
            "MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(given["num_processes"]),
            "RANK": str(given["process_id"]),
        }  # fmt: skip
    elif any(v is not None for v in given.values()):
        missing = next(k for k, v in given.items() if v is None)
        raise UsageError(f"initialize: {missing} is missing; give all three, or start the script with torchrun")
    join()


def join() -> None:
    """Meet the processes of this run; from then on the first alone prints and writes files."""
    processes, _ = backend.distributed()
    processes.join()
    if processes.rank():
        atomic.leave_to_another()
        config.disable_interactive_logging()


def active() -> Distribution | None:
    """The distribution, where it means more than one process."""
    found = distribution()
    return found if found is not None and found.num_processes > 1 else None


def step(make: Callable[[Share], Any]) -> Any:
    """A step made for one process, or shared out between several."""
    found = active()
    if found is None:
        return make(Share())
    return PerBatch(make(Split(found.shards)), make(Joint(found.shards)), found.num_processes)


def own_rows() -> Callable[[Span], Span] | None:
    """What tells which rows of a batch this process computes; None where it is all of them."""
    return backend.distributed()[0].own_span if active() is not None else None


def same_data(**facts: Any) -> None:
    """Raise UsageError in a process whose data are others than the first one's: they would wait for each other."""
    processes, _ = backend.distributed()
    wrong = {k: (v, facts[k]) for k, v in first_process(facts).items() if v != facts[k]}
    # All of them, or those that are right would wait for those that are not.
    if any_process(bool(wrong)):
        told = "".join(
            f"; {k}: {theirs} in rank 0, {ours} in rank {processes.rank()}" for k, (theirs, ours) in wrong.items()
        )
        raise UsageError(f"fit: each process must be given the same data{told or ', another rank was not'}")


def one_process(what: str) -> None:
    """Raise UnsupportedError for what only one process can do, where there are several."""
    if active() is not None:
        raise UnsupportedError(
            f"distribution: {what} can't be split over processes; leave it out, or train in one process"
        )


def any_process(flag: bool) -> bool:
    """Whether it is true in one of the processes."""
    return backend.distributed()[0].any_rank(flag) if active() is not None else flag


def first_process(value: Any) -> Any:
    """The first process's value, in all."""
    return backend.distributed()[0].agreed(value) if active() is not None else value


def in_step() -> None:
    """Give all processes the first one's state of random generators, so that data are shuffled alike."""
    if active() is not None:
        generators.set_states(*backend.distributed()[0].agreed(generators.states()))

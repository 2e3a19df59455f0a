"""What one process does of a step: its share of the batch, of the weights and of the update.

Steps ask a `Share` at each place where several processes differ from one; the base class is the answer
for one. `Split` takes the rank's rows of the whole batch. A batch with fewer rows than there are ranks
goes through `Joint`: all ranks compute all of it, which needs no tensor without rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kcompile.errors import TraceError, UnsupportedError, UsageError
from kcompile.ir import Graph, symbol
from kcompile.keras import backend
from kcompile.keras.training.source import length
from kcompile.passes.partition import Part, by_rows, by_weights, jointly
from kcompile.passes.partition import Split as SplitAlong
from kcompile.tracing.variable import Variable

BATCH, OWN = symbol("N"), symbol("N_own")


class Share:
    """One process does everything."""

    def tensors(self, tensors: list[Any], whole: int | None) -> list[Any]:
        """What the process's graph is given of a batch's tensors; where they are its rows already, of ``whole`` rows."""
        return tensors

    def place(self, variables: Sequence[Variable], trained: Sequence[Variable], optimizer: Any) -> None:
        """Called once a step's variables are there, before they are read."""

    def graph(self, graph: Graph, variables: Mapping[str, Variable], trains: bool) -> Graph:
        """The process's graph of a step."""
        return graph

    def update(self, graph: Graph, variables: Mapping[str, Variable]) -> Graph:
        """The process's graph of an update; ``variables`` by the label of a weight or of its gradient."""
        return graph

    def exchange(self, tensors: Sequence[Any], variables: Sequence[Variable]) -> Any:
        """What adds gradients up over processes; None for one."""
        return None

    def runner(self, traced: Any, fallback: Any) -> Any:
        """The traced step, or the one that falls back to running code that can't be traced."""
        return fallback


class Joint(Share):
    """All ranks compute the whole batch; weights that are split are gathered."""

    def __init__(self, shards: bool):
        self.shards = shards

    def place(self, variables: Sequence[Variable], trained: Sequence[Variable], optimizer: Any) -> None:
        distributed, shards = backend.distributed()
        whole = [v for v in variables if not isinstance(v.storage, shards.Sharded)]
        distributed.same_everywhere([backend.engine().hold(v) for v in whole])
        if self.shards and optimizer is not None:
            places = {id(v) for v in trained}
            slots = {id(v): owner for v, (_, owner) in _slots(optimizer) if id(owner) in places}
            for variable in [*trained, *(v for v in variables if id(v) in slots)]:
                owner = slots.get(id(variable), variable)
                axis = shards.axis_to_split(owner.shape)
                if axis is not None and variable.shape == owner.shape:
                    shards.shard(variable, axis)

    def graph(self, graph: Graph, variables: Mapping[str, Variable], trains: bool) -> Graph:
        return jointly(graph, _splits(variables), self._loss_share(trains))

    def update(self, graph: Graph, variables: Mapping[str, Variable]) -> Graph:
        splits = _splits(variables)
        return by_weights(graph, splits) if splits else graph

    def exchange(self, tensors: Sequence[Any], variables: Sequence[Variable]) -> Any:
        distributed, shards = backend.distributed()
        whole = [i for i, v in enumerate(variables) if not isinstance(v.storage, shards.Sharded)]
        return distributed.Buckets(tensors, whole)

    def runner(self, traced: Any, fallback: Any) -> Any:
        return _Traced(traced)

    def _loss_share(self, trains: bool) -> float | None:
        return 1.0 / backend.distributed()[0].world() if trains else None


class Split(Joint):
    """The rank computes its rows, nearly as many as each other rank."""

    def tensors(self, tensors: list[Any], whole: int | None) -> list[Any]:
        processes = backend.distributed()[0]
        if whole is None:
            lengths = {len(t) for t in tensors if t.ndim}
            if len(lengths) != 1:
                raise UsageError(f"distribution: arrays of one batch have {sorted(lengths)} rows; give all the same")
            whole = lengths.pop()
            tensors = processes.own_rows(tensors, whole)
        return [*tensors, processes.told(whole)]

    def graph(self, graph: Graph, variables: Mapping[str, Variable], trains: bool) -> Graph:
        return by_rows(graph, BATCH, OWN, _splits(variables), self._loss_share(trains))


class PerBatch:
    """A step of several processes: `Split` where each rank gets a row, else `Joint`."""

    def __init__(self, split: Any, joint: Any, count: int):
        self.split, self.joint, self.count = split, joint, count

    def settle(self) -> None:
        self.split.settle()
        self.joint.settle()

    def __call__(self, batch: Any) -> Any:
        return (self.split if length(batch) >= self.count else self.joint)(batch)


class _Traced:
    """A traced step; without the way out that one process has for code that can't be traced."""

    def __init__(self, traced: Any):
        self.traced = traced

    def settle(self) -> None:
        self.traced.settle()

    def __call__(self, batch: Any) -> Any:
        try:
            return self.traced(batch)
        except TraceError as error:
            raise UnsupportedError(
                f"distribution: a step that can't be traced can't be split: {error}; write it with keras.ops, or train in "
                "one process"
            ) from error


def _slots(optimizer: Any) -> list[tuple[Variable, tuple[str, Variable]]]:
    slots = optimizer.slots
    return [(v, slots[id(v)]) for v in optimizer.variables if id(v) in slots]


def _splits(variables: Mapping[str, Variable]) -> dict[str, SplitAlong]:
    """How the variables that are split are, by label."""
    _, shards = backend.distributed()
    found = {}
    for label, variable in variables.items():
        held = variable.storage
        if isinstance(held, shards.Sharded):
            found[label] = SplitAlong(held.axis, Part(held.unit, held.local.shape[held.axis], True))
    return found

"""The torch side of `kcompile.operators.collectives`; without other processes each gives what it is given."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

# Newer versions of torch have them under other names, and warn of the old ones.
_ALL_GATHER = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_REDUCE_SCATTER = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def world() -> int:
    """How many processes compute together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def run(unit: int, chunked: bool, of: int | None = None) -> tuple[int, int]:
    """Where the run of a rank (this one) begins and ends: of nearly equal length, or cut as torch.chunk does."""
    number, count = rank() if of is None else of, world()
    if chunked:
        length = -(-unit // count)
        return min(number * length, unit), min((number + 1) * length, unit)
    return number * unit // count, (number + 1) * unit // count


def all_reduce(x: torch.Tensor) -> torch.Tensor:
    """The sum over ranks; its gradient is the sum of theirs."""
    return _AllReduce.apply(x)


def own_part(x: torch.Tensor, axis: int, unit: int, chunked: bool) -> torch.Tensor:
    """This rank's run along an axis, in memory of its own: a view that is kept for gradients would keep all runs."""
    begin, end = run(unit, chunked)
    factor = x.shape[axis] // max(unit, 1)
    return x.narrow(axis, begin * factor, (end - begin) * factor).clone(memory_format=torch.contiguous_format)


def gather_parts(x: torch.Tensor, axis: int, unit: int, size: int, chunked: bool) -> torch.Tensor:
    """All runs joined; a rank's gradient is the sum of what all ranks have for its run."""
    return _GatherParts.apply(x, axis, unit, size, chunked)


def _summed(x: torch.Tensor) -> torch.Tensor:
    """The sum over ranks, in memory of its own."""
    total = x.clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(total)
    return total


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return _summed(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        return _summed(gradient)


class _GatherParts(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, axis: int, unit: int, size: int, chunked: bool) -> torch.Tensor:
        context.place = axis, unit, chunked
        whole = _joined(x, axis, unit, size // max(unit, 1), chunked)
        if chunked:
            _note(whole, partial(_joined, x.detach(), axis, unit, size // max(unit, 1), chunked))
        return whole

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        return _scattered(gradient, *context.place), None, None, None, None


# Whole weights that are in memory now, by where they lie, and how each is gathered.
_GATHERED: dict[int, Callable[[], torch.Tensor]] = {}


def _note(whole: torch.Tensor, again: Callable[[], torch.Tensor]) -> None:
    place = whole.untyped_storage().data_ptr()
    _GATHERED[place] = again
    # Its memory will hold something else then.
    weakref.finalize(whole.untyped_storage(), _GATHERED.pop, place, None)


def gathered_anew() -> Any:
    """Within, autograd keeps no gathered weight: the backward pass gathers it again. No rank holds all of them at once.

    Every rank's backward pass goes through the same graph in the same order, so they gather together.
    """

    def pack(tensor: torch.Tensor) -> Any:
        again = _GATHERED.get(tensor.untyped_storage().data_ptr())
        return tensor if again is None else (again, tensor.size(), tensor.stride(), tensor.storage_offset())

    def unpack(kept: Any) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        again, *view = kept
        return again().as_strided(*view)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _joined(x: torch.Tensor, axis: int, unit: int, factor: int, chunked: bool) -> torch.Tensor:
    count = world()
    if count == 1:
        return x.clone()
    lengths = [(end - begin) * factor for begin, end in (run(unit, chunked, of=r) for r in range(count))]
    longest = max(lengths)
    # Runs of one length, padded at their end, are one collective whatever the backend.
    first = x.movedim(axis, 0)
    sent = first.new_zeros((longest, *first.shape[1:]))
    sent[: len(first)] = first
    got = sent.new_empty((count * longest, *sent.shape[1:]))
    # As bytes: not every backend moves every dtype.
    _ALL_GATHER(as_bytes(got), as_bytes(sent))
    if min(lengths) < longest:
        got = torch.cat([part[:n] for part, n in zip(got.split(longest), lengths, strict=True)])
    return got.movedim(0, axis)


def _scattered(x: torch.Tensor, axis: int, unit: int, chunked: bool) -> torch.Tensor:
    """This rank's run of the sum over ranks."""
    count, first = world(), x.movedim(axis, 0)
    even = count > 1 and unit % count == 0 and dist.get_backend() != "gloo"
    if not even:
        # gloo has no sum that ends on one rank only.
        return own_part(_summed(x), axis, unit, chunked)
    made = first.new_empty((first.shape[0] // count, *first.shape[1:]))
    _REDUCE_SCATTER(made, first.contiguous())
    return made.movedim(0, axis)


def as_bytes(x: torch.Tensor) -> torch.Tensor:
    """The memory of a contiguous tensor."""
    return x.reshape(-1).view(torch.uint8)

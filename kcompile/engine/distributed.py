"""Processes that train one model: joining them, what they tell each other, gradients summed over them."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from kcompile.engine import collectives
from kcompile.engine.collectives import gathered_anew, rank, world
from kcompile.errors import WorkerError

TIMEOUT = 600.0  # seconds that one rank waits for another before it gives up
BUCKET = 25 << 20  # bytes of gradients that are sent at once


class LostRankError(WorkerError):
    """Another process of the run ended or does not answer."""

    exit_code = 75  # "temporary failure" of sysexits.h: tells the launcher that the cause is elsewhere


def started() -> bool:
    """Whether a launcher (torchrun, or `kcompile train --workers`) started this process as one of several."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)


def join(device: str = "cpu", seconds: float | None = None) -> None:
    """Meet the other processes that the launcher started; nothing where there are none, or after the first time."""
    if dist.is_initialized() or not started():
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    limit = seconds or float(os.environ.get("KCOMPILE_TIMEOUT", TIMEOUT))
    # gloo beside nccl: what is on the CPU (states of generators, lists of files) is sent too.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=limit))
    # Its threads must be gone before the interpreter is.
    atexit.register(leave)


def own_device(device: str) -> str:
    """The device of this rank: the GPU of its number on its machine, where it is to run on one."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") and started() else device


def on_gpus() -> bool:
    """Whether processes compute on GPUs: those that joined so, or where torch sees one."""
    return "nccl" in str(dist.get_backend_config()) if dist.is_initialized() else torch.cuda.is_available()


def count_of_devices(kind: str | None) -> int:
    """Devices of a kind (cpu, gpu, tpu) over all processes: one each, or all GPUs of a single process."""
    if kind in ("gpu", "cuda", "tpu") or (kind is None and on_gpus()):
        if kind == "tpu" or not torch.cuda.is_available():
            return 0
        return world() if world() > 1 else torch.cuda.device_count()
    return world()


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def lost(error: BaseException) -> LostRankError | None:
    """The error as one line, where it says that another process is gone; None for any other error."""
    text = str(error)
    known = isinstance(error, dist.DistError) or any(
        sign in text for sign in ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "gloo/")
    )
    if not known or world() < 2:
        return None
    return LostRankError(f"rank {rank()} lost contact with another rank, which was killed, failed or does not answer")


def agreed(value: Any) -> Any:
    """Rank 0's value, on all ranks."""
    if world() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def any_rank(flag: bool) -> bool:
    """Whether it is true on one of the ranks."""
    return bool(collectives.all_reduce(torch.tensor(int(flag))).item())


def wait() -> None:
    """Until all ranks are here."""
    if world() > 1:
        dist.barrier()


def same_everywhere(tensors: Sequence[torch.Tensor]) -> None:
    """Give all ranks the tensors of rank 0, in place."""
    if world() > 1:
        for tensor in tensors:
            # As bytes: not every backend sends every dtype.
            whole = tensor.detach().contiguous()
            dist.broadcast(collectives.as_bytes(whole), 0)
            if whole.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(whole)


def own_span(batch: tuple[int, int]) -> tuple[int, int]:
    """This rank's rows of a batch's; all of one that has no row for some rank."""
    begin, rows = batch[0], batch[1] - batch[0]
    first, last = collectives.run(rows, False) if rows >= world() else (0, rows)
    return begin + first, begin + last


def own_rows(tensors: Sequence[torch.Tensor], rows: int) -> list[torch.Tensor]:
    """This rank's rows of a batch's tensors."""
    begin, end = collectives.run(rows, False)
    return [t[begin:end] if t.ndim else t for t in tensors]


def told(rows: int) -> torch.Tensor:
    """The length of a whole batch as a tensor of that length, which takes no memory."""
    return torch.zeros((), dtype=torch.int8).expand(rows)


class Alone:
    """How a step gets its gradients where there is one process: by differentiating."""

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        """What surrounds a forward pass."""
        return contextlib.nullcontext()

    def differentiate(self, loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The loss's gradients, zeros for what it does not depend on."""
        found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]

    def summed(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients of all ranks together."""
        return gradients


class Buckets(Alone):
    """Gradients summed over ranks in flat pieces, each sent while the backward pass goes on with the next.

    ``places`` are those of the parameters that every rank has whole. Others are split between ranks: their
    gradients come summed out of `GatherParts`. Pieces are sent in one order on all ranks, the last
    parameters first: backward passes reach them so (Li et al., 2020).
    """

    def __init__(self, parameters: Sequence[torch.Tensor], places: Sequence[int], size: int = BUCKET):
        # Nothing is gathered where nothing is split.
        self.kept = contextlib.nullcontext if len(places) == len(parameters) else gathered_anew
        self.buckets: list[list[int]] = []
        self.of: dict[int, int] = {}
        room, last = 0, None
        for place in reversed(list(places)):
            tensor = parameters[place]
            kind = tensor.dtype, tensor.device
            if kind != last or tensor.nbytes > room:
                self.buckets.append([])
                room, last = size, kind
            room -= tensor.nbytes
            self.buckets[-1].append(place)
            self.of[place] = len(self.buckets) - 1

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        return self.kept()

    def differentiate(self, loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        sending = _Sending(self.buckets)
        handles = [parameters[place].register_hook(partial(sending.ready, place)) for place in self.of]
        try:
            gradients = super().differentiate(loss, parameters)
        finally:
            for handle in handles:
                handle.remove()
        return sending.finish(gradients)

    def summed(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        return _Sending(self.buckets).finish(gradients)


class _Sending:
    """One step's exchange."""

    def __init__(self, buckets: list[list[int]]):
        self.buckets = buckets
        self.known: dict[int, torch.Tensor] = {}
        self.under_way: list[tuple[torch.Tensor, Any]] = []

    def ready(self, place: int, gradient: torch.Tensor) -> None:
        """A hook of the backward pass: send what is complete."""
        self.known[place] = gradient.detach()
        while len(self.under_way) < len(self.buckets):
            bucket = self.buckets[len(self.under_way)]
            if any(p not in self.known for p in bucket):
                return
            flat = torch.cat([self.known[p].reshape(-1) for p in bucket])
            self.under_way.append((flat, dist.all_reduce(flat, async_op=True) if world() > 1 else None))

    def finish(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """Send the rest, wait for all, and give the sums in the gradients' places."""
        for bucket in self.buckets:
            for place in bucket:
                if place not in self.known:
                    self.ready(place, gradients[place])
        results = list(gradients)
        for bucket, (flat, work) in zip(self.buckets, self.under_way, strict=True):
            if work is not None:
                work.wait()
            for place, part in zip(bucket, flat.split([gradients[p].numel() for p in bucket]), strict=True):
                results[place] = part.view(gradients[place].shape)
        return results

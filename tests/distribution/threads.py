"""Ranks as threads of this process, with torch's collectives between them: quick, and either backend's code can run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from kcompile.engine import collectives
from kcompile.files import atomic
from kcompile.keras import config

SECONDS = 20  # that a rank waits for another


class Ranks:
    """Stands for torch.distributed: as much of it as the engine calls. ``said`` are the calls of rank 0 in order."""

    def __init__(self, count: int, backend: str):
        self.count, self.backend = count, backend
        self.said: list[str] = []
        self._own, self._barrier = threading.local(), threading.Barrier(count)
        self._given: list[Any] = [None] * count

    def run(self, function: Callable[[int], Any]) -> list[Any]:
        """What the function gives on each rank; raises what it raises on one."""
        results: list[Any] = [None] * self.count
        errors: list[BaseException] = []

        def work(rank: int) -> None:
            self._own.rank = rank
            try:
                results[rank] = function(rank)
            except threading.BrokenBarrierError as error:
                errors.append(error)
            except BaseException as error:
                errors.insert(0, error)
                self._barrier.abort()

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results

    def exchanged(self, what: str, value: Any) -> list[Any]:
        """Every rank's value."""
        rank = self.rank()
        if rank == 0:
            self.said.append(what)
        self._given[rank] = what, value
        self._barrier.wait(SECONDS)
        given = list(self._given)
        self._barrier.wait(SECONDS)
        assert {kind for kind, _ in given} == {what}
        return [value for _, value in given]

    def rank(self) -> int:
        return int(self._own.rank)

    def all_reduce(self, x: torch.Tensor, async_op: bool = False) -> Any:
        assert x.is_contiguous()
        total = sum(self.exchanged("all_reduce", x.detach().clone()))

        def wait() -> None:
            # Not before: who does not wait for it has his own numbers.
            with torch.no_grad():
                x.copy_(torch.as_tensor(total))

        return SimpleNamespace(wait=wait) if async_op else wait()

    def all_gather(self, out: torch.Tensor, x: torch.Tensor) -> None:
        assert out.is_contiguous() and x.is_contiguous() and x.dtype is torch.uint8  # what every backend moves
        out.copy_(torch.cat(self.exchanged("all_gather", x.detach().clone())))

    def reduce_scatter(self, out: torch.Tensor, x: torch.Tensor) -> None:
        assert self.backend != "gloo" and x.is_contiguous()
        total = sum(self.exchanged("reduce_scatter", x.detach().clone()))
        out.copy_(torch.as_tensor(total).chunk(self.count)[self.rank()])

    def broadcast(self, x: torch.Tensor, source: int) -> None:
        assert x.dtype is torch.uint8
        x.copy_(self.exchanged("broadcast", x.clone())[source])

    def broadcast_object_list(self, held: list[Any]) -> None:
        held[:] = self.exchanged("broadcast_object_list", list(held))[0]

    def barrier(self) -> None:
        self.exchanged("barrier", None)


def ranks(monkeypatch: pytest.MonkeyPatch, count: int, backend: str = "gloo") -> Ranks:
    """``count`` ranks, until the test ends."""
    made = Ranks(count, backend)
    answers = {
        "is_initialized": lambda: True, "get_world_size": lambda: count, "get_rank": made.rank, "get_backend": lambda: backend,
        "all_reduce": made.all_reduce, "broadcast": made.broadcast, "broadcast_object_list": made.broadcast_object_list,
        "barrier": made.barrier,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(dist, name, answer)
    # A rank that is not the first gives these up for good: here, until the test ends.
    monkeypatch.setattr(atomic, "_OTHER_WRITES", [False])
    monkeypatch.setitem(config._SETTINGS, "interactive_logging", True)
    monkeypatch.setattr(collectives, "_ALL_GATHER", made.all_gather)
    monkeypatch.setattr(collectives, "_REDUCE_SCATTER", made.reduce_scatter)
    return made

"""A function over items in several processes: results in order, few items at a time, an error where a process dies."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from kcompile.errors import UsageError

Item = TypeVar("Item")
AHEAD = 3  # items for each process, the one that it is at among them

_WORKER: list[Any] = [None]


def in_processes(
    make: Callable[[Any], Callable[[Any], Any]], settings: Any, items: Iterable[tuple[Item, Any]], processes: int
) -> Iterator[tuple[Item, Any]]:
    """(item, result of what ``make(settings)`` gives for its argument), in the order of (item, argument).

    Each process calls ``make`` once. The item itself stays here. An error in a process is raised here in its
    turn, a process that dies is a UsageError; the processes are gone once the iterator is closed, or this
    process is.
    """
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would have none of the threads that Arrow and torch count on
    pool = ProcessPoolExecutor(processes, context, _start, (make, settings))
    waiting: deque[Any] = deque()
    items = iter(items)
    try:
        while True:
            for item, argument in itertools.islice(items, AHEAD * processes - len(waiting)):
                with _deaf_to_ctrl_c():
                    waiting.append((item, pool.submit(_work, argument)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    except BrokenProcessPool as error:
        raise UsageError(
            "a worker process ended before it was done (it was killed or ran out of memory; in a script, what starts "
            "workers must stand under if __name__ == '__main__')"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started within don't hear Ctrl-C, not even while they import; this one hears it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(make: Callable[[Any], Any], settings: Any) -> None:
    """In a new process: Ctrl-C is for the one that started it, without which it does not stay."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORKER[0] = make(settings)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(argument: Any) -> Any:
    return _WORKER[0](argument)

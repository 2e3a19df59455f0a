"""Loads a dataset's batches ahead in threads or processes, in order."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from kcompile.errors import UsageError
from kcompile.keras import backend

_DATASET: list[Any] = [None]


def load(dataset: Any, indices: Iterator[int]) -> Iterator[Any]:
    """``dataset[i]`` for each index in turn, as many at a time as the dataset asks for; None is left out.

    An error in a batch is raised in its turn, with a note that says where it comes from. Workers are gone
    once the iterator is closed.
    """
    if dataset.workers > 1 or (dataset.workers > 0 and dataset.use_multiprocessing):
        batches = _in_parallel(dataset, indices)
    else:
        batches = ((i, _get(dataset, i)) for i in indices)
    for index, batch in batches:
        if batch is not None:
            yield index, batch


def ahead(items: Iterator[Any]) -> Generator[Any, None, None]:
    """The items, the next of which is made in a thread while one is at work."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item


def _in_parallel(dataset: Any, indices: Iterator[int]) -> Iterator[Any]:
    most = dataset.max_queue_size if dataset.max_queue_size > 0 else 10 * dataset.workers
    waiting: deque[tuple[int, Future[Any]]] = deque()
    pool = _pool(dataset)
    get = _get_in_process if dataset.use_multiprocessing else lambda i: _get(dataset, i)
    try:
        for index in indices:
            waiting.append((index, pool.submit(get, index)))
            if len(waiting) >= most:
                yield _result(dataset, *waiting.popleft())
        while waiting:
            yield _result(dataset, *waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(dataset: Any) -> Executor:
    if dataset.use_multiprocessing:
        return ProcessPoolExecutor(dataset.workers, initializer=_start, initargs=(dataset,))
    return ThreadPoolExecutor(dataset.workers, thread_name_prefix=type(dataset).__name__)


def _result(dataset: Any, index: int, future: Future[Any]) -> tuple[int, Any]:
    try:
        return index, future.result()
    except BrokenProcessPool as error:
        raise UsageError(
            f"{type(dataset).__name__}: a worker process ended before it gave batch {index} (it was killed, ran out of "
            "memory, called exit, or the dataset can't be pickled)"
        ) from error


def _start(dataset: Any) -> None:
    """In a new process: keep its copy of the dataset."""
    _DATASET[0] = dataset
    if "torch" in sys.modules:
        # A forked process has none of OpenMP's threads: torch would wait for them forever.
        backend.engine().use_one_thread()


def _get_in_process(index: int) -> Any:
    return _get(_DATASET[0], index)


def _get(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception as error:
        error.add_note(f"raised by {type(dataset).__name__}.__getitem__({index}), batch {index} of the dataset")
        raise

"""Latency and throughput of a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 9  # of runs of each, in `in_turns`


@dataclass(frozen=True)
class Latency:
    """Times of single runs in milliseconds."""

    runs: int
    p50: float
    p99: float
    least: float

    def per_second(self, batch: int) -> float:
        """Rows a second at the median."""
        return batch / self.p50 * 1e3


def measure(run: Callable[[], object], seconds: float = 0.5, warmup: int = 3, most: int = 10_000) -> Latency:
    """Time ``run`` again and again for about ``seconds``, at least five times."""
    for _ in range(warmup):
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < most and (time.perf_counter() < end or len(times) < 5):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return Latency(len(times), float(np.median(times)), float(np.percentile(times, 99)), min(times))


@dataclass(frozen=True)
class Comparison:
    """Medians of two functions in milliseconds, and the ratio second / first: median and quartiles over blocks."""

    first: float
    second: float
    ratio: float
    low: float
    high: float


def compare(first: Callable[[], object], second: Callable[[], object], seconds: float = 1.0) -> Comparison:
    """Time two functions in turns, so that what else the machine does falls on both."""
    a, b = in_turns([first, second], seconds).T
    low, middle, high = np.percentile(b / a, [25, 50, 75])
    return Comparison(float(np.median(a)), float(np.median(b)), float(middle), float(low), float(high))


def in_turns(runs: Sequence[Callable[[], object]], seconds: float = 1.0) -> np.ndarray:
    """Medians in milliseconds [block, function]: each block times every function, beginning with another one."""
    for run in runs:
        run()
    medians = np.empty((BLOCKS, len(runs)))
    for block in range(BLOCKS):
        for i in ((place - block) % len(runs) for place in range(len(runs))):
            medians[block, i] = measure(runs[i], seconds / (len(runs) * BLOCKS), warmup=1).p50
    return medians

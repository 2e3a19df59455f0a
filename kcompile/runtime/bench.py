"""Latency and throughput of a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCKS = 9  # of runs of each, in `compare`


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
    for run in (first, second):
        run()
    medians: list[tuple[float, float]] = []
    for count in range(BLOCKS):
        order = (first, second) if count % 2 else (second, first)
        found = {run: measure(run, seconds / (2 * BLOCKS), warmup=1).p50 for run in order}
        medians.append((found[first], found[second]))
    a, b = (np.array(column) for column in zip(*medians, strict=True))
    low, middle, high = np.percentile(b / a, [25, 50, 75])
    return Comparison(float(np.median(a)), float(np.median(b)), float(middle), float(low), float(high))

"""Latency and throughput of a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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

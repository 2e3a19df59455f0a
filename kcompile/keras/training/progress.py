"""The progress bar of fit, evaluate and predict."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, TextIO

WIDTH = 20


class ProgressBar:
    """One line that is rewritten on a terminal; one finished line an epoch anywhere else."""

    def __init__(self, target: int | None, verbose: int, stream: TextIO | None = None):
        self.target, self.verbose = target, verbose
        self.stream = stream or sys.stdout
        self.live = verbose == 1 and self.stream.isatty()
        self.start = self.shown = time.perf_counter()

    def update(self, step: int, values: dict[str, float]) -> None:
        """Show a running step (on a terminal, a few times a second)."""
        if not self.due():
            return
        now = self.shown = time.perf_counter()
        rate = (now - self.start) / max(step, 1)
        left = f" {_duration(rate * (self.target - step))}" if self.target else ""
        self.stream.write(f"\r\x1b[K{self._bar(step)}{left} {_per_step(rate)}{_shown(values)}")
        self.stream.flush()

    def due(self) -> bool:
        """True where a running step would be drawn now."""
        return self.live and time.perf_counter() - self.shown >= 0.1

    def finish(self, steps: int, values: dict[str, float]) -> None:
        """The line that stays."""
        if self.verbose == 0:
            return
        elapsed = time.perf_counter() - self.start
        head = "\r\x1b[K" if self.live else ""
        line = f"{self._bar(steps)} {_duration(elapsed)} {_per_step(elapsed / max(steps, 1))}{_shown(values)}"
        self.stream.write(f"{head}{line}\n")
        self.stream.flush()

    def _bar(self, step: int) -> str:
        if not self.target:
            return f"{step}/Unknown"
        digits = int(math.log10(self.target)) + 1
        done = WIDTH * min(step, self.target) // self.target
        return f"{step:{digits}d}/{self.target} {'━' * done}{'─' * (WIDTH - done)}"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}" if seconds >= 60 else f"{int(seconds)}s"


def _per_step(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def _shown(values: dict[str, Any]) -> str:
    return "".join(f" - {k}: {_number(v)}" for k, v in values.items())


def _number(value: Any) -> str:
    if getattr(value, "ndim", 0):
        return f"[{' '.join(_number(float(v)) for v in value.ravel())}]"
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"

"""The progress bar of fit, evaluate and predict, and `Progbar` for loops of one's own."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from kcompile.keras.printing import print_message


class ProgressBar:
    """One line that is rewritten on a terminal; one finished line an epoch anywhere else.

    ``verbose`` is 0 for nothing, 1 for a bar, 2 for a line an epoch, ``auto`` for 1. Nothing is
    rewritten where messages go to the log (`keras.config.disable_interactive_logging`).
    """

    def __init__(
        self, target: int | None, verbose: Any = "auto", title: str | None = None, width: int = 20, unit: str = "step"
    ):
        self.target, self.width, self.unit = target, width, unit
        self.verbose = 1 if verbose in ("auto", True) else int(verbose)
        self.live = self.verbose == 1 and sys.stdout.isatty()
        self.start = self.shown = time.perf_counter()
        self.interval = 0.1
        if title is not None and self.verbose:
            print_message(title)

    def update(self, step: int, values: dict[str, Any]) -> None:
        """Show a running step (on a terminal, a few times a second)."""
        if not self.due():
            return
        now = self.shown = time.perf_counter()
        rate = (now - self.start) / max(step, 1)
        left = f" {_duration(rate * (self.target - step))}" if self.target else ""
        print_message(f"\r\x1b[K{self._bar(step)}{left} {self._rate(rate)}{_shown(values)}", end="")

    def due(self) -> bool:
        """True where a running step would be drawn now."""
        return self.live and time.perf_counter() - self.shown >= self.interval

    def finish(self, steps: int, values: dict[str, Any]) -> None:
        """The line that stays."""
        if self.verbose == 0:
            return
        elapsed = time.perf_counter() - self.start
        head = "\r\x1b[K" if self.live else ""
        rate = self._rate(elapsed / max(steps, 1))
        print_message(f"{head}{self._bar(steps)} {_duration(elapsed)} {rate}{_shown(values)}")

    def _bar(self, step: int) -> str:
        if not self.target:
            return f"{step}/Unknown"
        digits = int(math.log10(self.target)) + 1
        done = self.width * min(step, self.target) // self.target
        return f"{step:{digits}d}/{self.target} {'━' * done}{'─' * (self.width - done)}"

    def _rate(self, seconds: float) -> str:
        if seconds >= 1:
            return f"{seconds:.0f}s/{self.unit}"
        return f"{seconds * 1e3:.0f}ms/{self.unit}" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/{self.unit}"


class Progbar:
    """A progress bar for a loop of one's own: ``update(step, [(name, value), ...])``.

    Values are averaged over the steps, but for those named in ``stateful_metrics``, which are shown as they
    are. ``target`` is the number of steps, None where it is not known.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Any = None,
        unit_name: str = "step",
    ):
        self.target, self.stateful_metrics = target, set(stateful_metrics or ())
        self._line = ProgressBar(target, verbose, None, width, unit_name)
        self._line.interval = interval
        self._seen, self._finished = 0, False
        self._sums: dict[str, tuple[Any, int]] = {}

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """Say that ``current`` steps are done; the last one (or ``finalize``) leaves the line standing."""
        weight = current - self._seen
        for name, value in values or []:
            if name in self.stateful_metrics:
                self._sums[name] = (value, 1)
            else:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value * weight, count + weight)
        self._seen = current
        shown = {name: total / max(count, 1) for name, (total, count) in self._sums.items()}
        if finalize or (finalize is None and self.target is not None and current >= self.target):
            if not self._finished:
                self._line.finish(current, shown)
            self._finished = True
        else:
            self._line.update(current, shown)

    def add(self, n: int, values: Any = None) -> None:
        """`update` by ``n`` more steps."""
        self.update(self._seen + n, values)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}" if seconds >= 60 else f"{int(seconds)}s"


def _shown(values: dict[str, Any]) -> str:
    return "".join(f" - {k}: {_number(v)}" for k, v in values.items())


def _number(value: Any) -> str:
    if getattr(value, "ndim", 0):
        return f"[{' '.join(_number(float(v)) for v in value.ravel())}]"
    value = float(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"

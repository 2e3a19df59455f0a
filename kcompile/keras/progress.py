"""The progress of fit, evaluate and predict, and `Progbar` for loops of one's own."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

from kcompile.keras import config
from kcompile.keras.printing import print_message

LIVE, LOGGED = 0.1, 30.0  # seconds between two looks at a running epoch: on a terminal, and as lines elsewhere


class ProgressBar:
    """Shows a loop of ``target`` steps (None where that is not known).

    On a terminal a line with bar, time left, rate and values, drawn anew a few times a second; anywhere
    else the finished line, and every half minute a line of what is running. ``verbose`` is 0 for
    nothing, 1 for that, 2 for the finished line only, ``auto`` for 1, but one line in all where the
    variable CI is set. Nothing is drawn anew where messages go to the log
    (`keras.config.disable_interactive_logging`).
    """

    open = False  # whether the last line drawn is one of a running loop

    def __init__(
        self,
        target: int | None,
        verbose: Any = "auto",
        title: str | None = None,
        width: int = 20,
        unit: str = "step",
        interval: float = LIVE,
    ):
        if verbose != "auto" and not hasattr(verbose, "__index__"):
            raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2, got {verbose!r}")
        self.target, self.width, self.unit, self.title = target, width, unit, ""
        self.verbose = 1 if verbose in ("auto", True) else int(verbose)
        quiet = verbose == "auto" and os.environ.get("CI", "").lower() not in ("", "0", "false")
        shown = self.verbose == 1 and not quiet and config.is_interactive_logging_enabled()
        self.live = shown and sys.stdout.isatty()
        self.interval = interval if self.live else LOGGED if shown else math.inf
        self.start = self.shown = time.perf_counter()
        # Where the time left is reckoned from: the first step, which compiles, says nothing of the others.
        self._early: tuple[float, int] | None = None
        if title is not None and quiet:
            self.title = f"{title} - "
        elif title is not None and self.verbose:
            print_message(title)

    def update(self, step: int, values: dict[str, Any]) -> None:
        """Show a running step, where it is time to."""
        if not self.due():
            return
        now = self.shown = time.perf_counter()
        began, done = self._early or (self.start, 0)
        seconds = (now - began) / max(step - done, 1)
        self._early = self._early or (now, step)
        left = [f"{_duration(seconds * (self.target - step))} left"] if self.target else []
        told = [*left, f"{1 / seconds:,.0f} {self.unit}s/s" if 0 < seconds <= 0.1 else self._rate(seconds)]
        if self.live:
            self._draw(step, " ".join(told), values)
        else:
            print_message(f"{' - '.join([self._count(step), *told])}{_shown(values)}")

    def due(self) -> bool:
        """True where a running step would be shown now."""
        return time.perf_counter() - self.shown >= self.interval

    def finish(self, steps: int, values: dict[str, Any]) -> None:
        """The line that stays."""
        if self.verbose == 0:
            return
        elapsed = time.perf_counter() - self.start
        rate = self._rate(elapsed / max(steps, 1))
        if self.live:
            self._draw(steps, f"{_duration(elapsed)} {rate}", values, end="\n")
        else:
            print_message(f"{self.title}{self._count(steps)} - {_duration(elapsed)} - {rate}{_shown(values)}")

    def _draw(self, step: int, told: str, values: dict[str, Any], end: str = "") -> None:
        """The line of a terminal, in colours; what runs is cut at its width, what stays goes on in the next line."""
        from rich.console import Console
        from rich.text import Text

        console, count, shown = Console(file=sys.stdout), self._count(step), _shown(values)
        # A narrow window rather has numbers than a bar.
        width = min(self.width, max(console.width - len(f"{count}  {told}{shown}"), 0)) if self.target else 0
        done = width * min(step, self.target or 1) // (self.target or 1)
        bar: list[Any] = [("━" * done, "green"), ("━" * (width - done), "bright_black"), " "] if width else []
        line = Text.assemble(f"{count} ", *bar, (told, "bold"), shown)
        sys.stdout.write("\r\x1b[K")
        console.print(line, end=end, no_wrap=not end, overflow="fold" if end else "ellipsis")
        sys.stdout.flush()
        ProgressBar.open = not end

    @staticmethod
    def leave() -> None:
        """End the line of a loop that is left in its midst, so that what comes next has one of its own."""
        if ProgressBar.open:
            sys.stdout.write("\n")
            sys.stdout.flush()
        ProgressBar.open = False

    def _count(self, step: int) -> str:
        if not self.target:
            return f"{step}/Unknown"
        return f"{step:{len(str(self.target))}d}/{self.target}"

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
        self._line = ProgressBar(target, verbose, None, width, unit_name, interval)
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

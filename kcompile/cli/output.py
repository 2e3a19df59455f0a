"""What the command line prints: results on stdout, words on stderr, errors as one line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Result:
    """What a command returns: ``text`` for people, ``data`` for ``--json``, the process's exit code."""

    data: Any
    text: str
    as_json: bool
    code: int = 0


class Command(click.Command):
    """A command that returns a `Result`. Whatever else is printed while it works goes to stderr."""

    def invoke(self, context: click.Context) -> int:
        with stdout_to_stderr():
            result = super().invoke(context)
        if result.as_json:
            click.echo(json.dumps(plain(result.data), indent=2, allow_nan=False))
        elif result.text:
            click.echo(visible(result.text))
        return result.code


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Prints go to stderr, those of a user's script and of C libraries and child processes too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def words(text: str) -> None:
    """A remark that is not the result."""
    click.echo(visible(text), err=True)


def visible(text: str) -> str:
    """``text`` with control characters escaped, line ends kept: names from files reach a terminal only so."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)


def table(rows: list[tuple[Any, ...]], header: tuple[str, ...] | None = None) -> str:
    """Rows in columns: numbers to the right, words to the left."""
    shown = [tuple(str(c) for c in row) for row in ([header, *rows] if header else rows)]
    if not shown:
        return ""
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(widths))]
    lines = []
    for row in shown:
        cells = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes with a unit: ``1.5 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def number(count: float) -> str:
    """A count with a unit: ``12.3 k``, ``4.1 M``."""
    for unit in ("", " k", " M", " G"):
        if count < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} T"


def milliseconds(value: float) -> str:
    """A time: microseconds below one millisecond."""
    return f"{value * 1000:.1f} us" if value < 1 else f"{value:.2f} ms"


def shape(dims: list[Any]) -> str:
    return "[" + ", ".join(map(str, dims)) + "]"


def _is_number(text: Any) -> bool:
    try:
        float(str(text).split(" ")[0].rstrip("%"))
    except ValueError:
        return False
    return True


def plain(value: Any) -> Any:
    """``value`` as JSON has it: NaN and infinities, which it lacks, as text that float() reads."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

"""What the command line prints: results on stdout, words on stderr, errors as one line."""

from __future__ import annotations

import json
from typing import Any

import click


def result(data: Any, text: str, as_json: bool) -> None:
    """A command's result: ``text`` for people, ``data`` for ``--json``."""
    click.echo(json.dumps(data, indent=2, default=_plain) if as_json else text)


def words(text: str) -> None:
    """A remark that is not the result."""
    click.echo(text, err=True)


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


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)

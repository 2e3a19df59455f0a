"""What the optimiser did, for ``--explain``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kcompile.cli import output


def explanation(fired: list[Any], skipped: list[Any]) -> str:
    """Rules that fired, by layer; rules that matched and were skipped, with the reason."""
    counts = Counter((f.rule, f.origin) for f in fired)
    rows = [(rule, place or "-", f"{count}x") for (rule, place), count in counts.items()]
    lines = ["rules that fired:", output.table(rows) if rows else "  none"]
    unique = list(dict.fromkeys((s.rule, s.origin or "-", s.reason) for s in skipped))
    if unique:
        lines += ["", "rules that were skipped:", output.table(list(unique))]
    return "\n".join(lines)

"""What the optimiser did, for ``--explain``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from kcompile.cli import output
from kcompile.errors import printable


def explanation(account: Any) -> str:
    """An `Account` for people: what fired where with its effect, totals, what was skipped and why."""
    rows = [(e.name, printable(e.place) or "-", e.times, *_cost(e.effect, signed=True)) for e in account.entries]
    rows += [("before", "", "", *_cost(account.before)), ("after", "", "", *_cost(account.after))]
    lines = ["rules that fired:", output.table(rows, ("", "place", "times", "nodes", "weights", "FLOPs"))]
    lines.append(
        f"FLOPs at batch 1, other free sizes {account.length}; 2 for a multiply-add of a product, 1 for an element"
    )
    if account.skipped:
        lines += ["", "rules that were skipped:"]
        lines.append(output.table([(rule, printable(place) or "-", reason) for rule, place, reason in account.skipped]))
    return "\n".join(lines)


def explained(account: Any) -> dict[str, Any]:
    """An `Account` for ``--json``."""
    found = asdict(account)
    found["skipped"] = [{"rule": rule, "place": place, "reason": reason} for rule, place, reason in account.skipped]
    return found


def _cost(cost: Any, signed: bool = False) -> tuple[str, str, str]:
    def shown(count: int, text: Callable[[float], str]) -> str:
        return ("-" if count < 0 else "+" if count and signed else "") + text(abs(count))

    return shown(cost.nodes, str), shown(cost.bytes, output.size), shown(cost.flops, output.number)

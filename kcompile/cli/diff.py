"""``kcompile diff``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click

from kcompile.cli import output
from kcompile.errors import CheckError, printable

SHOWN = 40  # lines of one kind
SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": "="}


@click.command("diff", cls=output.Command, short_help="What differs between two models, in structure and weights.")
@click.argument("first", metavar="A.onnx|A.keras|SCRIPT")
@click.argument("second", metavar="B.onnx|B.keras|SCRIPT")
@click.option("--custom", multiple=True, metavar="FILE", help="A script to run first.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(first: str, second: str, custom: tuple[str, ...], as_json: bool) -> output.Result:
    """Compare the nodes and the weights of two models; names of nodes and tensors need not agree.

    Exit code 0 where both compute the same behind the same inputs and outputs (metadata may differ), 4 where not.
    A Keras file or a script is exported first.
    """
    from kcompile.onnx.diff import difference

    found = difference(_model(first, custom), _model(second, custom))
    data = {"same": found.same, "same_structure": found.same_structure, "same_weights": found.same_weights}
    code = 0 if found.same else CheckError.exit_code
    return output.Result({**data, **asdict(found)}, text_of(found, first, second), as_json, code)


def _model(source: str, custom: tuple[str, ...]) -> Any:
    if source.endswith(".onnx"):
        from kcompile.onnx.files import read

        return read(source)
    from kcompile.cli.stages import staged

    return staged(source, "onnx", None, custom, None, explain=False).what


def text_of(found: Any, first: str, second: str) -> str:
    """A `Difference` for people."""
    counts = Counter(c.status for c in found.changes)
    weights = Counter(w.status for w in found.weights)
    structure = "the same" if found.same_structure else _counted(counts, ("added", "removed", "changed"))
    rows: list[tuple[Any, ...]] = [("nodes", *found.nodes)]
    rows += [tuple(printable(part) or "-" for part in row) for row in (*found.opsets, *found.model, *found.ends)]
    lines = [output.table(rows, ("", printable(first), printable(second))), ""]
    unchanged = found.paired - counts["changed"]
    lines.append(f"structure  {structure}" + ("" if found.same_structure else f"; {unchanged} nodes the same"))
    lines.append(f"weights    {_counted(weights, ('equal', 'renamed', 'changed', 'removed', 'added')) or 'none'}")
    if found.changes:
        lines += ["", "nodes:", *_cut(map(_node, found.changes))]
    told = [w for w in found.weights if w.status != "equal"]
    if told:
        lines += ["", "weights:", *_cut(map(_weight, told))]
    return "\n".join(lines)


def _counted(counts: Counter[str], names: tuple[str, ...]) -> str:
    return ", ".join(f"{counts[n]} {n}" for n in names if counts[n])


def _cut(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    return every[:SHOWN] + ([f"and {len(every) - SHOWN} more; --json has all"] if len(every) > SHOWN else [])


def _node(change: Any) -> str:
    name = change.before if change.before is not None else change.after
    other = f" (now {change.after})" if change.status == "changed" and change.after != change.before else ""
    details = f": {'; '.join(change.details)}" if change.details else ""
    return printable(f"{SIGNS[change.status]} {change.operator} {name}{other}{details}", 400)


def _weight(change: Any) -> str:
    names = [n for n in dict.fromkeys((change.before, change.after)) if n is not None]
    types = [t for t in dict.fromkeys((change.type_before, change.type_after)) if t is not None]
    by = (
        ""
        if change.largest is None
        else f"  by up to {change.largest:.3g} ({change.relative:.2%} of its largest number)"
    )
    return printable(f"{SIGNS[change.status]} {' -> '.join(names)}  {' -> '.join(types)}{by}", 400)

"""``kcompile optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kcompile.cli import output
from kcompile.cli.explain import explained, explanation


@click.command("optimize", cls=output.Command, short_help="Make any ONNX file smaller and faster, and prove it.")
@click.argument("source", metavar="FILE.onnx")
@click.option("-o", "--output", "target", metavar="FILE", help="Where to write (default: <name>.opt.onnx here).")
@click.option("--opset", type=int, help="ONNX opset, 17 or later (default: the file's, at least 17).")
@click.option("--no-verify", is_flag=True, help="Don't compare the result with the original.")
@click.option("--no-bench", is_flag=True, help="Don't time the result against the original.")
@click.option("--force", is_flag=True, help="Write the result even where it is no better.")
@click.option("--explain", is_flag=True, help="Show which rules fired, and which nodes were carried through and why.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def command(
    source: str,
    target: str | None,
    opset: int | None,
    no_verify: bool,
    no_bench: bool,
    force: bool,
    explain: bool,
    as_json: bool,
) -> output.Result:
    """Read FILE.onnx, optimise it, and write a file with the same inputs and outputs that computes the same.

    The result is compared with the original in ONNX Runtime, and timed against it. Where it is not better, the
    original is written instead, and the report says why.
    """
    from kcompile.keras.optimizing import optimize_file

    path = Path(target) if target is not None else Path(f"{Path(source).stem}.opt.onnx")
    report = optimize_file(source, path, opset=opset, verify=not no_verify, bench=not no_bench, force=force)
    data, text = report.to_dict(), report_text(report)
    if explain:
        account = report.account()
        data["explain"] = explained(account)
        text += f"\n\n{_carried(report)}\n\n{explanation(account)}"
    if report.kept:
        output.words(f"kcompile: the original was kept: {report.kept}")
    if report.verified is not None and report.verified.weak:
        output.words(f"kcompile: warning: the check is weak: {report.verified.weak}")
    return output.Result(data, text, as_json)


def report_text(report: Any) -> str:
    """The report for people."""
    (nodes, new_nodes), (size, new_size), found = report.nodes, report.size, report.verified
    rows: list[tuple[Any, ...]] = [("nodes", nodes, new_nodes), ("size", output.size(size), output.size(new_size))]
    if (time := report.latency) is not None:
        rows.append(("time", *(output.milliseconds(time[k]) for k in ("before", "after"))))
    lines = [output.table(rows, ("", "before", "after")), ""]
    lines.append(f"steps     {'  '.join(f'{n} {s:.2f}s' for n, s in report.steps)}")
    whole = sum(report.whole.values())
    lines.append(f"read      {sum(report.read.values())} nodes; {whole} carried through as they are")
    lines.append(
        "verified  no"
        if found is None
        else f"verified  largest error {found.error:.1e} of the output's range, {found.runs} runs against {found.reference}"
    )
    lines.append(f"wrote     {', '.join(report.files)}{' (the original)' if report.kept else ''}, opset {report.opset}")
    name = report.files[0]
    return "\n".join([*lines, "", f"next: kcompile info {name}   kcompile bench {name}   kcompile graph {name}"])


def _carried(report: Any) -> str:
    rows = [(name, f"{count}x", "; ".join(report.reasons.get(name, ()))) for name, count in report.whole.items()]
    return "nodes carried through as they are:\n" + (output.table(rows) if rows else "  none")

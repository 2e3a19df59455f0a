"""``kcompile export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kcompile.cli import output
from kcompile.cli.explain import explained, explanation
from kcompile.cli.script import call_user, load_model, train_function


class Batch(click.ParamType):
    """A positive number, or ``dynamic``."""

    name = "N|dynamic"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value is None or value == "dynamic":
            return None
        try:
            size = int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor 'dynamic'", param, ctx)
        if size < 1:
            self.fail("a batch holds at least 1", param, ctx)
        return size


@click.command("export", cls=output.Command, short_help="Write a model as a small, verified ONNX file.")
@click.argument("source", metavar="SCRIPT|FILE.keras")
@click.option("-o", "--output", "target", metavar="FILE", help="Where to write (default: the source's name, .onnx).")
@click.option("--name", help="Which model of the script.")
@click.option("--train", is_flag=True, help="Call the script's train(model) first.")
@click.option("--weights", metavar="FILE", help="Load weights (.weights.h5 or .keras) first.")
@click.option("--opset", type=int, help="ONNX opset, 17 or later (default: the target's, 20 or 23).")
@click.option(
    "--target",
    "kind",
    type=click.Choice(["portable", "onnxruntime", "cuda"]),
    default="portable",
    help="Whose operators it may hold: standard ones, or ONNX Runtime's own too, for its CPU or CUDA provider.",
)
@click.option("--batch", type=Batch(), default="dynamic", help="A fixed batch size (default: dynamic).")
@click.option(
    "--custom", multiple=True, metavar="FILE", help="A script to run first, whose registered classes a file uses."
)
@click.option("--no-verify", is_flag=True, help="Don't compare the file with the model.")
@click.option("--explain", is_flag=True, help="Show which rules fired where, and which were skipped and why.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def command(
    source: str,
    target: str | None,
    name: str | None,
    train: bool,
    weights: str | None,
    opset: int | None,
    kind: str,
    batch: int | None,
    custom: tuple[str, ...],
    no_verify: bool,
    explain: bool,
    as_json: bool,
) -> output.Result:
    """Trace the model of SCRIPT or FILE.keras, optimise it, write it as ONNX, and prove that it computes the same.

    The script is imported, not run as __main__. Its model is what it calls `model`, the only model it defines, or what
    its `build()` returns. With --train its `train(model)` runs first.
    """
    path = Path(target) if target is not None else Path(f"{Path(source).stem}.onnx")
    from kcompile.keras import exporting

    exporting.check_path(path)
    loaded = load_model(source, name, custom)
    if weights is not None:
        loaded.model.load_weights(weights)
    if train:
        call_user(train_function(loaded, "--train"), loaded.source, loaded.model)
    report = exporting.export(loaded.model, path, opset=opset, target=kind, batch=batch, verify=not no_verify)
    data = report.to_dict()
    text = report_text(report)
    if explain:
        account = report.account()
        data["explain"] = explained(account)
        text += "\n\n" + explanation(account)
    if report.verified is not None and report.verified.weak:
        output.words(f"kcompile: warning: the check is weak: {report.verified.weak}")
    return output.Result(data, text, as_json)


def report_text(report: Any) -> str:
    """The report for people."""
    ends = [(i["name"], i["dtype"], output.shape(i["shape"])) for i in report.inputs]
    outs = [(i["name"], i["dtype"], output.shape(i["shape"])) for i in report.outputs]
    rows = [(label, *end) for label, end in (*(("input", e) for e in ends), *(("output", e) for e in outs))]
    steps = "  ".join(f"{n} {_seconds(s)}" for n, s in report.steps)
    lines = [output.table(rows), "", f"steps     {steps}"]
    lines.append(
        f"operators {report.operators_traced} traced, {report.operators_optimised} optimised, {report.nodes} ONNX nodes"
    )
    if report.verified is None:
        lines.append("verified  no (--no-verify)")
    else:
        found = report.verified
        lines.append(
            f"verified  largest error {found.error:.1e} of the output's range, {found.runs} runs against {found.reference}"
        )
    if report.latency is not None:
        lines.append(
            f"latency   {output.milliseconds(report.latency['p50'])} at batch 1 (p99 {output.milliseconds(report.latency['p99'])}), ONNX Runtime, CPU"
        )
    lines.append(
        f"wrote     {', '.join(report.files)}  {output.size(report.size)}, {output.number(report.parameters)} parameters, opset {report.opset}"
    )
    name = report.files[0]
    lines += ["", f"next: kcompile info {name}   kcompile bench {name}   kcompile graph {name}"]
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.2f}s" if value >= 0.1 else f"{value * 1000:.0f}ms"

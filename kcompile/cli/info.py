"""``kcompile info``."""

from __future__ import annotations

from dataclasses import asdict

import click

from kcompile.cli import output


@click.command(
    "info", cls=output.Command, short_help="Inputs, outputs, operators, parameters and FLOPs of an ONNX file."
)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(file: str, as_json: bool) -> output.Result:
    """Show what an ONNX file holds."""
    from kcompile.errors import printable
    from kcompile.onnx.summary import summarize

    found = summarize(file)
    rows = []
    for kind, ends in (("input", found.inputs), ("output", found.outputs)):
        rows += [(kind, printable(e["name"]), e["dtype"], printable(output.shape(e["shape"]))) for e in ends]
    operators = "  ".join(f"{name} {count}" for name, count in found.operators.items())
    work = "unknown (a shape can't be inferred)" if found.flops is None else output.number(found.flops)
    note = f", {', '.join(found.assumed)} = 32" if found.assumed else ""
    lines = [
        output.table(rows),
        "",
        f"nodes      {found.nodes}: {operators}",
        f"parameters {output.number(found.parameters)}",
        f"FLOPs      {work} at batch 1{note}",
        f"file       {output.size(found.size)}, opset {found.opset}, IR {found.ir_version}, written by {printable(found.producer) or '?'}",
    ]
    lines += [f"metadata   {printable(k)} = {printable(v)}" for k, v in found.metadata.items()]
    return output.Result(asdict(found), "\n".join(lines), as_json)

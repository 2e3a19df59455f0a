"""``kcompile graph``."""

from __future__ import annotations

from typing import Any

import click

from kcompile.cli import output
from kcompile.cli.explain import explained, explanation
from kcompile.cli.export import Batch


@click.command("graph", cls=output.Command, short_help="A model's graph as text, and what the optimiser did to it.")
@click.argument("source", metavar="SCRIPT|FILE.keras|FILE.onnx")
@click.option("--name", help="Which model of the script.")
@click.option(
    "--stage", type=click.Choice(["traced", "optimised"]), default="optimised", help="Before or after the passes."
)
@click.option("--batch", type=Batch(), default="dynamic", help="A fixed batch size.")
@click.option("--custom", multiple=True, metavar="FILE", help="A script to run first.")
@click.option("--explain", is_flag=True, help="Show which rules fired where, and which were skipped and why.")
@click.option("--full", is_flag=True, help="Write large constants out, so that the text parses back.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    source: str,
    name: str | None,
    stage: str,
    batch: int | None,
    custom: tuple[str, ...],
    explain: bool,
    full: bool,
    as_json: bool,
) -> output.Result:
    """Print a graph: the IR of a script or Keras file, or the nodes of an ONNX file."""
    if source.endswith(".onnx"):
        from kcompile.onnx.summary import graph_text

        text = graph_text(source)
        return output.Result({"graph": text}, text, as_json)
    from kcompile.cli.script import load_model
    from kcompile.ir import show
    from kcompile.keras import exporting
    from kcompile.keras.tracing import trace
    from kcompile.passes.account import account

    graph = trace(load_model(source, name, custom).model, batch=batch)
    found = None
    if stage == "optimised" or explain:
        result = exporting.optimized(graph)
        found = account(graph.inference(), result) if explain else None
        graph = result.graph if stage == "optimised" else graph
    text = show(graph, elide=not full)
    data: dict[str, Any] = {"graph": text}
    if found is not None:
        text += "\n\n" + explanation(found)
        data["explain"] = explained(found)
    return output.Result(data, text, as_json)

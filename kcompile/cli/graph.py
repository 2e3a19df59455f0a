"""``kcompile graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kcompile.cli import output
from kcompile.cli.explain import explained, explanation
from kcompile.cli.export import Batch
from kcompile.cli.stages import STAGES, Staged, staged
from kcompile.errors import UsageError
from kcompile.files.atomic import replacing

FORMS = ("svg", "html", "dot")
OPEN = 1  # levels of layers that a drawing shows open


@click.command("graph", cls=output.Command, short_help="A model's graph as text or as a drawing.")
@click.argument("source", metavar="SCRIPT|FILE.keras|FILE.onnx")
@click.option("--name", help="Which model of the script.")
@click.option(
    "--stage",
    type=click.Choice(STAGES),
    help="Before or after the passes, the forward pass of training, or the ONNX nodes (default: optimised; FILE.onnx as it is).",
)
@click.option("--batch", type=Batch(), default="dynamic", help="A fixed batch size.")
@click.option("--custom", multiple=True, metavar="FILE", help="A script to run first.")
@click.option("--svg", "form", flag_value="svg", help="Draw it.")
@click.option("--html", "form", flag_value="html", help="A page of its own, whose layers fold and unfold by a click.")
@click.option("--dot", "form", flag_value="dot", help="In Graphviz's language.")
@click.option(
    "--depth", type=click.IntRange(min=0), default=OPEN, help=f"Levels of layers that are open (default {OPEN})."
)
@click.option("-o", "--output", "target", metavar="FILE", help="Write there; .svg, .html and .dot choose the form too.")
@click.option("--explain", is_flag=True, help="Show what each rule did where, and which were skipped and why.")
@click.option("--code", is_flag=True, help="The torch code of it; with --stage train of a compiled model's whole step.")
@click.option("--full", is_flag=True, help="Write large constants out, so that the text parses back.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    source: str,
    name: str | None,
    stage: str | None,
    batch: int | None,
    custom: tuple[str, ...],
    form: str | None,
    depth: int,
    target: str | None,
    explain: bool,
    code: bool,
    full: bool,
    as_json: bool,
) -> output.Result:
    """Print or draw a graph: the IR of a script or Keras file at a stage, or the nodes of an ONNX file.

    In a drawing operators stand within the layers that made them.
    """
    suffix = Path(target).suffix[1:] if target is not None else ""
    form = form or (suffix if suffix in FORMS else None)
    found = staged(source, stage, name, custom, batch, explain)
    if code:
        shown = code_of(found, source)
    else:
        shown = drawing(found, form, depth) if form is not None else text_of(found, source, full)
    if target is not None:
        with replacing(Path(target)) as stream:
            stream.write(shown.encode())
    data: dict[str, Any] = {"graph": shown} if target is None else {"path": target}
    text = shown.rstrip("\n") if target is None else f"wrote {target}"
    if explain:
        text += "\n\n" + explanation(found.account)
        data["explain"] = explained(found.account)
    return output.Result(data, text, as_json)


def text_of(found: Staged, source: str, full: bool) -> str:
    """The graph in words."""
    if found.is_onnx:
        from kcompile.onnx.summary import model_text

        return model_text(found.what, source)
    from kcompile.ir import show

    return show(found.what, elide=not full)


def code_of(found: Staged, source: str) -> str:
    """The generated torch code: what runs in training, line by line."""
    if found.is_onnx:
        raise UsageError(f"{source}: --code shows torch code, which a graph has before the stage onnx")
    if found.model is not None and found.model.compiled:
        from kcompile.keras.training.code import step_code

        return step_code(found.model)
    from kcompile.engine.lower import lower

    return lower(found.what.inference()).code.strip() + "\n"


def drawing(found: Staged, form: str, depth: int) -> str:
    """The graph as a drawing."""
    from kcompile.drawing.dot import to_dot
    from kcompile.drawing.graphs import of_graph
    from kcompile.drawing.page import to_html
    from kcompile.drawing.svg import to_svg

    if found.is_onnx:
        from kcompile.onnx.drawing import of_model

        diagram = of_model(found.what)
    else:
        diagram = of_graph(found.what)
    return {"svg": to_svg, "html": to_html, "dot": to_dot}[form](diagram, depth)

"""``kcompile verify``."""

from __future__ import annotations

from dataclasses import asdict

import click

from kcompile.cli import output
from kcompile.errors import CheckError


@click.command("verify", cls=output.Command, short_help="Compare an ONNX file with the model it came from.")
@click.argument("source", metavar="SCRIPT|FILE.keras")
@click.argument("file", metavar="FILE.onnx")
@click.option("--name", help="Which model of the script.")
@click.option("--weights", metavar="FILE", help="Load weights (.weights.h5 or .keras) first.")
@click.option("--custom", multiple=True, metavar="FILE", help="A script to run first.")
@click.option("--tolerance", type=float, help="Largest difference allowed, as a share of the output's range.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    source: str,
    file: str,
    name: str | None,
    weights: str | None,
    custom: tuple[str, ...],
    tolerance: float | None,
    as_json: bool,
) -> output.Result:
    """Run the model and FILE on the same random and edge inputs; exit code 4 where they differ."""
    from kcompile.cli.script import load_model
    from kcompile.keras import exporting, verification
    from kcompile.keras.tracing import trace
    from kcompile.runtime.model import OnnxModel

    model = load_model(source, name, custom).model
    if weights is not None:
        model.load_weights(weights)
    graph = trace(model)
    session = OnnxModel(file)
    if set(session.input_names) != set(graph.input_names) or len(session.output_names) != len(graph.outputs):
        raise CheckError(
            f"{file} has the inputs {session.input_names} and {len(session.output_names)} output(s), the model "
            f"{list(graph.input_names)} and {len(graph.outputs)}"
        )
    reference, where = exporting.reference_of(graph)
    found = verification.compare(graph, reference, session.run, where, tolerance)
    if isinstance(found, verification.Mismatch):
        raise CheckError(f"{file} does not compute what {source} computes: {found}")
    text = f"equal: largest error {found.error:.1e} of the output's range, {found.runs} runs against {found.reference}"
    if found.weak:
        output.words(f"kcompile: warning: the check is weak: {found.weak}")
    return output.Result(asdict(found), text, as_json)

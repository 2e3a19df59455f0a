"""``kcompile predict``."""

from __future__ import annotations

import sys
from typing import Any

import click

from kcompile.cli import output
from kcompile.errors import UsageError

POSITIVE = click.IntRange(min=1)


@click.command("predict", cls=output.Command, short_help="An ONNX file's outputs for all rows of a table.")
@click.argument("file")
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", "target", required=True, metavar="FILE", help="A .parquet, .csv, .jsonl or .npy file.")
@click.option(
    "--columns", multiple=True, metavar="INPUT=A,B,...", help="The columns of an input that no column is named after."
)
@click.option("--keep", metavar="A,B,...", default="", help="Columns of the data to write before the outputs.")
@click.option("--batch-size", type=POSITIVE, default=128, help="Rows at a time (default 128).")
@click.option("--workers", type=POSITIVE, default=1, help="Processes (default: this one).")
@click.option(
    "--threads", type=POSITIVE, help="Threads within an operator (default: all cores; 1 with several workers)."
)
@click.option("--device", default="cpu", help="cpu, cuda or auto.")
@click.option("--backend", type=click.Choice(["processes", "ray"]), default="processes", help="What runs the workers.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def command(
    file: str,
    data: tuple[str, ...],
    target: str,
    columns: tuple[str, ...],
    keep: str,
    batch_size: int,
    workers: int,
    threads: int | None,
    device: str,
    backend: str,
    as_json: bool,
) -> output.Result:
    """Run FILE on every row of DATA: .parquet, .csv, .jsonl, .npy or .npz files, folders of them, patterns.

    The columns of the data are the model's inputs by name. Files of any length are read and written some batches at a
    time, and the result appears whole at the end. Rows of different lengths run in batches of equal length.
    """
    from kcompile.runtime.predicting import predict_file

    bar = _bar()
    done = predict_file(
        file, data, target, columns=_named(columns), keep=_split(keep), batch_size=batch_size, workers=workers,
        threads=threads, device=device, backend=backend, progress=None if bar is None else lambda rows: bar.update(rows, {}),
    )  # fmt: skip
    if bar is not None:
        bar.finish(done.rows, {})
    told = {"path": target, "rows": done.rows, "columns": done.columns, "seconds": done.seconds}
    return output.Result(told, f"{done}\nwrote {target}: {', '.join(done.columns)}", as_json)


def _bar() -> Any:
    """What shows the rows that are done, on a terminal; elsewhere Keras's room is not worth its loading time."""
    if not sys.stderr.isatty():
        return None
    from kcompile.keras.progress import ProgressBar

    return ProgressBar(None, unit="row")


def _named(columns: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for given in columns:
        name, equals, names = given.partition("=")
        if not equals or not _split(names):
            raise UsageError(f"--columns {given}: expected INPUT=A,B,...")
        found[name] = _split(names)
    return found


def _split(names: str) -> list[str]:
    return [name for name in names.split(",") if name]

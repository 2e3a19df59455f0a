"""``kcompile run``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from kcompile.cli import output
from kcompile.errors import FileFormatError, UsageError


@click.command("run", short_help="Run an ONNX file on .npy arrays.")
@click.argument("file")
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]FILE.npy", help="An input; NAME= where there are several.")
@click.option("-o", "--output", "target", metavar="FILE.npy|FILE.npz", help="Write the outputs there.")
@click.option("--device", default="cpu", help="cpu, cuda or auto.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows at a time (default: all).")
@click.option("--json", "as_json", is_flag=True, help="The outputs as JSON.")
def command(
    file: str, inputs: tuple[str, ...], target: str | None, device: str, batch_size: int | None, as_json: bool
) -> None:
    """Run FILE on arrays and show (or write) its outputs."""
    from kcompile.runtime.model import OnnxModel

    model = OnnxModel(file, device)
    feeds = read_inputs(inputs, model.input_names)
    result = model.predict(feeds, batch_size=batch_size) if batch_size else model(feeds)
    named = result if isinstance(result, dict) else {model.output_names[0]: result}
    if target is not None:
        write_outputs(named, Path(target))
    text = "\n".join(_shown(n, a) for n, a in named.items())
    data = {n: {"shape": list(a.shape), "dtype": str(a.dtype), "values": a.tolist()} for n, a in named.items()}
    output.result(data, text + (f"\nwrote {target}" if target else ""), as_json)


def read_inputs(inputs: tuple[str, ...], names: list[str]) -> dict[str, Any]:
    """Arrays by input name from ``[NAME=]FILE.npy`` arguments; pickled files are refused."""
    feeds: dict[str, Any] = {}
    for i, given in enumerate(inputs):
        name, equals, path = given.rpartition("=")
        if not equals:
            if i >= len(names):
                raise UsageError(f"--input {given}: the model has {len(names)} inputs {names}")
            name = names[i]
        if not Path(path).is_file():
            raise UsageError(f"--input {path}: no such file")
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise FileFormatError(f"--input {path}: not a .npy array: {error}") from error
        if not isinstance(array, np.ndarray):
            raise FileFormatError(f"--input {path}: holds several arrays; give one .npy file an input")
        feeds[name] = array
    return feeds


def write_outputs(named: dict[str, np.ndarray], target: Path) -> None:
    """Write the outputs as .npy (one) or .npz (any number); the file appears whole."""
    if target.suffix not in (".npy", ".npz"):
        raise UsageError(f"{target}: outputs are written as .npy or .npz")
    if target.suffix == ".npy" and len(named) > 1:
        raise UsageError(f"{target}: the model has {len(named)} outputs; write them as .npz")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: the folder {target.parent} does not exist")
    handle, temporary = tempfile.mkstemp(suffix=target.suffix, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            if target.suffix == ".npy":
                np.save(stream, next(iter(named.values())))
            else:
                np.savez(stream, **named)  # type: ignore[arg-type]
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _shown(name: str, array: np.ndarray) -> str:
    with np.printoptions(threshold=100, edgeitems=3, precision=6, suppress=True):
        return f"{name} {array.dtype}{list(array.shape)}\n{array}"

"""``kcompile run``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from kcompile.cli import output
from kcompile.errors import FileFormatError, UsageError, did_you_mean, printable
from kcompile.files.atomic import replacing


@click.command("run", cls=output.Command, short_help="Run an ONNX file on .npy arrays.")
@click.argument("file")
@click.option(
    "--input", "inputs", multiple=True, metavar="[NAME=]FILE.npy", help="An input; NAME= where there are several."
)
@click.option("-o", "--output", "target", metavar="FILE.npy|FILE.npz", help="Write the outputs there.")
@click.option("--device", default="cpu", help="cpu, cuda or auto.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows at a time (default: all).")
@click.option("--json", "as_json", is_flag=True, help="The outputs as JSON.")
def command(
    file: str, inputs: tuple[str, ...], target: str | None, device: str, batch_size: int | None, as_json: bool
) -> output.Result:
    """Run FILE on arrays and show (or write) its outputs."""
    from kcompile.runtime.model import OnnxModel

    if target is not None:
        check_target(Path(target))
    model = OnnxModel(file, device)
    if target is not None and Path(target).suffix == ".npy" and len(model.output_names) > 1:
        raise UsageError(f"{target}: the model has {len(model.output_names)} outputs; write them as .npz")
    feeds = read_inputs(inputs, model.input_names)
    result = model.predict(feeds, batch_size=batch_size) if batch_size else model(feeds)
    named = result if isinstance(result, dict) else {model.output_names[0]: result}
    if target is not None:
        write_outputs(named, Path(target))
    text = "\n".join(_shown(n, a) for n, a in named.items())
    data = {n: {"shape": list(a.shape), "dtype": str(a.dtype), "values": a.tolist()} for n, a in named.items()}
    return output.Result(data, text + (f"\nwrote {target}" if target else ""), as_json)


def read_inputs(inputs: tuple[str, ...], names: list[str]) -> dict[str, Any]:
    """Arrays by input name from ``[NAME=]FILE.npy`` arguments; pickled files are refused."""
    feeds: dict[str, Any] = {}
    for given in inputs:
        name, path = _named(given, names, [n for n in names if n not in feeds])
        if name in feeds:
            raise UsageError(f"--input {given}: {name!r} is given twice")
        feeds[name] = _read(Path(path))
    return feeds


def _named(given: str, names: list[str], left: list[str]) -> tuple[str, str]:
    """(input name, path): the name before ``=``, else the first input that has no array yet."""
    for name in sorted(names, key=len, reverse=True):
        if given.startswith(f"{name}="):
            return name, given[len(name) + 1 :]
    name, equals, _ = given.partition("=")
    if equals and not Path(given).exists():
        raise UsageError(f"--input {given}: no input {name!r}{did_you_mean(name, names)}; the inputs are {names}")
    if not left:
        raise UsageError(f"--input {given}: the model has {len(names)} input(s) {names}")
    return left[0], given


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UsageError(f"--input {path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"--input {path}: not a .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise FileFormatError(f"--input {path}: holds several arrays; give one .npy file an input")
    return array


def check_target(target: Path) -> None:
    """UsageError for a path that outputs can't be written to."""
    if target.suffix not in (".npy", ".npz"):
        raise UsageError(f"{target}: outputs are written as .npy or .npz")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: the folder {target.parent} does not exist")
    if target.is_dir():
        raise UsageError(f"{target} is a folder")


def write_outputs(named: dict[str, np.ndarray], target: Path) -> None:
    """Write the outputs as .npy (one) or .npz (any number, by name); the file appears whole."""
    with replacing(target) as stream:
        if target.suffix == ".npy":
            np.save(stream, next(iter(named.values())), allow_pickle=False)
            return
        # Not np.savez: it takes an output called "file" for its own argument.
        with zipfile.ZipFile(stream, "w") as archive:
            for name, array in named.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def _shown(name: str, array: np.ndarray) -> str:
    with np.printoptions(threshold=100, edgeitems=3, precision=6, suppress=True):
        return f"{printable(name)} {array.dtype}{list(array.shape)}\n{array}"

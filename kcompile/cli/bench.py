"""``kcompile bench``."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from kcompile.cli import output
from kcompile.errors import UsageError


@click.command("bench", cls=output.Command, short_help="Latency and throughput of an ONNX file.")
@click.argument("file")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), help="Batch sizes (default: 1 and 32).")
@click.option("--length", type=click.IntRange(min=1), default=32, help="Size of other free axes (default 32).")
@click.option("--device", default="cpu", help="cpu, cuda or auto.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads within an operator (default: all cores).")
@click.option("--seconds", type=float, default=1.0, help="Time for each batch size.")
@click.option("--levels", is_flag=True, help="Compare the levels of ONNX Runtime's own optimiser.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    file: str,
    batches: tuple[int, ...],
    length: int,
    device: str,
    threads: int | None,
    seconds: float,
    levels: bool,
    as_json: bool,
) -> output.Result:
    """Time FILE on random inputs.

    --levels loads it at each level of ONNX Runtime's optimiser (off, basic, extended, all), and shows the nodes that are
    left, the time that loading takes, and the latency, measured in turns; where "off" is as fast as "all" the file
    leaves nothing for the runtime to do.
    """
    from kcompile.runtime.bench import measure
    from kcompile.runtime.model import OnnxModel

    if levels and device != "cpu":
        raise UsageError(f"--levels compares on the CPU, not on {device}")
    model = OnnxModel(file, device, threads)
    rows = []
    for batch in batches or (1, 32):
        feeds = random_inputs(model, batch, length)
        found = measure(partial(model.run, feeds), seconds)
        rows.append({"batch": batch, "p50_ms": found.p50, "p99_ms": found.p99, "least_ms": found.least,
                     "rows_per_second": found.per_second(batch), "runs": found.runs})  # fmt: skip
    header = ("batch", "p50", "p99", "least", "rows/s", "runs")
    shown = [
        (r["batch"], *(output.milliseconds(float(r[k])) for k in ("p50_ms", "p99_ms", "least_ms")),
         f"{r['rows_per_second']:.0f}", r["runs"])
        for r in rows
    ]  # fmt: skip
    data = {"file": file, "device": device, "results": rows}
    text = output.table(shown, header)
    if levels:
        sizes = batches or (1, 32)
        found_levels = at_levels(file, {b: random_inputs(model, b, length) for b in sizes}, threads, seconds)
        data["levels"] = found_levels
        text += "\n\n" + levels_text(found_levels, sizes)
    return output.Result(data, text, as_json)


def at_levels(
    file: str, feeds: dict[int, dict[str, np.ndarray]], threads: int | None, seconds: float
) -> list[dict[str, Any]]:
    """For each level of ONNX Runtime's optimiser on the CPU: nodes, milliseconds to load, latency by batch size."""
    from kcompile.onnx.files import read
    from kcompile.onnx.signature import node_count
    from kcompile.runtime.bench import in_turns
    from kcompile.runtime.session import LEVELS, open_session, run_session

    rows: list[dict[str, Any]] = []
    for level in LEVELS:
        with tempfile.TemporaryDirectory(prefix="kcompile-bench-") as folder:
            path = str(Path(folder) / "optimised.onnx")
            open_session(file, level=level, threads=threads, optimised=path)
            rows.append({"level": level, "nodes": node_count(read(path, weights=False)), "p50_ms": {}})
    load = in_turns([partial(open_session, file, level=level, threads=threads) for level in LEVELS], seconds)
    sessions = [open_session(file, level=level, threads=threads) for level in LEVELS]
    for batch, given in feeds.items():
        times = in_turns([partial(run_session, session, given) for session in sessions], seconds)
        for row, column in zip(rows, times.T, strict=True):
            row["p50_ms"][batch] = float(np.median(column))
    for row, column in zip(rows, load.T, strict=True):
        row["load_ms"] = float(np.median(column))
    return rows


def levels_text(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> str:
    """The levels as a table; ratios are to the level that a session has by default."""
    last = rows[-1]["p50_ms"]
    shown = [
        (r["level"], r["nodes"], output.milliseconds(r["load_ms"]),
         *(f"{output.milliseconds(r['p50_ms'][b])} ({r['p50_ms'][b] / last[b]:.2f})" for b in sizes))
        for r in rows
    ]  # fmt: skip
    return output.table(shown, ("optimiser", "nodes", "load", *(f"batch {b}" for b in sizes)))


def random_inputs(model: Any, batch: int, length: int) -> dict[str, np.ndarray]:
    """Random arrays of the model's shapes: the batch for a free first axis, ``length`` for other free ones.

    Integers are 0 or 1: every table that a model indexes has at least two rows.
    """
    generator = np.random.default_rng(0)
    feeds = {}
    for name, spec in model.inputs.items():
        dims = [d if isinstance(d, int) else (length if i else batch) for i, d in enumerate(spec.shape)]
        floating = spec.type in ("tensor(float)", "tensor(double)", "tensor(float16)")
        array = generator.standard_normal(dims) if floating else generator.integers(0, 2, dims)
        feeds[name] = model.array(name, array.astype(np.float32 if floating else np.int64))
    return feeds

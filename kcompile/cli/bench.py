"""``kcompile bench``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
import numpy as np

from kcompile.cli import output


@click.command("bench", cls=output.Command, short_help="Latency and throughput of an ONNX file.")
@click.argument("file")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), help="Batch sizes (default: 1 and 32).")
@click.option("--length", type=click.IntRange(min=1), default=32, help="Size of other free axes (default 32).")
@click.option("--device", default="cpu", help="cpu, cuda or auto.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads within an operator (default: all cores).")
@click.option("--seconds", type=float, default=1.0, help="Time for each batch size.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    file: str,
    batches: tuple[int, ...],
    length: int,
    device: str,
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> output.Result:
    """Time FILE on random inputs."""
    from kcompile.runtime.bench import measure
    from kcompile.runtime.model import OnnxModel

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
    return output.Result({"file": file, "device": device, "results": rows}, output.table(shown, header), as_json)


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

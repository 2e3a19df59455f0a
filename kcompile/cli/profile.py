"""``kcompile profile``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from kcompile.cli import output
from kcompile.cli.bench import random_inputs
from kcompile.cli.run import read_inputs
from kcompile.errors import printable
from kcompile.onnx.attribution import RUNTIME, Share, attributed, give_names

SHOWN = 30  # rows of a table
CAVEAT = (
    "roofline: the least time that a row's products and its traffic of tensors and weights take at the machine's peak\n"
    "(ONNX Runtime's matrix product and element-wise copy, just measured), as a share of what it took; above 100 %\n"
    "the data came from caches. Measuring costs each node about a microsecond."
)


@click.command("profile", cls=output.Command, short_help="Where a model's time goes: by layer and by operator.")
@click.argument("source", metavar="FILE.onnx|FILE.keras|SCRIPT")
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]FILE.npy", help="Inputs (default: random ones).")
@click.option("--batch", type=click.IntRange(min=1), default=1, help="Batch size of random inputs (default 1).")
@click.option("--length", type=click.IntRange(min=1), default=32, help="Their size along other free axes (default 32).")
@click.option("--threads", type=click.IntRange(min=1), help="Threads within an operator (default: all cores).")
@click.option(
    "--level", type=click.Choice(["off", "basic", "extended", "all"]), default="all", help="ONNX Runtime's optimiser."
)
@click.option("--seconds", type=click.FloatRange(min=0), default=1.0, help="How long to run (default 1).")
@click.option("--depth", type=click.IntRange(min=1), help="Take layers together below this level of their path.")
@click.option("--custom", multiple=True, metavar="FILE", help="A script to run first.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    source: str,
    inputs: tuple[str, ...],
    batch: int,
    length: int,
    threads: int | None,
    level: str,
    seconds: float,
    depth: int | None,
    custom: tuple[str, ...],
    as_json: bool,
) -> output.Result:
    """Run a model under ONNX Runtime's profiler on the CPU, and tell how long each layer and each operator takes.

    A kernel that does the work of several layers counts to the one with most of it; the others are named beside it. A
    Keras file or a script is exported first.
    """
    from kcompile.onnx.files import read
    from kcompile.runtime.model import OnnxModel
    from kcompile.runtime.profile import profile

    with _file(source, custom) as path:
        model = OnnxModel(path, threads=threads, level=level)
        feeds = model.feeds(read_inputs(inputs, model.input_names)) if inputs else random_inputs(model, batch, length)
        found = profile(path, feeds, seconds=seconds, threads=threads, level=level)
        shapes = {name: array.shape for name, array in feeds.items()}
        results = {node.name: node.results for node in found.nodes}
        shares = attributed(read(path, weights=False), found.optimised, shapes, results)
    peak = measured_peak(threads)
    layers = summed(found, shares, peak, lambda node, share: "/".join(share.layer.split("/")[:depth]))
    operators = summed(found, shares, peak, lambda node, share: node.operator)
    data = {
        "file": source, "runs": found.runs, "time_ms": found.time, "outside_ms": found.outside, "peak": asdict(peak),
        "inputs": {n: list(s) for n, s in shapes.items()}, "layers": data_of(layers, found.time),
        "operators": data_of(operators, found.time),
    }  # fmt: skip
    text = [
        f"{output.milliseconds(found.time)} a run, {output.milliseconds(found.outside)} of it outside of nodes; {found.runs} runs on",
        *(f"  {printable(name)} {list(shape)}" for name, shape in shapes.items()),
        f"peak {peak.gflops:.1f} GFLOP/s, {peak.gbytes:.1f} GB/s", "",
        text_of(layers, found.time, "layer"), "", text_of(operators, found.time, "operator"), "", CAVEAT,
    ]  # fmt: skip
    return output.Result(data, "\n".join(text), as_json)


@contextmanager
def _file(source: str, custom: tuple[str, ...]) -> Iterator[str]:
    """The path of an ONNX file whose nodes have names: the source, a copy with names, or what it exports to."""
    from kcompile.onnx.files import read, scratch

    with tempfile.TemporaryDirectory(prefix="kcompile-profile-") as folder:
        path = Path(folder) / "model.onnx"
        if not source.endswith(".onnx"):
            from kcompile.cli.script import load_model
            from kcompile.keras.exporting import export

            export(load_model(source, None, custom).model, path, verify=False, latency=False)
            yield str(path)
        elif give_names(read(source, weights=False)):
            give_names(model := read(source))
            with scratch(model, path) as named:
                yield str(named)
        else:
            yield source


@dataclass(frozen=True)
class Peak:
    """What this machine does at best: floating-point operations and bytes a second, in 1e9."""

    gflops: float
    gbytes: float

    def least(self, flops: int, bytes: int) -> float:
        """Milliseconds that so much takes at least."""
        return max(flops / self.gflops, bytes / self.gbytes) / 1e6


def measured_peak(threads: int | None) -> Peak:
    """From ONNX Runtime's product of two matrices of 768 x 768, and its Relu of 64 MB."""
    import numpy as np

    from kcompile.ir import Graph, Type, input_value
    from kcompile.ir.types import f32
    from kcompile.onnx.model import to_onnx
    from kcompile.operators.activation import Relu
    from kcompile.operators.linear import MatMul
    from kcompile.runtime.bench import measure
    from kcompile.runtime.session import open_session, run_session

    def milliseconds(op: Any, *shapes: tuple[int, ...]) -> float:
        values = [input_value(f"x{i}", Type(f32, shape)) for i, shape in enumerate(shapes)]
        session = open_session(to_onnx(Graph("peak", values, [op(*values)])).SerializeToString(), threads=threads)
        feeds = {f"x{i}": np.ones(shape, np.float32) for i, shape in enumerate(shapes)}
        return measure(lambda: run_session(session, feeds), seconds=0.2, warmup=2).least

    size, count = 768, 1 << 24
    product, copy = milliseconds(MatMul(), (size, size), (size, size)), milliseconds(Relu(), (count,))
    return Peak(2 * size**3 / product / 1e6, 2 * 4 * count / copy / 1e6)


@dataclass
class Row:
    """A layer or an operator: milliseconds and calls a run, and what it did in them.

    ``flops`` and ``least``, the shortest time at the machine's peak, are None where a shape is not known.
    """

    name: str
    time: float = 0.0
    calls: float = 0.0
    flops: int | None = 0
    bytes: int = 0
    least: float | None = 0.0
    kernels: list[str] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)

    def add(self, node: Any, share: Any, peak: Peak) -> None:
        bytes = node.bytes + share.weights
        if share.flops is None or self.flops is None or self.least is None:
            self.flops = self.least = None
        else:
            self.flops, self.least = self.flops + share.flops, self.least + peak.least(share.flops, bytes)
        self.time, self.calls, self.bytes = self.time + node.time, self.calls + node.calls, self.bytes + bytes
        self.kernels = list(dict.fromkeys([*self.kernels, node.operator]))
        self.fused = list(dict.fromkeys([*self.fused, *share.fused]))

    @property
    def roofline(self) -> float | None:
        return None if self.least is None or not self.time else self.least / self.time


UNKNOWN = Share(RUNTIME, (), None, 0)  # of a node that is not in the graph that ONNX Runtime wrote down


def summed(found: Any, shares: dict[str, Any], peak: Peak, name: Callable[[Any, Any], str]) -> list[Row]:
    """The nodes of a profile by ``name(node, share)``, the longest first."""
    rows: dict[str, Row] = {}
    for node in found.nodes:
        share = shares.get(node.name, UNKNOWN)
        key = name(node, share)
        rows.setdefault(key, Row(key)).add(node, share, peak)
    return sorted(rows.values(), key=lambda r: -r.time)


def data_of(rows: list[Row], total: float) -> list[dict[str, Any]]:
    """Rows for ``--json``."""
    return [
        {"name": r.name, "time_ms": r.time, "share": r.time / total, "calls": r.calls, "flops": r.flops,
         "bytes": r.bytes, "roofline": r.roofline, "kernels": r.kernels, "fused": r.fused}
        for r in rows
    ]  # fmt: skip


def text_of(rows: list[Row], total: float, what: str) -> str:
    """Rows for people."""
    table = [
        (
            printable(r.name), output.milliseconds(r.time), f"{r.time / total:.1%}", f"{r.calls:.0f}",
            "?" if r.flops is None else output.number(r.flops), "?" if r.roofline is None else f"{r.roofline:.0%}",
            printable(_list(r.kernels) if what == "layer" else "")
            + (printable(f" with {_list(r.fused)}") if what == "layer" and r.fused else ""),
        )
        for r in rows[:SHOWN]
    ]  # fmt: skip
    last = "kernels" if what == "layer" else ""
    text = output.table(table, (what, "time", "share", "calls", "FLOPs", "roofline", last))
    return text + (f"\nand {len(rows) - SHOWN} more; --json has all" if len(rows) > SHOWN else "")


def _list(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")

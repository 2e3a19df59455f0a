"""`export`: a model as a small, verified, fast ONNX file. Brings the rooms together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kcompile import __version__
from kcompile.errors import CheckError, UsageError
from kcompile.files.atomic import own_path
from kcompile.ir import Graph
from kcompile.keras import verification
from kcompile.keras.blame import first_difference
from kcompile.keras.tracing import trace
from kcompile.passes.account import account
from kcompile.passes.pipeline import DEPLOY, Result
from kcompile.passes.pipeline import optimize as run_pipeline


@dataclass
class Report:
    """What an export did. Times in seconds, sizes in bytes, latency in milliseconds; ``account()`` what the rules did."""

    path: str
    opset: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    operators_traced: int = 0
    operators_optimised: int = 0
    nodes: int = 0
    parameters: int = 0
    size: int = 0
    files: list[str] = field(default_factory=list)
    steps: list[tuple[str, float]] = field(default_factory=list)
    verified: verification.Verified | None = None
    latency: dict[str, float] | None = None
    account: Any = field(default=None, repr=False)  # a function without arguments

    @property
    def error(self) -> float | None:
        """The largest difference from the reference, as a share of the output's range; None if not verified."""
        return None if self.verified is None else self.verified.error

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rules' account, as JSON takes it."""
        found = asdict(replace(self, account=None))
        del found["account"]
        return {**found, "steps": [{"name": n, "seconds": round(s, 4)} for n, s in self.steps]}


def optimize(graph: Graph, *, listener: Any = None) -> Graph:
    """The graph through the DEPLOY pipeline, constants folded by ONNX Runtime with its optimiser off."""
    return optimized(graph, listener).graph


def optimized(graph: Graph, listener: Any = None) -> Result:
    """`optimize` with the account of what happened."""
    return run_pipeline(graph.inference(), DEPLOY, evaluate=evaluate_onnx, listener=listener)


def evaluate_onnx(graph: Graph) -> list[np.ndarray]:
    """Values of a graph without inputs, computed by our own ONNX emission."""
    from kcompile.onnx.model import to_onnx
    from kcompile.runtime.session import run

    return run(to_onnx(graph).SerializeToString(), {})


def export(
    model: Any,
    path: str | Path,
    *,
    inputs: Any = None,
    opset: int | None = None,
    target: str = "portable",
    batch: int | None = None,
    verify: bool = True,
    latency: bool = True,
    metadata: dict[str, str] | None = None,
    external_data_above: int | None = None,
    on_step: Callable[[str, float], None] | None = None,
) -> Report:
    """Write ``model`` (a Keras model, a layer, or a Graph) as an ONNX file.

    ``inputs`` and ``batch`` as in `trace`; ``opset`` 17 or later; ``target`` "portable",
    "onnxruntime" or "cuda" (`kcompile.onnx.targets`). The file is compared with the
    model run in torch (in ONNX Runtime without its optimiser where torch is not installed) before
    it appears under its name. Raises CheckError where it computes something else, naming the place;
    UnsupportedError for what ONNX can't express; UsageError for bad arguments.
    """
    from kcompile.onnx import files
    from kcompile.onnx.model import check_opset, to_onnx
    from kcompile.onnx.targets import target_named

    path = own_path(check_path(path))
    chosen = target_named(target)
    opset = check_opset(opset, chosen)
    clock = Clock(on_step)
    graph = clock.time("trace", lambda: _graph(model, inputs, batch))
    result = clock.time("optimise", lambda: optimized(graph))
    properties = {**_metadata(graph), **_texts(metadata or {})}
    proto = clock.time("emit", lambda: to_onnx(result.graph, opset, properties, chosen))
    report = Report(
        str(path),
        opset,
        described(graph, graph.input_names, graph.inputs),
        described(graph, graph.output_names, graph.outputs),
        len(graph.operators()),
        len(result.graph.operators()),
        len(proto.graph.node),
        sum(int(np.prod(a.shape)) for a in graph.weights.values()),
        steps=clock.steps,
        account=partial(account, graph.inference(), result),
    )
    with files.staged(proto, path, external_data_above) as staged:
        clock.time("check", lambda: files.check(staged.path))
        if verify or latency:
            run = verification.run_onnx(staged.path, "all")
        if verify:
            report.verified = clock.time("verify", lambda: _verify(graph, result, run, opset))
        if latency:
            report.latency = clock.time("measure", lambda: _latency(graph, run))
    report.files = [str(p) for p in staged.final]
    report.size = sum(p.stat().st_size for p in staged.final)
    return report


class Clock:
    """Times the steps of an export."""

    def __init__(self, listener: Callable[[str, float], None] | None):
        self.steps: list[tuple[str, float]] = []
        self.listener = listener

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        self.steps.append((name, seconds))
        if self.listener is not None:
            self.listener(name, seconds)
        return result


def check_path(path: str | Path) -> Path:
    """The path of a file to write; UsageError where it can't be one."""
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: an export's name ends in .onnx")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    return path


def _graph(model: Any, inputs: Any, batch: int | None) -> Graph:
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise UsageError(f"batch must be a positive integer or None, got {batch!r}")
    if isinstance(model, Graph):
        if inputs is not None or batch is not None:
            raise UsageError("a Graph has its input types; inputs= and batch= are for models")
        return model
    if not hasattr(model, "call"):
        raise UsageError(f"{type(model).__name__} is not a kcompile Keras model, layer or Graph")
    return trace(model, inputs, batch=batch)


def described(graph: Graph, names: Any, values: Any) -> list[dict[str, Any]]:
    from kcompile.onnx.model import dims_of

    return [
        {"name": n, "dtype": v.type.dtype.keras, "shape": dims_of(v.type)} for n, v in zip(names, values, strict=True)
    ]


def _texts(metadata: dict[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"metadata holds text by text, got {key!r}: {value!r}")
    return metadata


def _metadata(graph: Graph) -> dict[str, str]:
    return {"kcompile_version": __version__, "model": graph.name}


def reference_of(graph: Graph) -> tuple[verification.Run, str]:
    """(the unoptimised graph as a function, where it runs): torch, or ONNX Runtime with its optimiser off."""
    try:
        import torch  # noqa: F401
    except ImportError:
        from kcompile.onnx.model import to_onnx

        return verification.run_onnx(to_onnx(graph).SerializeToString()), "the unoptimised graph in ONNX Runtime"
    return verification.run_torch(graph), "torch"


def _verify(graph: Graph, result: Result, run: verification.Run, opset: int) -> verification.Verified:
    reference, name = reference_of(graph)
    found = verification.compare(graph, reference, run, name)
    if isinstance(found, verification.Mismatch):
        place = first_difference(graph, result, found, reference, opset)
        raise CheckError(f"the file does not compute what the model computes: {found}; {place}; nothing was written")
    return found


def _latency(graph: Graph, run: verification.Run) -> dict[str, float] | None:
    """Times at batch 1; None for a model that fails on random inputs."""
    from kcompile.runtime.bench import measure

    try:
        known = verification.plan(graph, run)
        feeds = known.feeds(graph, {**known.sizes[0], "N": 1}, np.random.default_rng(0), 1.0)
        found = measure(lambda: run(feeds), seconds=0.3)
    except (CheckError, UsageError):
        return None
    return {"p50": found.p50, "p99": found.p99, "batch": 1}

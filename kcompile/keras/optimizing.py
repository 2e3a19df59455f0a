"""`optimize_file`: any ONNX file through the same passes, checks and measurements as an exported model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import CheckError, KcompileError, UnsupportedError, UsageError, printable
from kcompile.ir import Graph
from kcompile.ir.types import OpaqueType
from kcompile.keras import verification
from kcompile.keras.exporting import Clock, check_path, described, optimized
from kcompile.operators.opaque import Opaque
from kcompile.passes.account import account

# Two runs that round differently may land on neighbouring steps of a quantised tensor.
QUANTISED_TOLERANCE = 3e-2
# Deep networks of small outputs round differently at every change; four times what ONNX Runtime's own optimiser
# does to the original is allowed, up to what a forgotten epsilon makes.
NOISE, MOST_NOISE = 4, 1e-3
SLOWER, FASTER = 1.03, 0.97  # ratios of time beyond which a difference is believed
SLACK = 256  # bytes: what names and versions may add to a file without making it larger


@dataclass
class Report:
    """What became of a file. Pairs are (before, after); sizes in bytes, latency in milliseconds.

    ``kept`` is empty where the result was written, else the reason why the original was.
    ``read`` and ``whole`` count the nodes that became operators of the IR, and those that were
    carried through as they were, by operator; ``reasons`` says why. ``account()`` tells what the rules did.
    """

    path: str
    opset: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    nodes: tuple[int, int]
    size: tuple[int, int] = (0, 0)
    kept: str = ""
    latency: dict[str, float] | None = None
    verified: verification.Verified | None = None
    read: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    steps: list[tuple[str, float]] = field(default_factory=list)
    account: Any = field(default=None, repr=False)  # a function without arguments

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rules' account, as JSON takes it."""
        found = asdict(replace(self, account=None))
        del found["account"]
        return {**found, "steps": [{"name": n, "seconds": round(s, 4)} for n, s in self.steps]}


def optimize_file(
    source: Any,
    path: str | Path,
    *,
    opset: int | None = None,
    verify: bool = True,
    bench: bool = True,
    force: bool = False,
    external_data_above: int | None = None,
    on_step: Callable[[str, float], None] | None = None,
) -> Report:
    """Write an ONNX model (a path or an ``onnx.ModelProto``), optimised, to ``path``; its interface stays the same.

    The new file is compared with the old one, both in ONNX Runtime, and timed against it. Where it
    is not better (more nodes, larger, or slower beyond noise) or can't be proven, the original is written instead,
    unless ``force``; the report says so. ``opset`` is that of the file, or 17 for an older one,
    unless given. Raises CheckError where the new file computes something else (nothing is
    written), FileFormatError for a file that is not well formed, UnsupportedError for an opset
    that has not got what the file needs, UsageError for bad arguments.
    """
    from kcompile.onnx import files

    path = check_path(path)
    work = _Work(source, path, opset, Clock(on_step), external_data_above)
    made = work.make()
    with files.staged(work.original if made is None else made, path, external_data_above) as staged:
        if made is not None:
            work.report.size = (work.size, staged.size())
            work.check(staged.path, force)
            if not work.report.kept:
                work.judge(staged.path, verify, bench)
            if work.report.kept and not force:
                staged.restage(work.original, external_data_above)
        work.report.kept = "" if force and made is not None else work.report.kept
    work.report.files = [str(p) for p in staged.final]
    return work.report


class _Work:
    """One file on its way."""

    def __init__(self, source: Any, path: Path, opset: int | None, clock: Clock, limit: int | None):
        from kcompile.onnx import files
        from kcompile.onnx.model import LEAST_OPSET, check_opset
        from kcompile.onnx.reader import read_model
        from kcompile.onnx.signature import node_count, standard_opset

        self.clock, self.given = clock, opset
        self.model = source if hasattr(source, "SerializeToString") else files.read(source)
        self.source = None if self.model is source else Path(source)
        self.external = self.source is not None and files.has_external_data(self.source)
        # Bytes as they are; where weights lie beside the file, the whole model.
        self.original = self.model if self.external else self._bytes()
        self.size = self.model.ByteSize() if self.external else len(self.original)
        self.opset = check_opset(max(standard_opset(self.model), LEAST_OPSET) if opset is None else opset)
        self.read = clock.time("read", lambda: read_model(self.model))
        graph, found = self.read.graph, self.read.account
        self.report = Report(
            str(path),
            self.opset,
            described(graph, graph.input_names, graph.inputs),
            described(graph, graph.output_names, graph.outputs),
            (node_count(self.model),) * 2,
            (self.size, self.size),
            read=dict(found.read),
            whole=dict(found.whole),
            reasons={k: list(v) for k, v in found.reasons.items()},
            steps=clock.steps,
        )

    def _bytes(self) -> bytes:
        if self.source is not None:
            return self.source.read_bytes()
        return self.model.SerializeToString(deterministic=True)

    def make(self) -> Any:
        """The new model; None where the file has to stay as it is, which the report then explains."""
        from kcompile.onnx.model import to_onnx
        from kcompile.onnx.signature import keep_signature, node_count

        result = self.clock.time("optimise", lambda: optimized(self.read.graph))
        self.report.account = partial(account, self.read.graph, result)
        try:
            made = self.clock.time("emit", lambda: to_onnx(result.graph, self.opset))
        except UnsupportedError as error:
            if self.given is not None:
                raise
            self.report.kept = f"it can't be written: {error}"
            return None
        made = keep_signature(made, self.model, self.read.defaults)
        self.report.nodes = self.report.nodes[0], node_count(made)
        return made

    def check(self, path: Path, force: bool) -> None:
        """onnx's checker; what it finds in the original too is not held against the new file."""
        from kcompile.onnx import files

        try:
            self.clock.time("check", lambda: files.check(path))
        except CheckError as error:
            if not self._passes_checker(path):
                return
            if force:
                raise
            self.report.kept = str(error)

    def _passes_checker(self, path: Path) -> bool:
        from kcompile.onnx import files

        with files.scratch(self.original, path) as original:
            try:
                files.check(original)
            except CheckError:
                return False
        return True

    def judge(self, path: Path, verify: bool, bench: bool) -> None:
        """Compare and time the new file; the report's ``kept`` says why it is no better."""
        from kcompile.onnx import files

        with files.scratch(self.original, path) as original:
            if (verify or bench) and (problem := self._refused(original, path)):
                self.report.kept = problem
            elif verify:
                try:
                    self.clock.time("verify", lambda: self._verify(original, path))
                except UsageError as error:  # the original fails on one of the edge cases
                    self.report.kept = f"nothing can be compared: {error}"
            if bench and not self.report.kept:
                self.clock.time("measure", lambda: self._measure(original, path))
        self.report.kept = self.report.kept or self._verdict()

    def _refused(self, original: Path, made: Path) -> str:
        """Why ONNX Runtime takes the original and not the new file; empty where it does. Raises for the original."""
        try:
            self._run(original, "off")
        except KcompileError as error:
            raise type(error)(str(error).replace(str(original), str(self.source or "the model"))) from error
        try:
            self._run(made, "off")
        except KcompileError as error:
            return f"ONNX Runtime refuses the result: {str(error).replace(str(made), 'it')}"
        return ""

    def _run(self, path: Path, level: str) -> verification.Run:
        run = verification.run_onnx(path, level)
        defaults = _defaults(self.model, self.read.defaults)
        divisors = _read_whole(self.read.graph)

        def flat(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            # ONNX Runtime dies of a division by an integer 0, which a step or a divisor may be.
            safe = {k: np.maximum(v, 1) if k in divisors else v for k, v in feeds.items()}
            return [_flat(r) for r in run({**safe, **defaults})]

        return flat

    def _verify(self, original: Path, made: Path) -> None:
        from kcompile.onnx.signature import is_quantised

        graph = self.read.graph
        strange = [v.op.label for v in graph.inputs if isinstance(v.type, OpaqueType)]  # type: ignore[attr-defined]
        if strange:
            self.report.kept = (
                f"the input {printable(strange[0])!r} is of a kind that no inputs can be made of to compare"
            )
            return
        rounded = is_quantised(self.model)
        reference = self._run(original, "off")
        try:
            trials = list(verification.trials(graph, reference))
        except CheckError as error:
            self.report.kept = f"nothing can be compared: {error}"
            return
        found = verification.compare(
            graph,
            reference,
            # ONNX Runtime's own optimiser moves the roundings of a quantised model about.
            self._run(made, "off" if rounded else "all"),
            "the original in ONNX Runtime",
            QUANTISED_TOLERANCE if rounded else None,
            _noise(trials, self._run(original, "all")),
            trials,
        )
        if isinstance(found, verification.Mismatch):
            raise CheckError(f"the new file does not compute what the old one does: {found}; nothing was written")
        self.report.verified = found

    def _measure(self, original: Path, made: Path) -> None:
        from kcompile.runtime.bench import compare

        before, after = (self._run(p, "all") for p in (original, made))
        try:
            known = verification.plan(self.read.graph, before)
            feeds = known.feeds(self.read.graph, known.sizes[0], np.random.default_rng(0), 1.0)
            found = compare(lambda: before(feeds), lambda: after(feeds))
        except KcompileError:
            return  # it fails on random inputs; with verification on, that was an error already
        self.report.latency = {
            "before": found.first, "after": found.second, "ratio": found.ratio, "low": found.low, "high": found.high,
        }  # fmt: skip

    def _verdict(self) -> str:
        """Why the original is to be kept; empty where the new file is better."""
        (nodes, new_nodes), (size, new_size), time = self.report.nodes, self.report.size, self.report.latency
        if time is not None and time["ratio"] > SLOWER and time["low"] > 1:
            return f"the result is slower: {time['ratio']:.2f} of the original's time"
        if time is not None and time["ratio"] < FASTER and time["high"] < 1:
            return ""
        if new_nodes > nodes or new_size > size + SLACK:
            return f"the result is larger: {new_nodes} nodes instead of {nodes}, {new_size} bytes instead of {size}"
        if new_nodes == nodes and new_size >= size:
            return f"there was nothing to gain: {nodes} nodes, {size} bytes"
        return ""


def _noise(trials: list[verification.Trial], on: verification.Run) -> float:
    """What the original's own roundings may make of its results: a multiple of what ONNX Runtime's optimiser changes."""
    found = [0.0]
    for trial in trials:
        for a, b in zip(trial.wanted, on(trial.feeds), strict=True):
            gap = verification.difference(a, b)
            found.append(gap if isinstance(gap, float) and a.dtype.kind == "f" else 0.0)
    return min(NOISE * max(found), MOST_NOISE)


def _defaults(model: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    from kcompile.onnx.files import arrays

    return arrays(model, names)


def _read_whole(graph: Graph) -> set[str]:
    """Integer inputs that a node reads of which the IR knows nothing."""
    read = {v for n in graph.nodes if isinstance(n.op, Opaque) for v in n.inputs if v is not None}
    return {v.op.label for v in read & set(graph.inputs) if v.type.dtype.is_integer}  # type: ignore[attr-defined]


def _flat(result: Any) -> np.ndarray:
    """A result as one array: sequences and maps one item after the other, text as text."""
    if isinstance(result, np.ndarray):
        return result.astype(np.str_) if result.dtype.kind in "OSU" else result
    if isinstance(result, dict):
        result = [*result, *result.values()]
    if isinstance(result, (list, tuple)):
        parts = [_flat(r).reshape(-1) for r in result]
        if any(p.dtype.kind == "U" for p in parts):
            parts = [p.astype(np.str_) for p in parts]
        return np.concatenate(parts) if parts else np.zeros(0)
    return np.asarray("" if result is None else result)

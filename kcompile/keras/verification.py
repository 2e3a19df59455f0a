"""Proves that an ONNX file computes what the model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kcompile.errors import CheckError
from kcompile.ir import Graph, Type, Value
from kcompile.ir.dims import Dim, evaluate
from kcompile.operators.indexing import Embedding, Gather, OneHot
from kcompile.operators.logic import Cast
from kcompile.operators.random import Dropout, RandomInteger, RandomNormal, RandomUniform, TruncatedNormal
from kcompile.operators.shape import Concat, Expand, ExpandDims, Reshape, Slice, Squeeze, Transpose

# Largest difference allowed, as a share of the output's largest magnitude. float32: two kernels that
# sum in another order differ by 1e-6 to 1e-5 a layer, a forgotten epsilon or a wrong pad by 1e-3 and more.
TOLERANCE = {"f64": 1e-9, "f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}
# An output that hardly changes with the input proves nothing: below this share of its magnitude.
VACUOUS = 1e-3
SIZES = (2, 5)  # batch sizes
LENGTHS = ((7, 12), (33, 40), (64, 96))  # pairs of other free sizes, tried in turn until the model takes them
SCALES = (1.0, 0.1, 10.0)
_PASSING = (Cast, Reshape, ExpandDims, Squeeze, Slice, Transpose, Expand, Concat)
RANDOM = (RandomUniform, RandomNormal, TruncatedNormal, RandomInteger, Dropout)

Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Verified:
    """What was compared: the largest relative error, how many runs, against what; ``weak`` explains a poor proof."""

    error: float
    runs: int
    reference: str
    weak: str = ""


@dataclass(frozen=True)
class Mismatch:
    """An output that differs, and the inputs that show it."""

    output: str
    error: float
    feeds: dict[str, np.ndarray]
    reason: str = ""

    def __str__(self) -> str:
        return f"output {self.output!r} differs by {self.error:.1e} of its range{self.reason}"


def compare(graph: Graph, reference: Run, candidate: Run, name: str, tolerance: float | None = None) -> Verified | Mismatch:
    """Run both on random and edge inputs at two batch sizes and two lengths.

    ``graph`` gives input types and output names. Stops at the first output that differs by more
    than the tolerance of its dtype.
    """
    if any(isinstance(n.op, RANDOM) for n in graph.nodes):
        return Verified(0.0, 0, name, "the model draws random numbers, so no two runs agree")
    worst, runs, varied = 0.0, 0, False
    for feeds, edge in input_sets(graph, reference):
        wanted, got = reference(feeds), candidate(feeds)
        runs += 1
        for value, label, a, b in zip(graph.outputs, graph.output_names, wanted, got, strict=True):
            found = difference(np.asarray(a), np.asarray(b))
            limit = tolerance if tolerance is not None else TOLERANCE.get(value.type.dtype.name, 0.0)
            if isinstance(found, str):
                return Mismatch(label, float("inf"), feeds, f": {found}")
            if found > limit:
                return Mismatch(label, found, feeds)
            worst = max(worst, found)
            varied |= not edge and varies(np.asarray(a))
    weak = "" if varied else "the outputs hardly change with the inputs, so equal numbers prove little"
    return Verified(worst, runs, name, weak)


def difference(a: np.ndarray, b: np.ndarray) -> float | str:
    """Largest difference as a share of the largest finite magnitude of ``a``; text for another shape or dtype."""
    if a.shape != b.shape:
        return f"shape {list(b.shape)} instead of {list(a.shape)}"
    if a.dtype != b.dtype:
        return f"dtype {b.dtype} instead of {a.dtype}"
    if a.size == 0:
        return 0.0
    if a.dtype.kind in "biu":
        return float(np.mean(a != b))
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return "NaN in other places"
    same = (x == y) | np.isnan(x)
    if np.isinf(x[~same]).any() or np.isinf(y[~same]).any():
        return "infinity in other places"
    scale = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    gap = float(np.abs(x - y)[~same].max(initial=0.0))
    return gap if scale == 0 else gap / scale


def varies(a: np.ndarray) -> bool:
    """Whether rows of an output differ from each other enough to prove anything."""
    if a.dtype.kind in "biu":
        return a.size > 1 and len(np.unique(a)) > 1
    x = a.astype(np.float64)
    spread = float(np.std(x, axis=0).max(initial=0.0)) if a.ndim and len(a) > 1 else float(np.std(x))
    return spread > VACUOUS * float(np.abs(x).max(initial=0.0))


def input_sets(graph: Graph, reference: Run) -> Iterator[tuple[dict[str, np.ndarray], bool]]:
    """(inputs, whether they are an edge case): random ones at two sizes and three scales, then zeros and extremes."""
    generator = np.random.default_rng(0)
    ranges = index_ranges(graph)
    sizes = list(_sizes(graph, reference, ranges))
    for scale in SCALES:
        for chosen in sizes:
            yield random_feeds(graph, chosen, ranges, generator, scale), False
    zeros = {v.op.label: np.zeros(_shape(v.type, sizes[0]), v.type.dtype.numpy) for v in graph.inputs}  # type: ignore[attr-defined]
    yield zeros, True
    one = {**sizes[0], "N": 1}
    yield random_feeds(graph, one, ranges, generator, 1.0), True


def _sizes(graph: Graph, reference: Run, ranges: dict[str, int]) -> Iterator[dict[str, int]]:
    """Two choices of all free sizes that the model accepts."""
    symbols = sorted(graph.symbols() - {"N"})
    if not symbols:
        yield from ({"N": n} for n in SIZES)
        return
    generator = np.random.default_rng(1)
    problem: Exception | None = None
    for pair in LENGTHS:
        chosen = [{"N": n, **{s: length + i for i, s in enumerate(symbols)}} for n, length in zip(SIZES, pair, strict=True)]
        try:
            for sizes in chosen:
                reference(random_feeds(graph, sizes, ranges, generator, 1.0))
        except Exception as error:  # torch and ONNX Runtime raise what they like for a size that does not fit
            problem = error
            continue
        yield from chosen
        return
    tried = ", ".join(str(n) for pair in LENGTHS for n in pair)
    raise CheckError(f"the model runs at none of the sizes tried for {symbols} ({tried}): {problem}") from problem


def random_feeds(
    graph: Graph, sizes: dict[str, int], ranges: dict[str, int], generator: np.random.Generator, scale: float
) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, integers below what the model indexes with them."""
    feeds = {}
    for value in graph.inputs:
        label, shape, kind = value.op.label, _shape(value.type, sizes), value.type.dtype  # type: ignore[attr-defined]
        if label in ranges:
            array: np.ndarray = generator.integers(0, max(ranges[label], 1), shape)
        elif kind.is_bool:
            array = generator.integers(0, 2, shape)
        elif kind.is_float:
            array = generator.standard_normal(shape) * scale
        else:
            array = generator.integers(0, 10, shape)
        feeds[label] = array.astype(kind.numpy)
    return feeds


def _shape(type: Type, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, sizes) if isinstance(d, Dim) else d for d in type.shape)


def index_ranges(graph: Graph) -> dict[str, int]:
    """For inputs that index something, by name: the size of the smallest thing that they index."""
    found: dict[str, int] = {}
    reaches: dict[Value, set[str]] = {v: {v.op.label} for v in graph.inputs}  # type: ignore[attr-defined]
    for node in graph.nodes:
        sources = [reaches.get(v, set()) if v is not None else set() for v in node.inputs]
        size = None
        if isinstance(node.op, (Embedding, Gather)) and len(sources) > 1:
            axis = 0 if isinstance(node.op, Embedding) else node.op.axis
            table = node.inputs[0]
            size, labels = (table.type.shape[axis] if table is not None else None), sources[1]
        elif isinstance(node.op, OneHot):
            size, labels = node.op.depth, sources[0]
        elif isinstance(node.op, _PASSING):
            for result in node.results:
                reaches[result] = set().union(*sources)
        if isinstance(size, int):
            for label in labels:
                found[label] = min(size, found.get(label, size))
    return found


def run_torch(graph: Graph) -> Run:
    """The graph as it stands in torch."""
    import kcompile.engine.inference as inference

    return inference.runner(graph)


def run_onnx(model: bytes | str | Path, level: str = "off") -> Run:
    """An ONNX model on the CPU."""
    from kcompile.runtime.session import open_session

    session = open_session(model, level=level)
    return lambda feeds: session.run(None, feeds)

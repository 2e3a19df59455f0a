"""Proves that an ONNX file computes what the model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kcompile.errors import CheckError, KcompileError, printable
from kcompile.ir import Constant, Graph, Input, Type, Value, Weight
from kcompile.ir import dtype as ir_dtype
from kcompile.ir.dims import Dim, evaluate
from kcompile.ir.op import sub_graphs
from kcompile.operators.indexing import Embedding, Gather, OneHot
from kcompile.operators.logic import Cast
from kcompile.operators.opaque import Opaque
from kcompile.operators.random import RANDOM
from kcompile.operators.shape import Concat, Expand, ExpandDims, Reshape, Slice, Squeeze, Transpose
from kcompile.passes.cost import Sizes, graph_flops

# Largest difference allowed, as a share of the output's largest magnitude. float32: two kernels that
# sum in another order differ by 1e-6 to 1e-5 a layer, a forgotten epsilon or a wrong pad by 1e-3 and more.
TOLERANCE = {"f64": 1e-9, "f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}
# Inputs are moved by this share to see how a model magnifies roundings; sums over many layers round more often.
LAST_DIGITS, MAGNIFIED = 1e-6, 3
# An output that hardly changes with the input proves nothing: below this share of its magnitude.
VACUOUS = 1e-3
SIZES = (2, 5)  # batch sizes
LENGTHS = ((7, 12), (33, 40), (64, 96), (3, 5))  # pairs of other free sizes, tried in turn until the model takes them
SCALES = (0.1, 10.0)  # beside 1
# A model of more operations a row than this runs at smaller batches, and at other scales with one row alone.
HEAVY, HEAVY_SIZES = 10**9, (1, 2)
BOUNDS = (10, 2)  # integers that nothing is known of are below the first, or where the model fails the second
_PASSING = (Cast, Reshape, ExpandDims, Squeeze, Slice, Transpose, Expand, Concat)
_EXACT = "biuU"  # kinds of dtype whose numbers, or texts, are equal or not

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


def compare(
    graph: Graph,
    reference: Run,
    candidate: Run,
    name: str,
    tolerance: float | None = None,
    noise: float = 0.0,
    known: Iterable[Trial] | None = None,
) -> Verified | Mismatch:
    """Run both on random and edge inputs at two batch sizes and two lengths: `trials`, or those that are ``known``.

    ``graph`` gives input types and output names. Stops at the first output that differs by more
    than the tolerance of the coarsest float dtype that it was computed in. A model that draws random numbers is compared in shapes and
    dtypes only. Raises CheckError where the reference itself runs on none of the inputs.
    """
    random = draws_random(graph)
    coarsest = _coarsest(graph)
    worst, runs = 0.0, 0
    constant, last = set(graph.output_names), dict[tuple[str, tuple[int, ...]], np.ndarray]()
    for trial in trials(graph, reference) if known is None else known:
        feeds = trial.feeds
        try:
            got = [np.asarray(a) for a in candidate(feeds)]
        except KcompileError as error:
            return Mismatch(graph.output_names[0], float("inf"), feeds, f": {error}")
        runs += 1
        for label, a, b in zip(graph.output_names, trial.wanted, got, strict=True):
            if random:
                if text := unlike(a, b):
                    return Mismatch(label, float("inf"), feeds, f": {text}")
                continue
            found = difference(a, b)
            if isinstance(found, str):
                return Mismatch(label, float("inf"), feeds, f": {found}")
            limit = max(allowed(a, coarsest) if tolerance is None else tolerance, noise)
            if found > limit and found > _rounding(graph, reference, feeds, label, limit):
                return Mismatch(label, found, feeds)
            worst = max(worst, found)
            if not trial.edge and varies(a, last.get((label, a.shape))):
                constant.discard(label)
            last[label, a.shape] = a
    if random:
        return Verified(0.0, runs, name, "the model draws random numbers, so only shapes and dtypes were compared")
    return Verified(worst, runs, name, _weak(graph, constant))


def _rounding(graph: Graph, reference: Run, feeds: dict[str, np.ndarray], label: str, limit: float) -> float:
    """What an output may differ by where the model itself magnifies roundings: ten times the limit at most.

    A deep model may answer a change of its inputs in their last digits with more than the
    tolerance; then so does any other order of its sums. Nothing is granted to inputs that are
    integers, which have no last digits.
    """
    generator = np.random.default_rng(2)
    moved = {
        k: (a * (1 + LAST_DIGITS * generator.standard_normal(a.shape))).astype(a.dtype) if a.dtype.kind == "f" else a
        for k, a in feeds.items()
    }
    place = graph.output_names.index(label)
    found = difference(np.asarray(reference(feeds)[place]), np.asarray(reference(moved)[place]))
    return 0.0 if isinstance(found, str) else min(MAGNIFIED * found, 10 * limit)


def allowed(a: np.ndarray, coarsest: float = 0.0) -> float:
    """The largest difference allowed of an output: its dtype's tolerance, or the coarsest that it was computed with."""
    return 0.0 if a.dtype.kind in _EXACT else max(coarsest, TOLERANCE.get(ir_dtype(a.dtype).name, 0.0))


def _coarsest(graph: Graph) -> float:
    """The tolerance of the shortest float dtype that the graph computes in: mixed precision ends in float32."""
    given = (Constant, Input, Weight, *(op for op in _PASSING if op is not Cast))
    computed = (n.types for n in graph.nodes if not isinstance(n.op, given))
    return max((TOLERANCE.get(t.dtype.name, 0.0) for types in computed for t in types), default=0.0)


def _weak(graph: Graph, constant: set[str]) -> str:
    if not constant:
        return ""
    labels = ", ".join(repr(printable(n)) for n in graph.output_names if n in constant)
    return f"the output {labels} hardly changes with the inputs, so equal numbers prove little"


def draws_random(graph: Graph) -> bool:
    """Whether an operator, or one in a region, draws random numbers."""
    return any(
        isinstance(n.op, RANDOM)
        or (isinstance(n.op, Opaque) and n.op.random)
        or any(map(draws_random, sub_graphs(n.op)))
        for n in graph.nodes
    )


def unlike(a: np.ndarray, b: np.ndarray) -> str:
    """How ``b`` differs from ``a`` in shape or dtype; empty where it does not."""
    if a.shape != b.shape:
        return f"shape {list(b.shape)} instead of {list(a.shape)}"
    return "" if a.dtype == b.dtype else f"dtype {b.dtype} instead of {a.dtype}"


def difference(a: np.ndarray, b: np.ndarray) -> float | str:
    """Largest difference as a share of the largest finite magnitude of ``a``; text where numbers can't say it.

    For integers, booleans and text it is the share of elements that differ.
    """
    text = a.dtype.kind == b.dtype.kind == "U"
    if problem := unlike(a, b.astype(a.dtype) if text else b):
        return problem
    if a.size == 0:
        return 0.0
    if a.dtype.kind in _EXACT:
        return float(np.mean(a != b))
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return "NaN in other places"
    same = (x == y) | np.isnan(x)
    if np.isinf(x[~same]).any() or np.isinf(y[~same]).any():
        return "infinity in other places"
    scale = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    gap = float(np.abs(x[~same] - y[~same]).max(initial=0.0))
    return gap if scale == 0 else gap / scale


def varies(a: np.ndarray, before: np.ndarray | None = None) -> bool:
    """Whether rows of an output differ from each other (a single row: from ``before``) enough to prove anything."""
    if a.size == 0:
        return False
    if a.ndim and len(a) > 1:
        rows = a
    elif before is not None:
        rows = np.stack([a, before])
    else:
        return False
    if rows.dtype.kind in _EXACT:
        return bool((rows != rows[:1]).any())
    x = rows.astype(np.float64)
    x = np.where(np.isfinite(x), x, 0)
    return float(np.std(x, axis=0).max(initial=0.0)) > VACUOUS * float(np.abs(x).max(initial=0.0))


@dataclass(frozen=True)
class Trial:
    """Inputs, what the reference makes of them, and whether they are an edge case."""

    feeds: dict[str, np.ndarray]
    wanted: list[np.ndarray]
    edge: bool = False


@dataclass(frozen=True)
class Plan:
    """What a model runs on: two choices of its free sizes, and a bound for integers that say nothing else.

    ``tried`` is what it ran on to find out: normal floats at both sizes.
    """

    sizes: tuple[dict[str, int], ...]
    bound: int
    ranges: dict[str, int]
    tried: tuple[Trial, ...] = ()

    def feeds(
        self, graph: Graph, sizes: dict[str, int], generator: np.random.Generator, scale: float
    ) -> dict[str, np.ndarray]:
        """Random inputs: normal floats, integers below what the model indexes with them."""
        return random_feeds(graph, sizes, self.ranges, generator, scale, self.bound)


def plan(graph: Graph, run: Run) -> Plan:
    """The first sizes and integers of those known to try that ``run`` takes; raises CheckError where it takes none."""
    symbols = sorted(graph.symbols() - {"N"})
    ranges = index_ranges(graph)
    problem: Exception | None = None
    for bound in BOUNDS:
        for pair in LENGTHS if symbols else LENGTHS[:1]:
            found = Plan(_two_choices(graph, symbols, pair), bound, ranges)
            generator = np.random.default_rng(1)
            try:
                tried = [trial(run, found.feeds(graph, chosen, generator, 1.0)) for chosen in found.sizes]
            except Exception as error:  # torch and ONNX Runtime raise what they like for what does not fit
                problem = error
                continue
            return replace(found, tried=tuple(tried))
    where = f" at the sizes {', '.join(str(n) for pair in LENGTHS for n in pair)} of {symbols}" if symbols else ""
    text = printable(" ".join(str(problem).split()))
    raise CheckError(
        f"the model itself fails on random inputs{where}: {text}; it can be exported unverified"
    ) from problem


def _heavy(graph: Graph) -> bool:
    return graph_flops(graph, Sizes(graph)) > HEAVY


def _two_choices(graph: Graph, symbols: list[str], pair: tuple[int, int]) -> tuple[dict[str, int], ...]:
    """All free sizes, twice: each symbol another size, or one for all where the graph's types want some equal."""
    both = list(zip(HEAVY_SIZES if _heavy(graph) else SIZES, pair, strict=True))
    apart = tuple({"N": n, **{s: length + i for i, s in enumerate(symbols)}} for n, length in both)
    try:
        for sizes in apart:
            graph.substitute(sizes)
    except KcompileError:
        return tuple({"N": n, **dict.fromkeys(symbols, length)} for n, length in both)
    return apart


def trial(run: Run, feeds: dict[str, np.ndarray], edge: bool = False) -> Trial:
    """Run the reference on these inputs."""
    return Trial(feeds, [np.asarray(a) for a in run(feeds)], edge)


def trials(graph: Graph, reference: Run) -> Iterator[Trial]:
    """Random inputs at two sizes and three scales, then zeros and one row."""
    generator = np.random.default_rng(0)
    known = plan(graph, reference)
    yield from known.tried
    heavy = _heavy(graph)
    for scale in SCALES:
        for chosen in ({**known.sizes[0], "N": 1},) if heavy else known.sizes:
            yield trial(reference, known.feeds(graph, chosen, generator, scale), edge=heavy)
    first = known.sizes[0]
    zeros = {v.op.label: np.zeros(_shape(v.type, first), v.type.dtype.numpy) for v in graph.inputs}  # type: ignore[attr-defined]
    yield trial(reference, zeros, edge=True)
    if first["N"] != 1:
        yield trial(reference, known.feeds(graph, {**first, "N": 1}, generator, 1.0), edge=True)


def random_feeds(
    graph: Graph,
    sizes: dict[str, int],
    ranges: dict[str, int],
    generator: np.random.Generator,
    scale: float,
    bound: int = BOUNDS[0],
) -> dict[str, np.ndarray]:
    """`Plan.feeds` with everything given."""
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
            array = generator.integers(0, bound, shape)
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
    from kcompile.runtime.session import open_session, run_session

    session = open_session(model, level=level)
    return lambda feeds: run_session(session, feeds)

"""Statistics, counting and sequences of `keras.ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kcompile.errors import TraceError
from kcompile.keras.ops import arrays, grids, neural, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import axes_tuple, float_dtype, kind, normal_axis, op, rank_of, shape_of, tensor
from kcompile.keras.ops.scatter import segment_sum
from kcompile.tracing.scope import located
from kcompile.tracing.tensor import SymbolicTensor, promoted

Axis = int | Sequence[int] | None


@op
def average(x: Any, axis: Axis = None, weights: Any = None) -> Any:
    """The mean, or the weighted mean; weights have x's shape or are those of one axis."""
    if weights is None:
        return reductions.mean(x, axis)
    target = float_dtype(promoted(x, weights))
    x, weights = tensor(x, target), tensor(weights, target)
    if rank_of(weights) == 1 and rank_of(x) > 1:
        (place,) = axes_tuple(axis) or (None,)
        if place is None:
            raise ValueError("average: weights of another shape than x's need an axis")
        spread = [1] * rank_of(x)
        spread[place] = shape_of(x)[place]
        weights = arrays.reshape(weights, spread)
    weights = arrays.broadcast_to(weights, shape_of(x))
    return ew.divide(reductions.sum(ew.multiply(x, weights), axis), reductions.sum(weights, axis))


@op
def count_nonzero(x: Any, axis: Axis = None) -> Any:
    """How many elements are not 0, as int32."""
    return reductions.sum(tensor(ew.not_equal(x, tensor(0, kind(x))), "int32"), axis)


@op
def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest value less the smallest."""
    return ew.subtract(reductions.max(x, axis, keepdims), reductions.min(x, axis, keepdims))


@op
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences between neighbours along an axis, n times over."""
    for _ in range(n):
        size = shape_of(a)[axis]
        later, earlier = arrays.slice_axis(a, axis, 1, size), arrays.slice_axis(a, axis, 0, size - 1)
        a = ew.not_equal(later, earlier) if kind(a).is_bool else ew.subtract(later, earlier)
    return a


@op
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral of y along an axis by the trapezoidal rule, over places x or steps dx."""
    y = tensor(y, float_dtype(kind(y)))
    size = shape_of(y)[axis]
    means = ew.multiply(ew.add(arrays.slice_axis(y, axis, 1, size), arrays.slice_axis(y, axis, 0, size - 1)), 0.5)
    if x is None:
        return reductions.sum(ew.multiply(means, dx), axis)
    steps = diff(tensor(x, kind(y)), axis=0 if rank_of(x) == 1 else axis)
    if rank_of(steps) == 1:
        spread = [1] * rank_of(y)
        spread[axis] = shape_of(steps)[0]
        steps = arrays.reshape(steps, spread)
    return reductions.sum(ew.multiply(means, steps), axis)


@op
def corrcoef(x: Any) -> Any:
    """Correlations [V, V] between the rows of x [V, N]."""
    x = tensor(x, float_dtype(kind(x)))
    single = rank_of(x) == 1
    rows = arrays.expand_dims(x, 0) if single else x
    apart = ew.subtract(rows, reductions.mean(rows, -1, True))
    scaled = ew.divide(apart, ew.sqrt(reductions.sum(ew.square(apart), -1, True)))
    found = ew.clip(arrays.matmul(scaled, arrays.transpose(scaled)), -1.0, 1.0)
    return found[0, 0] if single else found


@op
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """Sums of products of x1 [N] with x2 [M] slid along it, as numpy.correlate; mode is valid, same or full."""
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"correlate: mode must be 'valid', 'same' or 'full', got {mode!r}")
    target = float_dtype(promoted(x1, x2))
    x1, x2 = tensor(x1, target), tensor(x2, target)
    longer, shorter = x1, x2
    swapped = shape_of(x1)[0] < shape_of(x2)[0]
    if swapped:
        longer, shorter = x2, x1
    count = shape_of(shorter)[0]
    before, after = {"valid": (0, 0), "full": (count - 1, count - 1), "same": (count // 2, count - 1 - count // 2)}[
        mode
    ]
    signal = arrays.reshape(arrays.pad(longer, ((before, after),)), (1, -1, 1))
    result = arrays.reshape(
        neural.conv(signal, arrays.reshape(shorter, (-1, 1, 1)), data_format="channels_last"), (-1,)
    )
    return arrays.flip(result) if swapped else result


# ---- counting


@op
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Where values go into an ascending sequence [N], before (left) or after equal ones, as int32."""
    if rank_of(sorted_sequence) != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. Received: "
            f"sorted_sequence.shape={shape_of(sorted_sequence)}"
        )
    below = ew.less if side == "left" else ew.less_equal
    return reductions.sum(tensor(below(sorted_sequence, arrays.expand_dims(values, -1)), "int32"), -1)


@op
def digitize(x: Any, bins: Any) -> Any:
    """The number of the bin that each value is in, between ascending bin edges [N], as int32."""
    return searchsorted(tensor(bins), x, "right")


@op
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often 0, 1, 2, ... come in x [N] (or in each row of [B, N]), or the sums of their weights.

    So many counts as the largest value needs, at least ``minlength``. While a model is traced the
    values are not known: it is ``minlength`` then, and larger values are not counted.
    """
    if sparse:
        raise ValueError("bincount: sparse tensors are not supported; leave sparse=False")
    x = tensor(x)
    bins = minlength
    if isinstance(x, SymbolicTensor):
        if not minlength:
            raise TraceError(located("bincount gives a size that depends on data; give minlength"))
    elif 0 not in shape_of(x):
        bins = max(minlength, int(reductions.max(x)) + 1)
    counted = tensor(1, "int32") if weights is None else tensor(weights, promoted(x, weights))
    counted = arrays.reshape(arrays.broadcast_to(counted, shape_of(x)), (-1,))
    ids = tensor(x, "int64")
    if rank_of(x) == 1:
        return segment_sum(counted, ids, bins)
    rows = arrays.expand_dims(arrays.arange(0, shape_of(x)[0], dtype="int64"), 1)
    ids = ew.where(ew.less(ids, bins), ew.add(ids, ew.multiply(rows, bins)), tensor(-1, "int64"))
    found = segment_sum(counted, arrays.reshape(ids, (-1,)), shape_of(x)[0] * bins)
    return arrays.reshape(found, (shape_of(x)[0], bins))


@op
def histogram(x: Any, bins: int = 10, range: Any = None) -> tuple[Any, Any]:
    """(counts of x [N] in so many bins of equal width, their edges); a value on an edge is in the right bin."""
    if rank_of(x) != 1:
        raise ValueError(f"Input tensor must be 1-dimensional. Received: input.shape={shape_of(x)}")
    x = tensor(x, float_dtype(kind(x)))
    low, high = (reductions.min(x), reductions.max(x)) if range is None else (tensor(v, kind(x)) for v in range)
    same = ew.equal(low, high)
    low, high = ew.where(same, ew.subtract(low, 0.5), low), ew.where(same, ew.add(high, 0.5), high)
    edges = grids.linspace(low, high, bins + 1, dtype=kind(x))
    inside = ew.logical_and(ew.greater_equal(x, low), ew.less_equal(x, high))
    places = searchsorted(arrays.slice_axis(edges, 0, 1, bins), x, "right")
    return segment_sum(tensor(inside, kind(x)), places, bins), edges


# ---- quantiles

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@op
def quantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """The values below which the shares q of the elements over the axes lie; NaN where there is a NaN."""
    x = tensor(x, float_dtype(kind(x)))
    return _quantile(x, q, axis, method, keepdims, skip=False)


@op
def nanquantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of the elements that are not NaN."""
    return _quantile(tensor(x, float_dtype(kind(x))), q, axis, method, keepdims, skip=True)


def _quantile(x: Any, q: Any, axis: Axis, method: str, keepdims: bool, skip: bool) -> Any:
    if method not in _METHODS:
        raise ValueError(f"quantile: method must be one of {', '.join(_METHODS)}, got {method!r}")
    rank = rank_of(x)
    axes = sorted(normal_axis(a, rank) for a in (range(rank) if axis is None else axes_tuple(axis) or ()))
    others = [a for a in range(rank) if a not in axes]
    sizes = shape_of(x)
    rows = arrays.reshape(arrays.transpose(x, [*others, *axes]), (*(sizes[a] for a in others), -1)) if axes else x
    rows = rows if axes else arrays.expand_dims(x, -1)
    missing = ew.isnan(rows)
    ordered = reductions.sort(ew.where(missing, math.inf, rows), -1)
    # Without NaN to be left out all rows have one count, and so the indices are one row.
    count = reductions.sum(tensor(ew.logical_not(missing), "int64"), -1, True)
    q = tensor(q, kind(x))
    shares = arrays.reshape(q, (-1,))
    place = ew.multiply(shares, tensor(ew.maximum(ew.subtract(count, 1), 0), kind(x)))
    values = _between(ordered, place, method)
    nothing = ew.equal(count, 0) if skip else reductions.any(missing, -1, True)
    values = arrays.moveaxis(ew.where(nothing, math.nan, values), -1, 0)
    if keepdims:
        for a in axes:
            values = arrays.expand_dims(values, a + 1)
    return values if rank_of(q) else arrays.squeeze(values, 0)


def _between(ordered: Any, place: Any, method: str) -> Any:
    """Values of ordered rows [..., N] at fractional places [..., Q]."""

    def at(where: Any) -> Any:
        return arrays.take_along_axis(ordered, tensor(where, "int64"), -1)

    if method == "nearest":
        return at(ew.round(place))
    low, high = at(ew.floor(place)), at(ew.ceil(place))
    if method in ("lower", "higher"):
        return low if method == "lower" else high
    share = 0.5 if method == "midpoint" else ew.subtract(place, ew.floor(place))
    between = ew.add(low, ew.multiply(ew.subtract(high, low), share))
    # Equal ends, infinite ones too, leave nothing between them.
    return ew.where(ew.equal(low, high), low, between)


@op
def percentile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` at q hundredths."""
    return quantile(x, ew.divide(q, 100.0), axis, method, keepdims)


@op
def nanpercentile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`nanquantile` at q hundredths."""
    return nanquantile(x, ew.divide(q, 100.0), axis, method, keepdims)


@op
def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The middle value over axes; the mean of the two in the middle of an even count."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


@op
def nanmedian(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """`median` of the elements that are not NaN."""
    return nanquantile(x, 0.5, axis, keepdims=keepdims)


@op
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """The peak signal-to-noise ratio of two images in decibels, ``max_val`` being the largest value there can be."""
    target = float_dtype(promoted(x1, x2))
    x1, x2 = tensor(x1, target), tensor(x2, target)
    error = reductions.mean(ew.square(ew.subtract(x1, x2)))
    return ew.subtract(20.0 * math.log10(max_val), ew.multiply(10.0, ew.log10(error)))


__all__ = [
    "average", "bincount", "corrcoef", "correlate", "count_nonzero", "diff", "digitize", "histogram", "median",
    "nanmedian", "nanpercentile", "nanquantile", "percentile", "psnr", "ptp", "quantile", "searchsorted", "trapezoid",
]  # fmt: skip

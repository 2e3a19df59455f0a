"""The comparison of `test_ops` over the functions that are made of others: statistics, windows, diagonals, segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompile.errors import TraceError
from kcompile.keras import ops
from tests.keras.support import array, arrays, close, export_and_run, keras, numbers, real
from tests.keras.test_ops import BOOLS, IDS, INTS, MORE, MORE_BOOLS, NONE, POSITIVE, A, B, Row, compare

HOLES = np.where(A > 0.8, np.nan, A).astype("float32")
HOLES[0, 1] = np.nan
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.5], "float32")
ROW, SHORT, EDGES = numbers((9,)), numbers((4,), 1), np.array([-1.0, -0.2, 0.5, 1.0], "float32")
SQUARE, FLAT = numbers((4, 4)), numbers((3, 4))
SEGMENTS = np.array([0, 2, 2, -1, 1, 5, 0], "int32")
VALUES = numbers((7, 3))
PIXELS, CHANNELS = numbers((2, 4, 6, 8)), numbers((2, 8, 4, 6))
COUNTS = np.array([[1, 5, 2, 0], [5, 1, 0, 1]], "int32")

ROWS: dict[str, list[Row]] = {}


def rows(names: str, *given: Row) -> None:
    for name in names.split():
        ROWS.setdefault(name, []).extend(given)


rows(
    "cbrt exp2 erfc fabs rad2deg sinc i0 isposinf isneginf isreal signbit nan_to_num real conj conjugate angle",
    ((A,), NONE),
)
rows("cbrt exp2 fabs sinc isposinf isneginf isreal signbit nan_to_num", ((INTS,), NONE))
rows("isposinf isneginf signbit nan_to_num sinc", ((SPECIAL,), NONE))
rows("nan_to_num", ((SPECIAL,), {"nan": 1.0, "posinf": 2.0, "neginf": -3.0}))
rows("i0", ((A * 8,), NONE), ((np.array([0.0, 3.75, -3.75, 20.0], "float32"),), NONE))
rows("fmax fmin hypot logaddexp2 heaviside", ((A, B), NONE), ((A, B[:, :1]), NONE), ((INTS, MORE), NONE))
rows("fmax fmin", ((SPECIAL, np.zeros(7, "float32")), NONE))
rows("hypot", ((A * 1e30, B * 1e30), NONE), ((A * 0, B * 0), NONE))
rows("fmod", ((A, B), NONE), ((INTS, MORE), NONE), ((A, 0.7), NONE))
rows("ldexp", ((A, INTS), NONE))
rows("gcd lcm", ((MORE * 6, INTS * 4), NONE), ((INTS, INTS), NONE))
rows("allclose", ((A, A + 1e-7), NONE), ((A, B), NONE), ((A, B), {"atol": 100.0}))

rows("average", ((A,), NONE), ((A,), {"axis": 1}), ((A, -1, SHORT), NONE), ((INTS, -1, MORE[0, 0]), NONE))
rows("count_nonzero", ((INTS,), NONE), ((INTS[0],), {"axis": 1}))
rows("ptp", ((A,), NONE), ((A,), {"axis": 1, "keepdims": True}), ((INTS,), {"axis": (0, 1)}))
rows("diff", ((A,), NONE), ((A,), {"n": 2, "axis": 1}), ((BOOLS,), {"axis": 0}), ((INTS,), {"n": 3, "axis": 1}))
rows("trapezoid", ((A,), NONE), ((A,), {"dx": 0.5, "axis": 1}), ((A, POSITIVE), NONE), ((A, ROW[:4]), NONE))
rows("corrcoef", ((FLAT,), NONE), ((INTS[0],), NONE))
rows(
    "correlate",
    *(((x, y), {"mode": m}) for m in ("valid", "same", "full") for x, y in ((ROW, SHORT), (ROW, SHORT[:3]))),
)
rows("correlate", ((INTS[0, :, 0], MORE[0, 0]), {"mode": "full"}))
rows("searchsorted", ((EDGES, A), NONE), ((EDGES, A), {"side": "right"}), ((EDGES, EDGES), NONE),
     ((EDGES, EDGES), {"side": "right"}))  # fmt: skip
rows("digitize", ((A, EDGES), NONE), ((EDGES, EDGES), NONE))
rows("histogram", ((ROW,), NONE), ((ROW,), {"bins": 4, "range": (-1.0, 1.0)}), ((EDGES,), {"bins": 3}))
QUANTILES: list[dict[str, Any]] = [
    NONE, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1, "keepdims": True}, {"axis": 1, "method": "lower"},
    {"axis": 1, "method": "higher"}, {"axis": 2, "method": "midpoint"}, {"axis": 1, "method": "nearest"},
]  # fmt: skip
rows("quantile", *(((A,), {"q": 0.3, **o}) for o in QUANTILES), ((A,), {"q": np.array([0.0, 0.5, 1.0], "float32"), "axis": 1}),
     ((A,), {"q": np.array([0.25, 0.5], "float32"), "keepdims": True}))  # fmt: skip
rows("nanquantile", *(((HOLES,), {"q": 0.3, **o}) for o in QUANTILES[:4]))
rows("percentile", ((A,), {"q": 30.0, "axis": 1}))
rows("nanpercentile", ((HOLES,), {"q": 30.0, "axis": 1}))
rows("median nanmedian", ((A,), NONE), ((A,), {"axis": 1}), ((A,), {"axis": (0, -1), "keepdims": True}))
rows("nanmedian", ((HOLES,), {"axis": 1}))
NAN = "nansum nanprod nanmax nanmin nanmean nanvar nanstd"
rows(NAN, *(((HOLES,), k) for k in (NONE, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)})))
rows("nansum nanmax nanmin nanmean", ((INTS,), {"axis": 1}))
rows("nanargmax nanargmin", ((HOLES,), {"axis": 1}), ((HOLES,), {"axis": -1, "keepdims": True}), ((INTS,), {"axis": 1}))
rows("nancumsum nancumprod", ((HOLES,), {"axis": 1}), ((HOLES,), NONE))
rows("psnr", ((A, B), {"max_val": 2.0}))

rows("copy", ((A,), NONE))
rows("append", ((A, B), NONE), ((A, B), {"axis": 1}))
rows("hstack vstack dstack", (([A, B],), NONE), (([FLAT, FLAT],), NONE), (([SHORT, SHORT],), NONE))
rows("array_split", ((A,), {"indices_or_sections": 3, "axis": 1}), ((A,), {"indices_or_sections": 7, "axis": 1}))
rows("hsplit", ((FLAT,), {"indices_or_sections": 2}), ((SHORT,), {"indices_or_sections": (1,)}))
rows("vsplit", ((SQUARE,), {"indices_or_sections": 2}))
rows("dsplit", ((A,), {"indices_or_sections": 2}))
rows("fliplr flipud", ((A,), NONE))
rows("rot90", *(((A,), {"k": k}) for k in range(-1, 4)), ((A,), {"k": 1, "axes": (1, 2)}), ((A,), {"axes": (2, 0)}))
rows("rearrange", ((PIXELS, "b h w c -> b c h w"), NONE), ((PIXELS, "b h w c -> h (b w) c"), NONE),
     ((PIXELS, "b (h1 h) (w1 w) c -> (b h1 w1) h w c"), {"h1": 2, "w1": 2}))  # fmt: skip
rows("depth_to_space space_to_depth", ((PIXELS,), {"block_size": 2}))
rows("depth_to_space space_to_depth", ((CHANNELS,), {"block_size": 2, "data_format": "channels_first"}))
rows("diagonal trace", ((A,), NONE), ((A,), {"offset": 1, "axis1": 1, "axis2": 2}), ((FLAT,), {"offset": -1}))
rows("diag", ((SHORT,), NONE), ((SHORT,), {"k": 2}), ((SHORT,), {"k": -1}), ((FLAT,), {"k": 1}), ((FLAT,), NONE))
rows("diagflat", ((FLAT,), NONE), ((SHORT,), {"k": 1}))
rows("meshgrid", ((SHORT, ROW), NONE), ((SHORT, ROW, EDGES), {"indexing": "ij"}), ((SHORT, ROW, EDGES[:2]), NONE))
rows("vander", ((SHORT,), NONE), ((SHORT,), {"N": 3, "increasing": True}), ((INTS[0, 0],), NONE))
rows("slice", ((A,), {"start_indices": (0, 1, 2), "shape": (2, 3, 2)}))
rows("slice", ((A, np.array([0, 1, 2], "int32")), {"shape": (2, 3, 2)}))
rows("slice_update", ((A,), {"start_indices": (0, 1, 2), "updates": B[:, :3, :2].copy()}))
rows("slice_update", ((A, np.array([0, 1, 2], "int32"), B[:, :3, :2].copy()), NONE))
rows("select", (([BOOLS, MORE_BOOLS], [A, B]), NONE), (([BOOLS, MORE_BOOLS], [A, B], 2.0), NONE))
rows("isin", ((INTS, np.array([1, -2], "int32")), NONE), ((INTS, MORE[0]), {"invert": True}))
rows("unravel_index", ((IDS,), {"shape": (2, 3)}))
rows("multi_hot", ((IDS,), {"num_classes": 5}), ((IDS[0],), {"num_classes": 5}))
rows(
    "extract_sequences",
    ((A,), {"sequence_length": 3, "sequence_stride": 1}),
    ((ROW,), {"sequence_length": 4, "sequence_stride": 2}),
)
WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": 2}, {"kernel_size": (2, 3), "stride": 2}, {"kernel_size": 2, "padding": 1, "dilation": 2},
    {"kernel_size": (3, 2), "padding": (1, 0), "stride": (1, 2)},
]  # fmt: skip
rows("unfold", *(((CHANNELS,), w) for w in WINDOWS))
rows("fold", ((numbers((2, 8, 15)),), {"output_size": (4, 6), "kernel_size": 2}),
     ((numbers((2, 12, 9)),), {"output_size": (6, 6), "kernel_size": 2, "stride": 2}),
     ((numbers((2, 4, 20)),), {"output_size": (3, 4), "kernel_size": 2, "padding": 1}))  # fmt: skip
rows("scatter_update", ((A, np.array([[0, 1], [1, 4]], "int32"), numbers((2, 4))), NONE),
     ((SQUARE, np.array([[0, 1], [3, 3]], "int32"), np.array([5.0, 6.0], "float32")), NONE),
     *(((SQUARE, np.array([[0], [3], [0]], "int32"), numbers((3, 4), 7)), {"reduction": r}) for r in ("add", "max", "min", "mul")))  # fmt: skip
rows("segment_sum segment_prod segment_max segment_min", ((VALUES, SEGMENTS), {"num_segments": 4}),
     ((VALUES[:, 0].copy(), SEGMENTS), {"num_segments": 3}))  # fmt: skip
rows("inner", ((A, B), NONE), ((SHORT, SHORT), NONE), ((A, 2.0), NONE))
rows("vdot", ((SHORT, SHORT), NONE))
rows("kron", ((FLAT, SQUARE), NONE), ((SHORT, ROW), NONE))
rows("cross", ((A[..., :3].copy(), B[..., :3].copy()), NONE), ((FLAT, FLAT[::-1].copy()), {"axis": 0}))
rows("cdist", ((A, B), NONE), ((FLAT, SQUARE), NONE))

# Functions whose results are not real Keras's one to one, or that take Python functions: tested below.
OTHERS = {"bincount", "argpartition", "adaptive_average_pool", "adaptive_max_pool"}
CASES = [(name, i) for name, given in ROWS.items() for i in range(len(given))]


@pytest.mark.parametrize("name, index", CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_ops(name: str, index: int) -> None:
    compare(name, *ROWS[name][index])


# Where real Keras 3.15 on torch is wrong or fails, and numpy says what the documentation says.
NUMPY: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("heaviside", (SPECIAL, np.zeros(7, "float32")), {}), ("average", (A, 1, numbers((5,)) + 3), {}), ("average", (A, None, POSITIVE), {}),
    ("average", (A, 1, POSITIVE), {}), ("count_nonzero", (INTS,), {"axis": 1}), ("count_nonzero", (INTS,), {"axis": (0, 2)}),
    ("count_nonzero", (BOOLS,), {"axis": -1}), ("correlate", (SHORT, SHORT), {"mode": "valid"}), ("correlate", (SHORT, ROW), {"mode": "same"}),
    ("correlate", (SHORT, ROW), {"mode": "full"}), ("correlate", (SHORT, ROW), {"mode": "valid"}), ("vdot", (A, B), {}),
    ("cross", (A[..., :2].copy(), B[..., :2].copy()), {}), ("cross", (A[..., :3].copy(), B[..., :2].copy()), {}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors")
@pytest.mark.parametrize("name, given, options", NUMPY, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(NUMPY)])
def test_as_numpy(name: str, given: Any, options: Any) -> None:
    compare(name, given, options, oracle=getattr(np, name))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_linspace_of_arrays(axis: int) -> None:
    start, stop = np.array([0.0, 1.0], "float32"), np.array([3.0, 5.0], "float32")
    close(array(ops.linspace(start, stop, 4, axis=axis)), np.linspace(start, stop, 4, axis=axis).astype("float32"))
    values, step = ops.linspace(0.0, 1.0, 4, endpoint=False, retstep=True)
    assert array(values).shape == (4,) and float(step) == 0.25


NEW: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((w, (n,), {}) for w in ("hanning", "hamming", "blackman", "bartlett") for n in (1, 2, 7, 8)),
    ("kaiser", (7, 5.0), {}), ("kaiser", (1, 5.0), {}), ("tri", (3,), {}), ("tri", (3, 5), {"k": 1, "dtype": "int32"}),
    ("logspace", (0.0, 2.0), {"num": 5}), ("logspace", (0.0, 2.0), {"num": 4, "endpoint": False, "base": 2}),
    ("geomspace", (1.0, 1000.0), {"num": 4}), ("geomspace", (-1.0, -8.0), {"num": 4, "endpoint": False}),
    ("linspace", ([0.0, 1.0], [3.0, 5.0]), {"num": 4}),
    ("array", ([1, 2],), {}), ("array", ([1, 2],), {"dtype": "float32"}),
    ("empty_like", (A,), {}), ("segment_max", (VALUES, abs(SEGMENTS)), {}), ("get_item", (A, (0, slice(1, 3))), {}),
]  # fmt: skip


@pytest.mark.parametrize("name, args, options", NEW, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(NEW)])
def test_new_arrays(name: str, args: Any, options: Any) -> None:
    ours, theirs = (
        arrays(
            getattr(room.ops, name)(
                *(room.ops.convert_to_tensor(a) if isinstance(a, (np.ndarray, list)) else a for a in args), **options
            )
        )
        for room in (keras, real)
    )
    for a, b in zip(ours, theirs, strict=True):
        if name != "empty_like":
            close(a, b, atol=1e-7)


@pytest.mark.parametrize("given", [(COUNTS[0], {}), (COUNTS, {}), (COUNTS[0], {"weights": SHORT}), (COUNTS, {"weights": numbers((2, 4))}),
                                   (COUNTS, {"minlength": 8})], ids=str)  # fmt: skip
def test_bincount(given: Any) -> None:
    x, options = given
    wanted = array(real.ops.bincount(x, **options))
    close(array(ops.bincount(x, **options)), wanted)
    symbol = keras.Input(batch_shape=x.shape, dtype="int32", name="x")
    with pytest.raises(TraceError, match="minlength"):
        ops.bincount(symbol)
    model = keras.Model(symbol, ops.bincount(symbol, **{**options, "minlength": 6}))
    close(export_and_run(model, {"x": x})[0][0], array(real.ops.bincount(x, **{**options, "minlength": 6}))[..., :6])


def test_segments_without_their_number_need_values() -> None:
    with pytest.raises(TraceError, match="num_segments"):
        ops.segment_sum(keras.Input((3,)), keras.Input(batch_shape=(7,), dtype="int32"))


def test_argpartition() -> None:
    for kth in range(4):
        order = np.take_along_axis(A, array(ops.argpartition(A, kth)), -1)
        np.testing.assert_array_equal(order[..., kth], np.sort(A, -1)[..., kth])
        assert (order[..., :kth] <= order[..., kth : kth + 1]).all()


def test_integer_segments_without_rows() -> None:
    """Real Keras on torch computes in float32 and turns its infinity into an integer: the dtype's ends stand here."""
    made = array(ops.segment_max(np.array([3, 4], "int32"), np.array([0, 0]), num_segments=2))
    assert made.tolist() == [4, np.iinfo("int32").min]


@pytest.mark.parametrize("options", [
    {}, {"return_counts": True}, {"return_inverse": True}, {"return_index": True, "return_inverse": True, "return_counts": True},
    {"size": 3, "return_counts": True}, {"size": 9, "fill_value": -7, "return_counts": True}, {"size": 9},
], ids=str)  # fmt: skip
def test_unique(options: dict[str, Any]) -> None:
    x = INTS[0, :, 0]
    for a, b in zip(arrays(ops.unique(x, **options)), arrays(real.ops.unique(x, **options)), strict=True):
        np.testing.assert_array_equal(a, b)
    if not options:
        rows = COUNTS[[0, 1, 0]]
        np.testing.assert_array_equal(array(ops.unique(rows, axis=0)), array(real.ops.unique(rows, axis=0)))
        np.testing.assert_array_equal(array(ops.unique(INTS)), array(real.ops.unique(INTS)))


def test_what_depends_on_data_is_for_arrays() -> None:
    for x in (INTS, BOOLS, COUNTS[0]):
        close(array(ops.nonzero(x)), array(real.ops.nonzero(x)))
    for function in (ops.nonzero, ops.unique):
        with pytest.raises(TraceError, match="depends on data"):
            function(keras.Input((3,)))


# What Keras has and this has not: complex tensors, bits, derivatives, beam search.
MISSING = {
    "": {"ctc_decode", "custom_gradient", "eig", "imag", "jvp", "nextafter", "polar", "view", "view_as_complex", "view_as_real"},
    "numpy": {"imag", "nextafter", "view"}, "nn": {"ctc_decode", "polar"}, "linalg": {"eig", "jvp"}, "image": set(),
}  # fmt: skip


@pytest.mark.parametrize("namespace", MISSING)
def test_names(namespace: str) -> None:
    ours, theirs = (getattr(room.ops, namespace) if namespace else room.ops for room in (keras, real))
    names = {n for n in dir(theirs) if not n.startswith("_")}
    assert names - set(dir(ours)) == MISSING[namespace]
    for name in names & set(dir(ours)):
        assert namespace in ("", "image") or getattr(ours, name) is getattr(keras.ops, name), name


def test_dtype() -> None:
    assert ops.dtype(A) == "float32"
    assert ops.dtype(keras.Input((2,), dtype="int32")) == "int32"


# ---- functions of functions: (call, its arrays)

TAKES: dict[str, tuple[Any, list[np.ndarray]]] = {
    "map": (lambda o, x: o.map(lambda row: o.sum(row * 2.0), x), [FLAT]),
    "map of pairs": (lambda o, x, y: o.map(lambda p: p[0] + p[1], (x, y)), [A, B]),
    "vectorized_map": (lambda o, x: o.vectorized_map(lambda row: o.cumsum(row), x), [FLAT]),
    "associative_scan": (lambda o, x: o.associative_scan(o.add, x), [FLAT]),
    "associative_scan back": (lambda o, x: o.associative_scan(o.maximum, x, reverse=True, axis=1), [A]),
    "associative_scan of pairs": (
        lambda o, a, b: o.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, b), axis=1)[1], [A, B],
    ),
    "vectorize": (lambda o, x, y: o.vectorize(lambda a, b: o.where(a > b, a, b * 2.0))(x, y), [A, B[0]]),
    "vectorize rows": (lambda o, x: o.vectorize(lambda a: o.sum(a), signature="(n)->()")(x), [A]),
    "switch": (lambda o, x: o.switch(1, [lambda v: v + 1.0, lambda v: v * 3.0, lambda v: -v], x), [FLAT]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES)
def test_functions_of_functions(name: str) -> None:
    call, given = TAKES[name]
    wanted = arrays(call(real.ops, *(real.ops.convert_to_tensor(x) for x in given)))
    for a, b in zip(arrays(call(ops, *(ops.convert_to_tensor(x) for x in given))), wanted, strict=True):
        close(a, b)

    class Layer(keras.layers.Layer):
        def call(self, *x: Any) -> Any:
            return call(ops, *x)

    inputs = [keras.Input(batch_shape=x.shape, name=f"x{i}") for i, x in enumerate(given)]
    model = keras.Model(inputs, Layer()(*inputs))
    for a, b in zip(export_and_run(model, {f"x{i}": x for i, x in enumerate(given)})[0], wanted, strict=True):
        close(a, b, 2e-5)


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 9])
def test_switch_on_a_tensor(index: int) -> None:
    class Layer(keras.layers.Layer):
        def call(self, i: Any, x: Any) -> Any:
            branches = [lambda v: v + 1.0, lambda v: v * 3.0, lambda v: -v]
            return ops.switch(ops.reshape(i, ()), branches, x)

    i, x = keras.Input(batch_shape=(1,), dtype="int32", name="i"), keras.Input(batch_shape=(3, 4), name="x")
    wanted = [FLAT + 1.0, FLAT * 3.0, -FLAT][max(0, min(index, 2))]
    (got,) = export_and_run(keras.Model([i, x], Layer()(i, x)), {"i": np.array([index], "int32"), "x": FLAT})[0]
    close(got, wanted)


# ---- free sizes

FREE: dict[str, Any] = {
    "median": lambda x: ops.median(x, axis=1), "quantile": lambda x: ops.quantile(x, [0.2, 0.9], axis=1),
    "diff": lambda x: ops.diff(x, axis=1), "extract_sequences": lambda x: ops.extract_sequences(ops.transpose(x, (0, 2, 1)), 2, 2),
    "diagonal": lambda x: ops.diagonal(x, axis1=1, axis2=2), "nanmean": lambda x: ops.nanmean(x, axis=1),
    "corrcoef": lambda x: ops.corrcoef(ops.reshape(x, (-1, 4))), "vander": lambda x: ops.vander(x[:, 0, 0], 3),
    "unravel_index": lambda x: ops.unravel_index(ops.argmax(x, axis=1), (3, 50)), "rot90": lambda x: ops.rot90(x, axes=(1, 2)),
    "rearrange": lambda x: ops.rearrange(x, "b t (h d) -> (b h) t d", h=2), "meshgrid": lambda x: ops.meshgrid(x[0, :, 0], x[0, 0]),
    "average": lambda x: ops.average(x, axis=1, weights=ops.abs(x)), "map": lambda x: ops.map(lambda r: ops.sum(r, 0), x),
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_free_sizes(name: str) -> None:
    class Layer(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return FREE[name](x)

    x = keras.Input((None, 4), name="x")
    model = keras.Model(x, Layer()(x))
    feeds = [{"x": numbers((b, t, 4))} for b, t in ((2, 5), (3, 2), (1, 8))]
    for feed, got in zip(feeds, export_and_run(model, *feeds), strict=True):
        for a, b in zip(got, arrays(FREE[name](ops.convert_to_tensor(feed["x"]))), strict=True):
            close(a, b, 2e-5)


REFUSED: list[tuple[Any, str]] = [
    (lambda x: ops.rearrange(x, "a b -> b a"), "rearrange"), (lambda x: ops.rearrange(x, "a b c -> a b"), "same axes"),
    (lambda x: ops.rearrange(x, "a b (c d) -> a b c d"), "all but one"), (lambda x: ops.quantile(x, 0.5, method="odd"), "method"),
    (lambda x: ops.searchsorted(x, x), "1-D"), (lambda x: ops.correlate(x, x, mode="odd"), "mode"), (lambda x: ops.cross(x, x), "cross"),
    (lambda x: ops.scatter_update(x, [[0]], x, reduction="odd"), "reduction"), (lambda x: ops.meshgrid(x, indexing="odd"), "indexing"),
    (lambda x: ops.diag(x), "diag"), (lambda x: ops.rot90(x, axes=(0,)), "rot90"), (lambda x: ops.average(x, weights=SHORT), "axis"),
    (lambda x: ops.bincount(x, sparse=True), "sparse"), (lambda x: ops.multi_hot(x), "num_classes"),
]  # fmt: skip


@pytest.mark.parametrize("call, words", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused_by_name(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(A)

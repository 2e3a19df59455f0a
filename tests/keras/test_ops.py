"""keras.ops: eager, as a functional model's node, as ONNX, and real keras.ops agree."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from kcompile.keras import ops
from tests.keras.support import arrays, close, export_and_run, keras, numbers, real

A, B = numbers((2, 5, 4)), numbers((2, 5, 4), 1)
POSITIVE, UNIT = abs(A) + 0.1, np.tanh(A)
INTS, MORE = numbers((2, 5, 4), 2, "int32", 7) - 3, numbers((2, 5, 4), 3, "int32", 7) + 1
BOOLS, MORE_BOOLS = A > 0, B > 0
IDS = numbers((2, 3), 4, "int32", 5)
IMAGE, KERNEL = numbers((2, 7, 8, 4)), numbers((3, 3, 4, 6), 1)
PROBABILITIES = np.exp(A) / np.exp(A).sum(-1, keepdims=True)

# Left out, since real Keras 3.15 is wrong on torch: average_pool with "same" where the padding is uneven (it counts
# cells of the wrong edge), pad by one number (it pads the last axis only), sparsemax, and one_hot beyond the classes.

# name -> rows of (array arguments, keyword arguments). Arguments that are tuples or lists of arrays are one argument.
Row = tuple[tuple[Any, ...], dict[str, Any]]
ROWS: dict[str, list[Row]] = {}


def rows(names: str, *given: Row) -> None:
    for name in names.split():
        ROWS.setdefault(name, []).extend(given)


NONE: dict[str, Any] = {}
rows(
    "exp expm1 sin cos tan sinh cosh tanh arcsinh arctan erf floor ceil negative absolute abs sign square sigmoid "
    "log_sigmoid softplus softsign silu swish selu hard_sigmoid hard_silu hard_swish hard_tanh tanh_shrink "
    "sparse_sigmoid sparse_plus relu relu6 deg2rad round trunc isnan isinf isfinite ravel zeros_like ones_like "
    "stop_gradient",
    ((A,), NONE),
)
rows("log log1p log2 log10 sqrt rsqrt reciprocal", ((POSITIVE,), NONE))
rows("arcsin arccos erfinv arctanh", ((UNIT * 0.9,), NONE))
rows("arccosh", ((POSITIVE + 1,), NONE))
rows(
    "exp sqrt sin tanh log1p sigmoid negative absolute sign square floor ceil round trunc isfinite relu "
    "ones_like zeros_like",
    ((abs(INTS),), NONE),
)
rows(
    "add subtract multiply divide true_divide maximum minimum arctan2 logaddexp equal not_equal less less_equal "
    "greater greater_equal",
    ((A, B), NONE),
    ((INTS, MORE), NONE),
    ((A, B[:, :1]), NONE),
    ((A, 2.5), NONE),
    ((INTS, 2), NONE),
    ((INTS, A), NONE),
    ((A, INTS), NONE),
    ((INTS, 0.5), NONE),
)
rows("add multiply maximum minimum equal", ((BOOLS, INTS), NONE))
rows("floor_divide mod", ((A, B), NONE), ((INTS, MORE), NONE), ((A, 0.7), NONE), ((INTS, 3), NONE))
rows("power", ((POSITIVE, B), NONE), ((A, 2), NONE), ((POSITIVE, 0.5), NONE), ((MORE, 2), NONE))
rows("divide_no_nan", ((A, (B > 0).astype("float32")), NONE))
rows("logical_and logical_or logical_xor", ((BOOLS, MORE_BOOLS), NONE), ((INTS, MORE), NONE))
rows("logical_not", ((BOOLS,), NONE), ((INTS,), NONE))
rows("bitwise_and bitwise_or bitwise_xor", ((INTS, MORE), NONE))
rows("bitwise_not bitwise_invert", ((INTS,), NONE))
rows("left_shift bitwise_left_shift right_shift bitwise_right_shift", ((MORE, INTS % 3), NONE))
rows(
    "where", ((BOOLS, A, B), NONE), ((BOOLS, A, 0.0), NONE), ((BOOLS, INTS, MORE), NONE), ((BOOLS[..., :1], A, B), NONE)
)
rows("clip", ((A,), {"x_min": -0.5, "x_max": 0.5}), ((INTS,), {"x_min": -1, "x_max": 2}))
rows("isclose", ((A, A + 1e-7), NONE), ((A, B), {"atol": 1.0}))
rows(
    "cast",
    *(
        ((x,), {"dtype": d})
        for x in (A, INTS, BOOLS)
        for d in ("float32", "float16", "int32", "int64", "bool", "uint8")
        if not (d == "uint8" and x is not BOOLS)
    ),
)

rows(
    "sum mean max min prod std var amax amin",
    *(
        ((A,), k)
        for k in (
            NONE,
            {"axis": 1},
            {"axis": -1, "keepdims": True},
            {"axis": (0, 2)},
            {"axis": [1, 2], "keepdims": True},
        )
    ),
)
rows("logsumexp", ((A,), NONE), ((A,), {"axis": 1, "keepdims": True}))
rows("sum mean max min prod", ((INTS,), {"axis": 1}))
rows("sum mean", ((BOOLS,), {"axis": 1}))
rows("any all", ((BOOLS,), NONE), ((BOOLS,), {"axis": 1}), ((INTS,), {"axis": -1, "keepdims": True}))
rows("max min", ((A,), {"axis": 1, "initial": 0.5}))
rows("argmax argmin", ((A,), NONE), ((A,), {"axis": 1}), ((A,), {"axis": -1, "keepdims": True}), ((INTS,), {"axis": 1}))
rows("cumsum cumprod", ((A,), {"axis": 1}), ((A,), NONE), ((INTS,), {"axis": -1}))
rows("sort argsort", ((A,), NONE), ((A,), {"axis": 1}))
rows("top_k", ((A,), {"k": 3}))
rows("in_top_k", ((np.array([1, 0], "int32"), A[:, 0]), {"k": 2}))
rows("moments", ((A,), {"axes": (0, 1)}), ((A,), {"axes": (1,), "keepdims": True}))
rows("normalize", ((A,), NONE), ((A,), {"axis": 1, "order": 1}), ((A,), {"order": 3}))

rows("reshape", ((A,), {"newshape": (2, 20)}), ((A,), {"newshape": (-1, 4)}), ((A,), {"newshape": (2, 2, 2, -1)}))
rows("transpose", ((A,), NONE), ((A,), {"axes": (0, 2, 1)}))
rows("swapaxes", ((A,), {"axis1": 1, "axis2": -1}))
rows("moveaxis", ((A,), {"source": 0, "destination": 2}), ((A,), {"source": (0, 1), "destination": (-1, 0)}))
rows("expand_dims", ((A,), {"axis": 1}), ((A,), {"axis": -1}))
rows("squeeze", ((A[:, :1],), {"axis": 1}), ((A[:, :1],), NONE))
rows("broadcast_to", ((A[:, :1],), {"shape": (2, 5, 4)}))
rows("concatenate stack", (([A, B],), {"axis": 1}), (([A, B],), NONE), (([A, INTS],), {"axis": -1}))
rows("unstack", ((A,), {"axis": 1}))
rows("split", ((A,), {"indices_or_sections": 2, "axis": -1}), ((A,), {"indices_or_sections": (1, 3), "axis": 1}))
rows(
    "pad",
    ((A,), {"pad_width": ((0, 0), (1, 2), (0, 0))}),
    ((A,), {"pad_width": ((0, 0), (2, 1), (0, 0)), "mode": "reflect"}),
    ((A,), {"pad_width": ((0, 0), (2, 1), (1, 0)), "mode": "constant", "constant_values": 3}),
)
rows("tile", ((A,), {"repeats": (1, 2, 3)}), ((A,), {"repeats": (2, 1)}))
rows("repeat", ((A,), {"repeats": 2, "axis": 1}), ((A,), {"repeats": 3}))
rows("flip", ((A,), NONE), ((A,), {"axis": 1}))
rows("roll", ((A,), {"shift": 2, "axis": 1}), ((A,), {"shift": -1}))
rows("tril triu", ((A,), NONE), ((A,), {"k": 1}), ((A,), {"k": -1}))

rows("matmul dot", ((A, B.transpose(0, 2, 1)[0]), NONE))
rows("matmul", ((A, B.transpose(0, 2, 1)), NONE), ((A, B[0, 0]), NONE), ((A[0, 0], B[0, 0]), NONE))
rows("tensordot", ((A, B[0].T), {"axes": 1}), ((A, B), {"axes": [[1, 2], [1, 2]]}))
rows(
    "einsum",
    (("bij,bkj->bik", A, B), NONE),
    (("bij->ji", A), NONE),
    (("...ij,...ij->...", A, B), NONE),
    (("bij,jk", A, B[0].T.copy()), NONE),
)
rows("outer", ((A[0, 0], B[0, 0]), NONE))
rows("take", ((A, IDS), {"axis": 1}), ((A, IDS), NONE), ((A, np.array([-1, 0])), {"axis": 1}))
rows("take_along_axis", ((A, np.argsort(A, 1)), {"axis": 1}))
rows(
    "one_hot",
    ((IDS,), {"num_classes": 5}),
    ((IDS,), {"num_classes": 6, "axis": 1}),
    ((IDS,), {"num_classes": 5, "dtype": "int32"}),
)
rows("full_like", ((A, 2), NONE), ((INTS, 2), NONE), ((A, 1.5), {"dtype": "float16"}))

rows("leaky_relu elu celu gelu glu squareplus soft_shrink hard_shrink softmax log_softmax", ((A,), NONE))
rows("leaky_relu", ((A,), {"negative_slope": 0.1}))
rows("elu celu", ((A,), {"alpha": 0.5}))
rows("gelu", ((A,), {"approximate": False}))
rows("glu softmax log_softmax", ((A[:, :4],), {"axis": 1}))
rows("softmax log_softmax", ((A,), {"axis": (1, 2)}))
rows("threshold", ((A,), {"threshold": 0.2, "default_value": -1.0}))
rows(
    "max_pool average_pool", ((IMAGE,), {"pool_size": 2}), ((IMAGE,), {"pool_size": 3, "strides": 1, "padding": "same"})
)
rows("max_pool", ((IMAGE,), {"pool_size": 3, "strides": 2, "padding": "same"}))
rows(
    "conv",
    ((IMAGE, KERNEL), NONE),
    ((IMAGE, KERNEL), {"strides": 2, "padding": "same"}),
    ((IMAGE, KERNEL), {"dilation_rate": 2}),
)
rows("depthwise_conv", ((IMAGE, KERNEL[..., :2]), {"padding": "same"}))
rows("separable_conv", ((IMAGE, KERNEL[..., :2], numbers((1, 1, 8, 3))), {"padding": "same"}))
rows("conv_transpose", ((IMAGE, KERNEL.transpose(0, 1, 3, 2)), {"strides": 2, "padding": "same"}))
rows("binary_crossentropy", ((np.float32(BOOLS), PROBABILITIES), NONE), ((np.float32(BOOLS), A), {"from_logits": True}))
rows(
    "categorical_crossentropy",
    ((PROBABILITIES[:, ::-1].copy(), PROBABILITIES), NONE),
    ((PROBABILITIES, A), {"from_logits": True}),
)
rows(
    "sparse_categorical_crossentropy",
    ((INTS[..., 0] % 4, PROBABILITIES), NONE),
    ((INTS[..., 0] % 4, A), {"from_logits": True}),
)
rows("layer_normalization rms_normalization", ((A, A[0, 0]), {"axis": -1, "epsilon": 0.1}))
rows(
    "dot_product_attention",
    ((IMAGE, IMAGE[:, :, ::-1].copy(), IMAGE), NONE),
    ((IMAGE, IMAGE, IMAGE), {"is_causal": True}),
)

# Functions that other tests hold: those of layers of the same name, of control flow, of indexing, of a later room.
OTHERS = {
    "batch_normalization", "batch_normalization_training", "dense", "embedding", "group_normalization", "lstm", "gru",
    "simple_rnn", "getitem", "sparsemax", "mish",
}  # fmt: skip

CASES = [(name, i) for name, given in ROWS.items() for i in range(len(given))]


@pytest.mark.parametrize("name, index", CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_ops(name: str, index: int) -> None:
    compare(name, *ROWS[name][index])


def compare(name: str, given: tuple[Any, ...], options: dict[str, Any], oracle: Any = None) -> None:
    """A function eagerly, as a node of a functional model (its types) and as ONNX, against real Keras or numpy."""
    function = getattr(ops, name)
    theirs, ours = (keras.tree.map_structure(lambda x, r=r: in_room(r, x), given) for r in (real, keras))
    wanted = arrays(getattr(real.ops, name)(*theirs, **options) if oracle is None else oracle(*given, **options))
    got = arrays(function(*ours, **options))
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        check(a, b, "eager")
    inputs: list[Any] = []

    def symbol(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        # Keras knows a batch of two rows, so that shapes given as numbers are right.
        inputs.append(keras.Input(batch_shape=x.shape, dtype=x.dtype.name, name=f"x{len(inputs)}"))
        return inputs[-1]

    arguments = keras.tree.map_structure(symbol, given)
    outputs = function(*arguments, **options)
    assert [tuple(t.shape) for t in keras.tree.leaves(outputs)] == [w.shape for w in wanted]
    assert [t.dtype for t in keras.tree.leaves(outputs)] == [w.dtype.name for w in got]
    feeds = {f"x{i}": x for i, x in enumerate(x for x in keras.tree.leaves(given) if isinstance(x, np.ndarray))}
    for a, b in zip(export_and_run(keras.Model(inputs, outputs), feeds)[0], wanted, strict=True):
        check(a, b, "ONNX")


def in_room(room: Any, x: Any) -> Any:
    """Arrays as tensors, which functions such as stop_gradient ask for; numbers as they are."""
    return room.ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x


def check(got: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """Values, shape and dtype; 64-bit results may differ in width, since real Keras narrows some and not others."""
    if {got.dtype.itemsize, wanted.dtype.itemsize} == {4, 8}:
        wanted = wanted.astype(got.dtype)
    close(got, wanted, 2e-5, what=what)


def test_every_function_has_a_row() -> None:
    from tests.keras import test_ops_more as more
    from tests.keras import test_ops_signal as signal

    known = {n for n, f in vars(ops).items() if inspect.isfunction(f) and hasattr(f, "__wrapped__")}
    tested = set(ROWS) | OTHERS | LATER | set(more.ROWS) | more.OTHERS
    tested |= set(signal.ROWS) | signal.OTHERS
    assert known <= tested, sorted(known - tested)


# Functions whose tests stand beside those of the losses and layers that need them.
LATER = {"ctc_loss", "ctc_decode", "scatter", "segment_sum"}


NEW: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("zeros", ((2, 3),), {}), ("ones", ((2, 3),), {"dtype": "int32"}), ("full", ((2, 3), 1.5), {}), ("full", ((2,), 3), {}),
    ("arange", (5,), {}), ("arange", (1, 7, 2), {}), ("arange", (0.0, 1.0, 0.25), {}), ("eye", (3,), {}),
    ("eye", (3, 4), {"k": 1}), ("linspace", (0.0, 1.0), {"num": 5}), ("identity", (3,), {}),
    ("convert_to_tensor", (3.0,), {}), ("convert_to_tensor", ([1, 2],), {}), ("convert_to_tensor", ([True],), {}),
]  # fmt: skip


@pytest.mark.parametrize("name, args, options", NEW, ids=[str(i) for i in range(len(NEW))])
def test_new_arrays(name: str, args: Any, options: Any) -> None:
    if not hasattr(ops, name):
        pytest.skip(f"keras.ops.{name} is not here yet")
    for a, b in zip(
        arrays(getattr(ops, name)(*args, **options)), arrays(getattr(real.ops, name)(*args, **options)), strict=True
    ):
        close(a, b)


REFUSED: list[tuple[Any, str]] = [
    (lambda ops, x: ops.reshape(x, (3, -1)), "reshape|shape"), (lambda ops, x: ops.matmul(x, x), "mat|size|dim|shape"),
    (lambda ops, x: ops.add(x, ops.ones((3,))), "add|size|broadcast|dim"), (lambda ops, x: ops.squeeze(x, 0), "squeeze|axis|dim"),
    (lambda ops, x: ops.concatenate([x, ops.ones((2, 3, 3))], axis=0), "."), (lambda ops, x: ops.mean(x, axis=5), "axis|dim"),
    (lambda ops, x: ops.transpose(x, (0, 1)), "."), (lambda ops, x: ops.split(x, 3, axis=1), "split|div"),
]  # fmt: skip


@pytest.mark.parametrize("call, words", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_wrong_shapes_are_refused_by_name(call: Any, words: str) -> None:
    """In a functional model, where nothing has run yet, the same as eagerly."""
    for x in (numbers((2, 5, 4)), keras.Input(batch_shape=(2, 5, 4))):
        with pytest.raises((ValueError, IndexError, RuntimeError), match=f"(?i){words}"):
            call(ops, x)

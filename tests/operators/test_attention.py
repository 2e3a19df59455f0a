"""Attention against the formula in double precision, and real Keras's dot_product_attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.errors import InferError
from kcompile.ir import Type
from kcompile.ir.types import f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.attention import Attention, masked_score
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op, graph_of

OPSETS = (17, 20, 23)
NAMED = {(0, 0): "N", (1, 0): "N", (2, 0): "N", (0, 2): "T", (1, 2): "S", (2, 2): "S"}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def mask_of(kind: str, heads: int, queries: int, keys: int, batch: int = 2) -> np.ndarray | None:
    """A mask; in the bool ones, query 1 of sample 0 sees nothing."""
    wide = {
        "full": (batch, heads, queries, keys), "shared": (batch, 1, queries, keys), "padding": (batch, 1, 1, keys),
        "matrix": (queries, keys), "vector": (keys,), "added": (batch, heads, queries, keys),
        "bias": (heads, queries, keys),
    }  # fmt: skip
    if kind == "none":
        return None
    if kind in ("added", "bias"):
        return random(*wide[kind])
    mask = np.random.default_rng(0).random(wide[kind]) > 0.4
    if kind in ("full", "shared"):
        mask[0, :, min(1, queries - 1)] = False
    return mask


def attended(op: Attention, q, k, v, mask) -> torch.Tensor:
    """The definition; in double precision for numpy operands."""
    q, k, v = (torch.as_tensor(x) for x in (q, k, v))
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if op.scale is None else op.scale)
    if op.softcap is not None:
        scores = op.softcap * torch.tanh(scores / op.softcap)
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool)
    seen = seen.tril() if op.causal else seen
    if mask is not None:
        mask = torch.as_tensor(mask)
        seen, scores = (seen & mask, scores) if mask.dtype == torch.bool else (seen, scores + mask)
    return (scores + torch.where(seen, 0.0, -1e30).to(scores.dtype)).softmax(-1) @ v


KINDS = ["none", "full", "shared", "padding", "matrix", "vector", "added", "bias"]


OPS = [Attention(), Attention(0.3, causal=True), Attention(softcap=2.0), Attention(causal=True, softcap=2.0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", OPS, ids=repr)
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize(("queries", "keys"), [(3, 5), (5, 3), (1, 1)])
def test_values(kind, op, groups, queries, keys):
    q, k, v = random(2, 4, queries, 6), random(2, groups, keys, 6), random(2, groups, keys, 7)
    mask = mask_of(kind, 4, queries, keys)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    expected = attended(op, *wide, mask).numpy().astype(np.float32)
    dims = dict(NAMED)
    if mask is not None and mask.ndim >= 2 and kind != "padding":
        dims |= {(3, mask.ndim - 2): "T", (3, mask.ndim - 1): "S"}
    for symbols in ({(0, 0): "N", (1, 0): "N", (2, 0): "N"}, dims):
        check_op(op, q, k, v, mask, expected=expected, dims=symbols, opsets=OPSETS)


def test_a_large_causal_mask_is_computed_from_positions():
    shape = (1, 1, 300, 2)
    q, k, v = random(*shape), random(*shape), random(*shape)
    check_op(Attention(causal=True), q, k, v, expected=attended(Attention(causal=True), q, k, v, None).numpy())
    model = to_onnx(graph_of(Attention(causal=True), *[Type(f32, shape)] * 3))
    assert max(np.prod(t.dims) for t in model.graph.initializer) == 300


@pytest.mark.parametrize("kind", ["none", "full", "shared", "padding"])
@pytest.mark.parametrize("causal", [False, True])
def test_as_keras(kind, causal):
    q, k, v = random(2, 4, 3, 6), random(2, 4, 5, 6), random(2, 4, 5, 6)
    mask = mask_of(kind, 4, 3, 5)
    moved = (x.swapaxes(1, 2) for x in (q, k, v))
    expected = arrays(keras.ops.dot_product_attention(*moved, mask=mask, is_causal=causal))[0].swapaxes(1, 2)
    check_op(Attention(causal=causal), q, k, v, mask, expected=expected)


def test_a_query_that_sees_nothing_attends_evenly():
    q, k, v = random(1, 1, 2, 4), random(1, 1, 3, 4) * 50, random(1, 1, 3, 4)
    mask = np.array([[False, False, False], [True, False, False]])
    expected = np.stack([v[0, 0].mean(0), v[0, 0, 0]])[None, None]
    check_op(Attention(), q, k, v, mask, expected=expected, opsets=OPSETS)


def test_no_samples():
    # Not at opset 23: ONNX Runtime's Attention refuses an empty batch.
    dims = {(i, 0): "N" for i in range(3)}
    check_op(Attention(), *(random(0, 2, 3, 4) for _ in range(3)), None, dims=dims, opsets=(17, 20))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    q, k, v = (random(2, 2, 3, 4).astype(dtype) for _ in range(3))
    # Half precision has 1e-3 between neighbours.
    rtol = 4e-3 if dtype == "float16" else 1e-12
    check_op(Attention(), q, k, v, mask_of("matrix", 2, 3, 3), opsets=OPSETS, rtol=rtol)


def test_masked_scores_are_finite_in_every_dtype():
    from kcompile.ir.types import bf16, f16, f32, f64

    for dtype in (bf16, f16, f32, f64):
        assert np.isfinite(np.asarray(masked_score(dtype)).astype(dtype.numpy).astype(np.float64))


@pytest.mark.parametrize("kind", ["none", "shared", "added"])
@pytest.mark.parametrize("op", [Attention(), Attention(causal=True), Attention(softcap=2.0)], ids=repr)
@pytest.mark.parametrize("groups", [4, 2])
def test_gradients(kind, op, groups):
    mask = mask_of(kind, 4, 3, 5)
    given = [random(2, 4, 3, 6), random(2, groups, 5, 6), random(2, groups, 5, 7)] + ([] if mask is None else [mask])
    check_gradients(op, lambda q, k, v, m=None: attended(op, q, k, v, m), *given)


@pytest.mark.parametrize(
    ("shapes", "mask", "message"),
    [
        ([(2, 3, 4), (2, 3, 4), (2, 3, 4)], None, "q must be \\[batch"),
        ([(2, 3, 4, 5), (2, 2, 4, 5), (2, 2, 4, 5)], None, "multiple"),
        ([(2, 3, 4, 5), (2, 3, 4, 6), (2, 3, 4, 5)], None, "depth of q and k"),
        ([(2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 3, 5)], None, "length of k and v"),
        ([(2, 3, 4, 5)] * 3, np.ones((4, 4), np.int32), "mask must be bool"),
        ([(2, 3, 4, 5)] * 3, np.ones((3, 4), bool), "broadcast"),
    ],
)
def test_refusals(shapes, mask, message):
    with pytest.raises(InferError, match=message):
        check_op(Attention(), *(random(*s) for s in shapes), mask)

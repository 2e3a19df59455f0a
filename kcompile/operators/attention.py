"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kcompile.ir import DType, Op, Type
from kcompile.ir.shapes import broadcast, same_dim

LARGEST_MASK = 1 << 16  # elements: a larger causal mask is computed from the positions


def masked_score(dtype: DType) -> float:
    """What takes the place of a masked score: so low that it vanishes beside any other, yet finite."""
    limits = {"f16": 65504.0, "f64": float(np.finfo(np.float64).max)}
    return -0.7 * limits.get(dtype.name, float(np.finfo(np.float32).max))


class Attention(Op, name="attention"):
    """softmax(scale * q k^T + mask) v for q [N, H, T, D], k [N, G, S, D], v [N, G, S, E]; [N, H, T, E] comes out.

    H is a multiple of G: heads share keys in groups. ``scale`` None is 1 / sqrt(D). The mask
    broadcasts to [N, H, T, S]: bool (True: attend) or of q's dtype, then added. ``causal`` lets
    query i see keys 0 to i. ``softcap`` c turns scores s into c tanh(s / c) before masking. A query
    that may attend to nothing attends to all keys evenly, as in Keras; in float16 torch computes it
    as if unmasked, since no float16 is low enough (Vaswani et al., 2017). ONNX Attention since opset 23,
    MultiHeadAttention where the target has it.
    """

    scale: float | None = None
    causal: bool = False
    softcap: float | None = None

    def infer(self, q: Type, k: Type, v: Type, mask: Type | None = None) -> Type:
        self.require(q.dtype.is_float, f"q must be a float tensor, got {q}")
        for name, type in (("q", q), ("k", k), ("v", v)):
            fits = type.rank == 4 and type.dtype is q.dtype
            self.require(fits, f"{name} must be [batch, heads, length, depth] of q's dtype, got {type}")
        same_dim(q.shape[0], k.shape[0], "attention, batch of q and k")
        same_dim(k.shape[0], v.shape[0], "attention, batch of k and v")
        same_dim(q.shape[3], k.shape[3], "attention, depth of q and k")
        same_dim(k.shape[2], v.shape[2], "attention, length of k and v")
        heads, groups = q.shape[1], k.shape[1]
        same_dim(groups, v.shape[1], "attention, heads of k and v")
        fits = heads == groups or (isinstance(heads, int) and isinstance(groups, int) and heads % groups == 0)
        self.require(fits, f"the heads of q, {heads}, must be a multiple of those of k, {groups}")
        if mask is not None:
            kind = mask.dtype.is_bool or mask.dtype is q.dtype
            self.require(kind, f"mask must be bool or of q's dtype, got {mask}")
            scores = (*q.shape[:3], k.shape[2])
            self.require(mask.rank <= 4, f"mask {mask} must broadcast to {list(scores)}")
            broadcast(scores, mask.shape)
        return q.with_shape((*q.shape[:3], v.shape[3]))

    def _scale(self, q: Type) -> float:
        depth = q.shape[3]
        self.require(self.scale is not None or isinstance(depth, int), f"a symbolic depth {depth} needs a scale")
        return self.scale if self.scale is not None else 1 / math.sqrt(max(int(depth), 1))

    # ---- torch

    def torch(self, t: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        types = t.inputs
        grouped = types[0].shape[1] != types[1].shape[1]
        scale = self._scale(types[0])
        if self.softcap is not None:
            return self._torch_capped(t, q, k, v, mask, scale, grouped)
        if mask is None and self.causal:
            return t.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=scale, enable_gqa=grouped
            )
        added = None if mask is None else self._torch_mask(t, q, k, mask)
        return t.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)

    def _torch_allowed(self, t: Any, q: Any, k: Any) -> Any:
        """bool [T, S]: what a causal query sees."""
        return t.ones((q.size(2), k.size(2)), dtype=t.bool, device=q.device).tril()

    def _torch_mask(self, t: Any, q: Any, k: Any, mask: Any) -> Any:
        """The mask, and causality with it, as scores to add."""
        low = t.scalar_tensor(masked_score(t.inputs[0].dtype), dtype=q.dtype, device=q.device)
        if t.inputs[3].dtype.is_bool:
            seen = mask & self._torch_allowed(t, q, k) if self.causal else mask
            added = t.where(seen, t.zeros_like(low), low)
        else:
            added = t.where(self._torch_allowed(t, q, k), mask, low) if self.causal else mask
        # The fused kernels want four axes.
        return added[(None,) * (4 - max(t.inputs[3].rank, 2 if self.causal else 0))]

    def _torch_capped(self, t: Any, q: Any, k: Any, v: Any, mask: Any, scale: float, grouped: bool) -> Any:
        if grouped:
            times = t.inputs[0].shape[1] // t.inputs[1].shape[1]
            k, v = t.repeat_interleave(k, times, 1), t.repeat_interleave(v, times, 1)
        cap: float = self.softcap  # type: ignore[assignment]
        scores = t.tanh(t.matmul(q * (scale / cap), k.transpose(2, 3))) * cap
        if mask is not None:
            scores = scores + self._torch_mask(t, q, k, mask)
        elif self.causal:
            scores = t.where(self._torch_allowed(t, q, k), scores, masked_score(t.inputs[0].dtype))
        return t.matmul(t.softmax(scores, -1), v)

    # ---- ONNX

    def onnx(self, o: Any, q: str, k: str, v: str, mask: str | None = None) -> str:
        types = o.inputs
        scale = self._scale(types[0])
        # ONNX Runtime's operator has no double kernel, and repeats no mask along queries or keys.
        whole = mask is None or types[3].shape[-2:] == (types[0].shape[2], types[1].shape[2])
        if o.has("MultiHeadAttention") and self._fits_vendor(types):
            return self._onnx_vendor(o, q, k, v, mask, scale)
        if o.has("Attention") and types[0].dtype.name != "f64" and whole:
            # A bool mask is added as scores: the operator gives zeros for a query that sees nothing.
            added = None if mask is None else o.unsqueeze(self._onnx_mask(o, mask), range(4 - types[3].rank))
            return o.Attention(
                q,
                k,
                v,
                added,
                scale=scale,
                is_causal=1 if self.causal and mask is None else None,
                softcap=None if self.softcap is None else float(self.softcap),
            )
        return self._onnx_primitives(o, q, k, v, mask, scale)

    def _fits_vendor(self, types: Any) -> bool:
        """Whether ONNX Runtime's MultiHeadAttention says it: no groups, no soft cap, float16 or float32."""
        alike = types[0].shape[1] == types[1].shape[1] and isinstance(types[0].shape[1], int)
        return alike and self.softcap is None and types[0].dtype.name in ("f16", "f32")

    def _onnx_vendor(self, o: Any, q: str, k: str, v: str, mask: str | None, scale: float) -> str:
        (batch, heads, queries, depth), (*_, keys, _), (*_, width) = (x.shape for x in o.inputs[:3])
        # It wants [batch, length, heads * depth]: the transposes before and behind cancel with the graph's own.
        rows = (
            o.Reshape(o.Transpose(x, perm=[0, 2, 1, 3]), o.shape([batch, length, heads * size]))
            for x, length, size in ((q, queries, depth), (k, keys, depth), (v, keys, width))
        )
        added = None
        if mask is not None:
            added = o.unsqueeze(self._onnx_mask(o, mask), range(4 - o.inputs[3].rank))
            if o.inputs[3].shape[-2:] != (queries, keys):  # it repeats no mask along queries or keys
                added = o.Expand(added, o.shape([1, 1, queries, keys]))
        hidden = self.causal and mask is None
        y = o.vendor(
            "MultiHeadAttention",
            *rows,
            None,
            None,
            added,
            num_heads=heads,
            scale=float(scale),
            unidirectional=1 if hidden else None,
        )
        return o.Transpose(o.Reshape(y, o.shape([batch, queries, heads, width])), perm=[0, 2, 1, 3])

    def _onnx_primitives(self, o: Any, q: str, k: str, v: str, mask: str | None, scale: float) -> str:
        (batch, heads, queries, depth), (_, groups, keys, _), (*_, width) = (x.shape for x in o.inputs[:3])
        dtype, times = o.inputs[0].dtype, 1
        factor = scale / (self.softcap or 1.0)
        q = q if factor == 1 else o.Mul(q, o.like(factor, dtype))
        if heads != groups:
            # The heads of a group stand below each other: one matrix product for all of them.
            times = heads // groups
            q = o.Reshape(q, o.shape([batch, groups, times * queries, depth]))
        scores = o.MatMul(q, o.Transpose(k, perm=[0, 1, 3, 2]))
        if times != 1:
            scores = o.Reshape(scores, o.shape([batch, heads, queries, keys]))
        if self.softcap is not None:
            scores = o.Mul(o.Tanh(scores), o.like(self.softcap, dtype))
        if mask is not None or self.causal:
            scores = self._onnx_masked(o, scores, mask)
        weights = o.Softmax(scores, axis=-1)
        if times != 1:
            weights = o.Reshape(weights, o.shape([batch, groups, times * queries, keys]))
        y = o.MatMul(weights, v)
        return y if times == 1 else o.Reshape(y, o.shape([batch, heads, queries, width]))

    def _onnx_masked(self, o: Any, scores: str, mask: str | None) -> str:
        dtype = o.inputs[0].dtype
        if dtype.name in ("f32", "f64") or (mask is not None and not o.inputs[3].dtype.is_bool):
            # Beside a masked score no score of these types has a digit left, so that adding is
            # choosing; it is the faster kernel, and layers with one mask share what they add.
            return o.Add(scores, self._onnx_mask(o, mask))
        return o.Where(self._onnx_seen(o, mask), scores, o.like(masked_score(dtype), dtype))

    def _onnx_seen(self, o: Any, mask: str | None) -> str | None:
        """The bool mask with causality, or None where every query sees every key."""
        if not self.causal:
            return mask
        queries, keys = o.inputs[0].shape[2], o.inputs[1].shape[2]
        if isinstance(queries, int) and isinstance(keys, int):
            if queries * keys <= LARGEST_MASK:
                allowed = o.array(np.tri(queries, keys, dtype=bool), "causal")
            else:
                allowed = o.LessOrEqual(o.ints(range(keys)), o.array(np.arange(queries)[:, None], "rows"))
        else:
            zero, one = o.array(np.int64(0)), o.array(np.int64(1))
            rows, columns = (o.Range(zero, o.squeeze(o.size(size), [0]), one) for size in (queries, keys))
            allowed = o.LessOrEqual(columns, o.unsqueeze(rows, [1]))
        return allowed if mask is None else o.And(mask, allowed)

    def _onnx_mask(self, o: Any, mask: str | None) -> str:
        """The mask, and causality with it, as scores to add."""
        dtype = o.inputs[0].dtype
        low = o.like(masked_score(dtype), dtype)
        if mask is None or o.inputs[3].dtype.is_bool:
            return o.Where(self._onnx_seen(o, mask), o.like(0, dtype), low)
        return o.Where(self._onnx_seen(o, None), mask, low) if self.causal else mask

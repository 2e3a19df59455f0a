"""What multi-head attention layers share: projections, gate, masks, attention over any axes."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from kcompile.keras import initializers, ops, random, regularizers
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.einsum import EinsumDense
from kcompile.keras.layers.parameters import get_parameters, serialized
from kcompile.keras.random_state import SeedGenerator
from kcompile.keras.saving.serialization import serialize_keras_object


class ProjectedAttention(Layer):
    """Attention between projections of query, key and value; what the two multi-head layers share.

    ``use_gate`` multiplies what is attended to by a sigmoid projection of the query (Qiu et al. 2025);
    ``sliding_window`` w lets a query see the keys less than w places away. ``flash_attention`` chooses
    a kernel in Keras; here torch chooses, so it only refuses what Keras refuses beside it.
    """

    _gate_dense: EinsumDense
    # Axes of the query that are attended over, of [N, axes ..., features].
    attention_axes: tuple[int, ...] | None = (1,)

    def __init__(
        self,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        use_gate: bool,
        seed: int | None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if sliding_window is not None and (not isinstance(sliding_window, int) or sliding_window <= 0):
            raise ValueError(
                f"`sliding_window` must be `None` or a positive integer. Received: sliding_window={sliding_window}"
            )
        if flash_attention and dropout > 0:
            raise ValueError(
                "Dropout is not supported when flash attention is enabled. Please set dropout to 0.0 to use flash "
                "attention."
            )
        get_parameters(self, locals(), "kernel", "bias")
        self._activity_regularizer = regularizers.get(activity_regularizer)
        self.use_bias, self.dropout, self.seed = use_bias, float(dropout), seed
        self.use_gate, self.sliding_window, self.flash_attention = use_gate, sliding_window, flash_attention
        if self.dropout > 0:
            self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True

    # ---- projections

    def _projections(self) -> tuple[EinsumDense, EinsumDense, EinsumDense, EinsumDense]:
        """Those of query, key, value and output: attributes whose names stand in weights files."""
        raise NotImplementedError

    def _projection(
        self, equation: str, output_shape: Any, bias_axes: str, name: str, activation: str | None = None
    ) -> EinsumDense:
        """A dense layer with this layer's initialisers; copies, so that no two draw the same numbers."""
        made = {}
        for weight in ("kernel", "bias"):
            start = vars(self)[f"{weight}_initializer"]
            fresh = isinstance(start, initializers.RandomInitializer) and start._init_seed is None
            made[f"{weight}_initializer"] = type(start).from_config(start.get_config()) if fresh else start
            for kind in ("regularizer", "constraint"):
                made[f"{weight}_{kind}"] = vars(self)[f"{weight}_{kind}"]
        projection = EinsumDense(
            equation,
            output_shape=output_shape,
            activation=activation,
            bias_axes=bias_axes if self.use_bias else None,
            activity_regularizer=self._activity_regularizer,
            name=name,
            dtype=self.dtype_policy,
            **made,
        )
        projection.supports_masking = True  # this layer has read the masks: none is lost, nothing to warn of
        return projection

    def _into_heads(self, shape: Any, heads: int, size: int, name: str, activation: str | None = None) -> EinsumDense:
        """A built projection of [..., features] to [..., heads, size]."""
        *outer, features, head, depth = list(string.ascii_lowercase[: len(shape) + 2])
        rest = "".join(outer)
        return self._built(
            self._projection(
                f"{rest}{features},{features}{head}{depth}->{rest}{head}{depth}",
                (*[None] * (len(shape) - 2), heads, size),
                head + depth,
                name,
                activation,
            ),
            shape,
        )

    def _out_of_heads(self, shape: Any, heads: int, size: int, ends: Sequence[int]) -> EinsumDense:
        """A built projection of [..., heads, size] to [..., *ends]; ``shape`` is the query's."""
        letters = string.ascii_lowercase
        count = len(shape) - 1
        rest, inner, last = letters[:count], letters[count : count + 2], letters[count + 2 : count + 2 + len(ends)]
        made = self._projection(
            f"{rest}{inner},{inner}{last}->{rest}{last}", (*[None] * (count - 1), *ends), last, "attention_output"
        )
        return self._built(made, (*shape[:-1], heads, size))

    def _built(self, layer: EinsumDense, shape: Any) -> EinsumDense:
        layer.build(shape)
        return layer

    # ---- the call

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        if self.flash_attention and return_attention_scores:
            raise ValueError(
                f"layer {self.name!r}: Returning attention scores is not supported when flash attention is enabled."
            )
        key = value if key is None else key
        masks = {
            "query_mask": query_mask,
            "value_mask": value_mask,
            "key_mask": key_mask,
            "attention_mask": attention_mask,
        }
        # A causal mask alone stays an attribute of the operator: no T x S constant, and torch's fast kernel.
        plain = use_causal_mask and self.sliding_window is None and all(m is None for m in masks.values())
        plain = plain and not return_attention_scores and not (training and self.dropout)
        plain = plain and self._places(query) == self._places(value)
        mask = self._mask(query, value, masks, use_causal_mask and not plain)
        into_query, into_key, into_value, out = self._projections()
        q, k, v = into_query(query), into_key(key), into_value(value)
        output, scores = self._attend_over_axes(q, k, v, mask, training, return_attention_scores, causal=plain)
        if self.use_gate:
            output = ops.multiply(output, self._gate_dense(query))
        output = out(output)
        return (output, scores) if return_attention_scores else output

    def _places(self, x: Any) -> Any:
        """The size of the one axis that is attended over, on which an order of places makes sense."""
        axes = self.attention_axes or (1,)
        if len(axes) > 1:
            raise ValueError(
                f"layer {self.name!r}: use_causal_mask and sliding_window need one attention axis, there are {axes}; "
                "give an attention_mask"
            )
        return ops.shape(x)[axes[0]]

    def _mask(self, query: Any, value: Any, masks: dict[str, Any], causal: bool) -> Any:
        """The masks of query [B, T], value and key [B, S] and attention [B, T, S] as one, or None."""
        joined = masks["attention_mask"]
        joined = None if joined is None else ops.cast(joined, "bool")
        parts = []
        if masks["query_mask"] is not None:
            parts.append(ops.expand_dims(ops.cast(masks["query_mask"], "bool"), -1))
        for name in ("value_mask", "key_mask"):
            if masks[name] is not None:
                parts.append(ops.expand_dims(ops.cast(masks[name], "bool"), -2))
        if causal or self.sliding_window is not None:
            rows = ops.expand_dims(ops.arange(self._places(query)), 1)
            columns = ops.expand_dims(ops.arange(self._places(value)), 0)
            if causal:
                parts.append(ops.expand_dims(ops.greater_equal(rows, columns), 0))
            if self.sliding_window is not None:
                near = ops.less(ops.absolute(ops.subtract(rows, columns)), self.sliding_window)
                parts.append(ops.expand_dims(near, 0))
        for part in parts:
            joined = part if joined is None else ops.logical_and(joined, part)
        return joined

    def _attend_over_axes(
        self, query: Any, key: Any, value: Any, mask: Any, training: bool | None, scores: bool, causal: bool
    ) -> tuple[Any, Any]:
        """`_attend` for tensors [B, axes ..., heads, D]: axes attended over become one, all others the batch.

        Scores are [B, other axes ..., heads, *query places, *key places].
        """
        axes, rank = self.attention_axes or (1,), ops.ndim(query)
        if mask is not None:
            places = -2 * len(axes) - 1
            while ops.ndim(mask) < rank - 1 + len(axes):
                mask = ops.expand_dims(mask, places)
        if rank == 4:
            return self._attend(query, key, value, mask, training, scores, causal)
        others = [a for a in range(rank - 2) if a not in axes]
        order = [*others, *axes, rank - 2, rank - 1]
        outer, rows, columns = (
            tuple(ops.shape(x)[a] for a in which) for x, which in ((query, others), (query, axes), (key, axes))
        )
        if mask is not None:
            heads = ops.shape(mask)[len(others)]
            mask = ops.broadcast_to(mask, (*outer, heads, *rows, *columns))
            mask = ops.reshape(mask, (math.prod(outer), heads, math.prod(rows), math.prod(columns)))
        q, k, v = (
            ops.reshape(ops.transpose(x, order), (math.prod(outer), math.prod(places), *ops.shape(x)[-2:]))
            for x, places in ((query, rows), (key, columns), (value, columns))
        )
        output, weights = self._attend(q, k, v, mask, training, scores, causal)
        output = ops.reshape(output, (*outer, *rows, *ops.shape(output)[-2:]))
        output = ops.transpose(output, [order.index(a) for a in range(rank)])
        if weights is not None:
            weights = ops.reshape(weights, (*outer, ops.shape(weights)[1], *rows, *columns))
        return output, weights

    def _attend(
        self, query: Any, key: Any, value: Any, mask: Any, training: bool | None, scores: bool, causal: bool = False
    ) -> tuple[Any, Any]:
        """(output [B, T, heads, D], scores [B, heads, T, S] or None) of projected tensors [B, T, heads, D]."""
        if not scores and not (training and self.dropout):
            return ops.dot_product_attention(query, key, value, mask=mask, is_causal=causal), None
        groups = ops.shape(query)[2] // ops.shape(key)[2]
        if groups > 1:
            key, value = ops.repeat(key, groups, 2), ops.repeat(value, groups, 2)
        query = ops.multiply(query, float(ops.shape(query)[-1]) ** -0.5)
        weights = ops.einsum("btnh,bsnh->bnts", query, key)
        if mask is not None:
            weights = ops.where(mask, weights, -3e4 if str(weights.dtype).endswith("float16") else -1e9)
        weights = ops.softmax(weights, -1)
        if mask is not None:
            # A query that sees nothing gets nothing here, as in Keras; the fused operator gives it all keys evenly.
            weights = ops.where(mask, weights, 0.0)
        used = random.dropout(weights, self.dropout, seed=self.seed_generator) if training and self.dropout else weights
        return ops.einsum("bnts,bsnh->btnh", used, value), weights

    def get_config(self) -> dict[str, Any]:
        own = ("use_bias", "dropout", "use_gate", "sliding_window", "seed")
        return {
            **super().get_config(),
            **{n: getattr(self, n) for n in own},
            **serialized(self, "kernel", "bias"),
            "activity_regularizer": serialize_keras_object(self._activity_regularizer),
        }

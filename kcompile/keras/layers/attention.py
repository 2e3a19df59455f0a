"""Attention layers."""

from __future__ import annotations

from typing import Any

from kcompile.keras import initializers, ops, random
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.einsum import EinsumDense
from kcompile.keras.layers.parameters import get_parameters, serialized
from kcompile.keras.random_state import SeedGenerator
from kcompile.tracing.scope import name_scope


class _Projected(Layer):
    """Attention between projections of query, key and value; what the two multi-head layers share."""

    _query_dense: EinsumDense
    _key_dense: EinsumDense
    _value_dense: EinsumDense
    _output_dense: EinsumDense

    def __init__(
        self,
        use_bias: bool,
        dropout: float,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        seed: int | None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        get_parameters(self, locals(), "kernel", "bias")
        self.use_bias, self.dropout, self.seed = use_bias, float(dropout), seed
        if self.dropout > 0:
            self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True

    def _projection(self, equation: str, output_shape: Any, bias_axes: str, name: str) -> EinsumDense:
        """A dense layer with this layer's initialisers; copies, so that no two draw the same numbers."""
        made = {}
        for weight in ("kernel", "bias"):
            start = vars(self)[f"{weight}_initializer"]
            fresh = isinstance(start, initializers.RandomInitializer) and start._init_seed is None
            made[f"{weight}_initializer"] = type(start).from_config(start.get_config()) if fresh else start
            for kind in ("regularizer", "constraint"):
                made[f"{weight}_{kind}"] = vars(self)[f"{weight}_{kind}"]
        return EinsumDense(
            equation,
            output_shape=output_shape,
            bias_axes=bias_axes if self.use_bias else None,
            name=name,
            dtype=self.dtype_policy,
            **made,
        )

    def _build_projections(self, *shapes: Any) -> None:
        """Build query, key, value and output projections for inputs of these shapes."""
        layers = (self._query_dense, self._key_dense, self._value_dense, self._output_dense)
        for layer, shape in zip(layers, shapes, strict=True):
            with name_scope(layer.name):
                layer.build(shape)
        self.built = True

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
        key = value if key is None else key
        masks = {
            "query_mask": query_mask,
            "value_mask": value_mask,
            "key_mask": key_mask,
            "attention_mask": attention_mask,
        }
        # A causal mask alone stays an attribute of the operator: no T x S constant, and torch's fast kernel.
        only_causal = use_causal_mask and all(m is None for m in masks.values())
        plain = only_causal and not return_attention_scores and not (training and self.dropout)
        plain = plain and ops.shape(query)[1] == ops.shape(value)[1]
        mask = self._mask(query, value, masks, use_causal_mask and not plain)
        q, k, v = self._query_dense(query), self._key_dense(key), self._value_dense(value)
        output, scores = self._attend(q, k, v, mask, training, return_attention_scores, causal=plain)
        output = self._output_dense(output)
        return (output, scores) if return_attention_scores else output

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
        if causal:
            rows = ops.expand_dims(ops.arange(ops.shape(query)[1]), 1)
            columns = ops.expand_dims(ops.arange(ops.shape(value)[1]), 0)
            parts.append(ops.expand_dims(ops.greater_equal(rows, columns), 0))
        for part in parts:
            joined = part if joined is None else ops.logical_and(joined, part)
        return joined

    def _attend(
        self, query: Any, key: Any, value: Any, mask: Any, training: bool | None, scores: bool, causal: bool = False
    ) -> tuple[Any, Any]:
        """(output [B, T, heads, D], scores [B, heads, T, S] or None) of projected tensors [B, T, heads, D]."""
        if mask is not None:
            while ops.ndim(mask) < 4:
                mask = ops.expand_dims(mask, 1)
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
        used = random.dropout(weights, self.dropout, seed=self.seed_generator) if training and self.dropout else weights
        return ops.einsum("bnts,bsnh->btnh", used, value), weights

    def compute_mask(
        self, query: Any, value: Any = None, query_mask: Any = None, value_mask: Any = None, key_mask: Any = None
    ) -> Any:
        return query_mask

    def _common_config(self) -> dict[str, Any]:
        return {
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            **serialized(self, "kernel", "bias"),
            "seed": self.seed,
        }


class MultiHeadAttention(_Projected):
    """Attention in ``num_heads`` projections of query, key and value (Vaswani et al. 2017)."""

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        sliding_window: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            use_bias,
            dropout,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            seed,
            **kwargs,
        )
        axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        unsupported = {"use_gate": use_gate, "sliding_window": sliding_window is not None}
        unsupported["attention_axes other than 1"] = axes is not None and tuple(axes) != (1,)
        for argument, given in unsupported.items():
            if given:
                raise ValueError(f"layer {self.name!r}: MultiHeadAttention has no {argument} yet; leave it out")
        self.num_heads, self.key_dim = num_heads, key_dim
        self.value_dim = value_dim or key_dim
        self.attention_axes = axes
        self.flash_attention = flash_attention
        self._output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        heads, size, wide = self.num_heads, self.key_dim, self.value_dim
        self.attention_axes = (1,)
        key_shape = value_shape if key_shape is None else key_shape
        self._query_dense = self._projection("abc,cde->abde", (None, heads, size), "de", "query")
        self._key_dense = self._projection("abc,cde->abde", (None, heads, size), "de", "key")
        self._value_dense = self._projection("abc,cde->abde", (None, heads, wide), "de", "value")
        ends = tuple(self._output_shape) if self._output_shape else (query_shape[-1],)
        letters = "efgh"[: len(ends)]
        self._output_dense = self._projection(
            f"abcd,cd{letters}->ab{letters}", (None, *ends), letters, "attention_output"
        )
        shapes = (query_shape, key_shape, value_shape, (*query_shape[:-1], heads, wide))
        self._build_projections(*shapes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "use_gate": False,
            "output_shape": self._output_shape,
            "attention_axes": self.attention_axes,
            "sliding_window": None,
            **self._common_config(),
        }


class GroupedQueryAttention(_Projected):
    """Attention whose query heads share fewer key and value heads (Ainslie et al. 2023)."""

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        sliding_window: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            use_bias,
            dropout,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            seed,
            **kwargs,
        )
        if num_query_heads % num_key_value_heads:
            raise ValueError("`num_query_heads` must be divisible by `num_key_value_heads`.")
        if use_gate or sliding_window is not None:
            raise ValueError(f"layer {self.name!r}: use_gate and sliding_window are not supported yet; leave them out")
        self.head_dim, self.num_query_heads = head_dim, num_query_heads
        self.num_key_value_heads, self.flash_attention = num_key_value_heads, flash_attention

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        few, size = self.num_key_value_heads, self.head_dim
        self._query_dense = self._projection("bqm,muh->bquh", (None, self.num_query_heads, size), "uh", "query")
        self._key_dense = self._projection("bkm,mvh->bkvh", (None, few, size), "vh", "key")
        self._value_dense = self._projection("bkm,mvh->bkvh", (None, few, size), "vh", "value")
        self._output_dense = self._projection("bquh,uhm->bqm", (None, query_shape[-1]), "m", "attention_output")
        shapes = (query_shape, key_shape, value_shape, (*query_shape[:-1], self.num_query_heads, size))
        self._build_projections(*shapes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "use_gate": False,
            "sliding_window": None,
            **self._common_config(),
        }


GroupQueryAttention = GroupedQueryAttention

"""Multi-head attention layers: MultiHeadAttention and GroupedQueryAttention."""

from __future__ import annotations

from typing import Any

from kcompile.keras.layers.einsum import EinsumDense
from kcompile.keras.layers.projected_attention import ProjectedAttention


class MultiHeadAttention(ProjectedAttention):
    """Attention in ``num_heads`` projections of query, key and value (Vaswani et al. 2017).

    Query [B, T ..., features], key and value [B, S ..., features]; ``attention_axes`` says which of
    their axes are attended over: all but batch and features where it is None.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        for name, given in (("num_heads", num_heads), ("key_dim", key_dim), ("value_dim", value_dim)):
            if (given is None and name != "value_dim") or (given is not None and not _positive(given)):
                raise ValueError(
                    f"Received an invalid value for argument `{name}`, expected a positive integer. Received: "
                    f"{name}={given}"
                )
        if attention_axes and not isinstance(attention_axes, (int, list, tuple)):
            raise ValueError(
                f"`attention_axes` must be an int, list, or tuple. Received: attention_axes={attention_axes}"
            )
        super().__init__(
            dropout,
            use_bias,
            sliding_window,
            flash_attention,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            use_gate,
            seed,
            **kwargs,
        )
        self.num_heads, self.key_dim = num_heads, key_dim
        self.value_dim = value_dim or key_dim
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self._output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ValueError(
                "All dimensions of `value` and `key`, except the last one, must be equal. Received: "
                f"value_shape={value_shape} and key_shape={key_shape}"
            )
        heads, size, wide, rank = self.num_heads, self.key_dim, self.value_dim, len(query_shape)
        axes = range(1, rank - 1) if self.attention_axes is None else self.attention_axes
        self.attention_axes = tuple(a if a >= 0 else rank + a for a in axes)
        self.query_dense = self._into_heads(query_shape, heads, size, "query")
        self.key_dense = self._into_heads(key_shape, heads, size, "key")
        if self.use_gate:
            self._gate_dense = self._into_heads(query_shape, heads, wide, "gate", "sigmoid")
        self.value_dense = self._into_heads(value_shape, heads, wide, "value")
        ends = tuple(self._output_shape) if self._output_shape else (query_shape[-1],)
        self.output_dense = self._out_of_heads(query_shape, heads, wide, ends)
        self.built = True

    def _projections(self) -> tuple[EinsumDense, EinsumDense, EinsumDense, EinsumDense]:
        return self.query_dense, self.key_dense, self.value_dense, self.output_dense

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_shape": self._output_shape,
            "attention_axes": self.attention_axes,
        }


class GroupedQueryAttention(ProjectedAttention):
    """Attention whose query heads share fewer key and value heads (Ainslie et al. 2023)."""

    public_name = "GroupQueryAttention"

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            dropout,
            use_bias,
            sliding_window,
            flash_attention,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            use_gate,
            seed,
            **kwargs,
        )
        # As in Keras it penalises the layer's output too, which MultiHeadAttention's does not.
        self.activity_regularizer = self._activity_regularizer
        if num_query_heads % num_key_value_heads:
            raise ValueError("`num_query_heads` must be divisible by `num_key_value_heads`.")
        self.head_dim, self.num_query_heads = head_dim, num_query_heads
        self.num_key_value_heads = num_key_value_heads

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        heads, few, size = self.num_query_heads, self.num_key_value_heads, self.head_dim
        self._query_dense = self._into_heads(query_shape, heads, size, "query")
        self._key_dense = self._into_heads(key_shape, few, size, "key")
        if self.use_gate:
            self._gate_dense = self._into_heads(query_shape, heads, size, "gate", "sigmoid")
        self._value_dense = self._into_heads(value_shape, few, size, "value")
        self._output_dense = self._out_of_heads(query_shape, heads, size, (query_shape[-1],))
        self.built = True

    def _projections(self) -> tuple[EinsumDense, EinsumDense, EinsumDense, EinsumDense]:
        return self._query_dense, self._key_dense, self._value_dense, self._output_dense

    def get_config(self) -> dict[str, Any]:
        own = ("head_dim", "num_query_heads", "num_key_value_heads")
        return {**super().get_config(), **{n: getattr(self, n) for n in own}}


def _positive(number: Any) -> bool:
    return isinstance(number, int) and number > 0


GroupQueryAttention = GroupedQueryAttention

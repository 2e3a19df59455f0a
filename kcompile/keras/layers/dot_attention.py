"""Attention without projections: Attention and AdditiveAttention."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops, random
from kcompile.keras.layers.base import Layer
from kcompile.keras.random_state import SeedGenerator


class Attention(Layer):
    """Attention on [query, value] or [query, value, key], without projections (Luong et al. 2015)."""

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                f"Invalid value for argument score_mode. Expected one of {{'dot', 'concat'}}. Received: {score_mode}"
            )
        self.use_scale, self.score_mode, self.dropout, self.seed = use_scale, score_mode, dropout, seed
        if dropout > 0:
            self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        _check_inputs(type(self).__name__, input_shape)
        self.scale = self.concat_score_weight = None
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")
        self.built = True

    def _scores(self, query: Any, key: Any) -> Any:
        if self.score_mode == "dot":
            scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
            return scores if self.scale is None else ops.multiply(scores, self.scale)
        summed = ops.add(ops.expand_dims(query, -2), ops.expand_dims(key, -3))
        if self.scale is not None:
            summed = ops.multiply(self.scale, summed)
        return ops.multiply(self.concat_score_weight, ops.sum(ops.tanh(summed), axis=-1))

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value = inputs[0], inputs[1]
        key = inputs[2] if len(inputs) > 2 else value
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask, None]
        scores = self._scores(query, key)
        hidden = self._visible(scores, masks[1] if len(masks) > 1 else None, use_causal_mask)
        if hidden is not None:
            scores = ops.where(hidden, scores, ops.subtract(scores, 6.5e4 if _is_half(scores) else 1e9))
        weights = ops.softmax(scores, -1)
        if training and self.dropout > 0:
            weights = random.dropout(weights, self.dropout, seed=self.seed_generator)
        result = ops.matmul(weights, value)
        if masks[0] is not None:
            result = ops.multiply(result, ops.cast(ops.expand_dims(masks[0], -1), result.dtype))
        return (result, weights) if return_attention_scores else result

    def _visible(self, scores: Any, value_mask: Any, causal: bool) -> Any:
        """Where a query may look, or None for everywhere."""
        found = None if value_mask is None else ops.expand_dims(ops.cast(value_mask, "bool"), -2)
        if causal:
            sizes = ops.shape(scores)
            rows, columns = ops.expand_dims(ops.arange(sizes[-2]), 1), ops.expand_dims(ops.arange(sizes[-1]), 0)
            lower = ops.expand_dims(ops.greater_equal(rows, columns), 0)
            found = lower if found is None else ops.logical_and(found, lower)
        return found

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if isinstance(mask, (list, tuple)) and mask else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """Attention by tanh(query + key) (Bahdanau et al. 2015)."""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        _check_inputs(type(self).__name__, input_shape)
        self.scale = None
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")
        self.built = True

    def _scores(self, query: Any, key: Any) -> Any:
        summed = ops.tanh(ops.add(ops.expand_dims(query, -2), ops.expand_dims(key, -3)))
        return ops.sum(summed if self.scale is None else ops.multiply(self.scale, summed), axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("score_mode")
        return config


def _check_inputs(name: str, shapes: Any) -> None:
    listed = isinstance(shapes, (list, tuple)) and bool(shapes) and isinstance(shapes[0], (list, tuple))
    if not listed or len(shapes) not in (2, 3):
        raise ValueError(
            f"{name} layer must be called on a list of inputs, namely [query, value] or [query, value, key]. Received: {shapes}"
        )


def _is_half(x: Any) -> bool:
    return str(x.dtype).endswith("float16")

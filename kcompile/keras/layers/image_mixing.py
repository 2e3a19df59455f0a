"""Layers that mix the images of a batch while training."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops, random
from kcompile.keras.layers.image_base import RandomImageLayer, factor_range, per_image
from kcompile.keras.layers.image_effects import box_masks


class _Mixing(RandomImageLayer):
    """What mixing layers share: each image has a partner, and a weight [N] that its own label keeps."""

    def _partners(self, images: Any, seed: Any) -> Any:
        count = ops.shape(images)[0] if ops.ndim(images) == 4 else 1
        return random.shuffle(ops.arange(count, dtype="int64"), seed=seed)

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """Labels [N, classes] (one-hot, or any numbers) mixed as the images are."""
        if not training or transformation is None:
            return labels
        labels = ops.cast(labels, self.compute_dtype)
        weight = ops.reshape(ops.cast(transformation["mix_weight"], self.compute_dtype), (-1, 1))
        return weight * labels + (1.0 - weight) * ops.take(labels, transformation["permutation_order"], 0)


class MixUp(_Mixing):
    """While training, each image and its label mixed with another's, by a weight of Beta(alpha, alpha) (Zhang et al. 2018)."""

    def __init__(self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.alpha = alpha

    def _draw(self, images: Any, seed: Any) -> Any:
        partners = self._partners(images, seed)
        weight = random.beta(ops.shape(partners), self.alpha, self.alpha, seed=seed)
        return {"mix_weight": weight, "permutation_order": partners}

    def _transform(self, images: Any, transformation: Any) -> Any:
        weight = per_image(ops.cast(transformation["mix_weight"], self.compute_dtype))
        return weight * images + (1.0 - weight) * ops.take(images, transformation["permutation_order"], 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class CutMix(_Mixing):
    """While training, a box of each image, and that share of its label, taken from another's (Yun et al. 2019).

    The box's share is of Beta(a, a), where a is drawn from ``factor``.
    """

    def __init__(self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range(factor, (0, 1))

    def _draw(self, images: Any, seed: Any) -> Any:
        partners = self._partners(images, seed)
        alpha = random.uniform((), *self.factor, seed=seed) + 1e-6
        weight = random.beta(ops.shape(partners), alpha, alpha, seed=seed)
        side = ops.sqrt(1.0 - weight)
        masks = box_masks(self, images, seed, side, side)
        return {"permutation_order": partners, "batch_masks": masks, "mix_weight": weight}

    def _transform(self, images: Any, transformation: Any) -> Any:
        others = ops.take(images, transformation["permutation_order"], 0)
        return ops.where(transformation["batch_masks"], others, images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

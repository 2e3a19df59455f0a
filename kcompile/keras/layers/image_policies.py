"""Layers that put image layers together."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops, random
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.image_base import ImageLayer, RandomImageLayer, factor_range
from kcompile.keras.layers.image_colour import (
    AutoContrast,
    Equalization,
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    Solarization,
)
from kcompile.keras.layers.image_effects import RandomSharpness
from kcompile.keras.layers.image_geometry import RandomRotation, RandomShear, RandomTranslation
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object


class RandomColorJitter(RandomImageLayer):
    """While training, random brightness, contrast, saturation and hue, one after the other; None leaves one out."""

    def __init__(
        self,
        value_range: Any = (0, 255),
        brightness_factor: Any = None,
        contrast_factor: Any = None,
        saturation_factor: Any = None,
        hue_factor: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = value_range
        self.brightness_factor, self.contrast_factor = brightness_factor, contrast_factor
        self.saturation_factor, self.hue_factor = saturation_factor, hue_factor
        parts = (
            (RandomBrightness, brightness_factor),
            (RandomContrast, contrast_factor),
            (RandomSaturation, saturation_factor),
            (RandomHue, hue_factor),
        )
        options = {"value_range": value_range, "data_format": data_format, "dtype": self.dtype_policy}
        self._parts = [cls(factor, **options) for cls, factor in parts if factor is not None]

    def _draw(self, images: Any, seed: Any) -> Any:
        return [part.get_random_transformation(images, seed=seed) for part in self._parts]

    def _transform(self, images: Any, transformation: Any) -> Any:
        for part, drawn in zip(self._parts, transformation, strict=True):
            images = part.transform_images(images, drawn)
        return images

    def get_config(self) -> dict[str, Any]:
        factors = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
        own = {name: getattr(self, name) for name in factors}
        return {**super().get_config(), "value_range": self.value_range, **own}


class _Policy(RandomImageLayer):
    """Image layers of one strength, of which a batch gets some at random."""

    def __init__(
        self, value_range: Any, factor: Any, interpolation: str, seed: int | None, data_format: Any, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range, self.interpolation = value_range, interpolation
        self.factor = factor = factor_range(factor, (0, 1))
        shared = {"data_format": data_format, "dtype": self.dtype_policy}
        warped, ranged = {"interpolation": interpolation, **shared}, {"value_range": value_range, **shared}
        self._choices: list[ImageLayer] = [
            RandomShear(factor, factor, **warped),
            RandomTranslation(factor, factor, **warped),
            RandomRotation(factor, **warped),
            RandomPosterization(max(1, int(8 * factor[1])), **ranged),
            Solarization(factor, factor, **ranged),
            AutoContrast(**ranged),
            Equalization(**ranged),
            RandomBrightness(factor, **ranged),
            RandomColorDegeneration(factor, **ranged),
            RandomContrast(factor, **ranged),
            RandomSharpness(factor, **ranged),
        ]

    def _draw_all(self, images: Any, seed: Any) -> list[Any]:
        """A transformation of each of the layers: which one it will be is not known when the model is traced."""
        return [layer.get_random_transformation(images, seed=seed) for layer in self._choices]

    def _apply(self, images: Any, number: Any, drawn: list[Any]) -> Any:
        """Images through the layer of a number; as they are for a number beyond the layers."""
        for i, (layer, transformation) in enumerate(zip(self._choices, drawn, strict=True)):
            images = self._one(images, ops.equal(number, i), layer, transformation)
        return images

    def _one(self, images: Any, chosen: Any, layer: ImageLayer, transformation: Any) -> Any:
        return ops.cond(chosen, lambda: layer.transform_images(images, transformation), lambda: images)

    def get_config(self) -> dict[str, Any]:
        own = {"value_range": self.value_range, "factor": self.factor, "interpolation": self.interpolation}
        return {**super().get_config(), **own}


class RandAugment(_Policy):
    """While training, ``num_ops`` of eleven image layers drawn for each batch (Cubuk et al. 2019)."""

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_ops: int = 2,
        factor: Any = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_ops = num_ops

    def _draw(self, images: Any, seed: Any) -> Any:
        numbers = random.randint((self.num_ops,), 0, len(self._choices), seed=seed)
        return {"layer_idxes": numbers, "transforms": self._draw_all(images, seed)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        for i in range(self.num_ops):
            images = self._apply(images, transformation["layer_idxes"][i], transformation["transforms"])
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_ops": self.num_ops}


class AugMix(_Policy):
    """While training, images mixed with several chains of image layers drawn for each batch (Hendrycks et al. 2020).

    ``all_ops=False`` leaves out brightness, colour, contrast and sharpness, which benchmarks of corruptions test.
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_chains: int = 3,
        chain_depth: int = 3,
        factor: Any = 0.3,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_chains, self.chain_depth, self.alpha, self.all_ops = num_chains, chain_depth, alpha, all_ops
        if not all_ops:
            self._choices = self._choices[:7]

    def _draw(self, images: Any, seed: Any) -> Any:
        shares = random.gamma((self.num_chains,), self.alpha, seed=seed)
        count = len(self._choices) + 1  # one more, which is to do nothing
        return {
            "chain_mixing_weights": shares / ops.sum(shares),
            "weight_sample": random.beta((), self.alpha, self.alpha, seed=seed),
            "layer_idxes": random.randint((self.num_chains, self.chain_depth), 0, count, seed=seed),
            "chain_transforms": [
                [self._draw_all(images, seed) for _ in range(self.chain_depth)] for _ in range(self.num_chains)
            ],
        }

    def _transform(self, images: Any, transformation: Any) -> Any:
        shares, kept = (
            ops.cast(transformation[k], self.compute_dtype) for k in ("chain_mixing_weights", "weight_sample")
        )
        mixed = ops.zeros_like(images)
        for i, chain in enumerate(transformation["chain_transforms"]):
            x = images
            for j, drawn in enumerate(chain):
                x = self._apply(x, transformation["layer_idxes"][i, j], drawn)
            mixed = mixed + x * shares[i]
        return ops.clip(kept * images + (1.0 - kept) * mixed, *self.value_range)

    def get_config(self) -> dict[str, Any]:
        own = {"num_chains": self.num_chains, "chain_depth": self.chain_depth}
        return {**super().get_config(), **own, "alpha": self.alpha, "all_ops": self.all_ops}


class Pipeline(Layer):
    """Layers one after the other, as one layer; ``training`` is True where nobody says."""

    def __init__(self, layers: Any, name: str | None = None):
        super().__init__(name=name)
        self._pipeline_layers = list(layers)

    @property
    def layers(self) -> list[Layer]:
        return self._pipeline_layers

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        for layer in self._pipeline_layers:
            inputs = layer(inputs, training=training)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {"layers": [serialize_keras_object(layer) for layer in self._pipeline_layers], "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        layers = config.get("layers")
        if not isinstance(layers, (list, tuple)):
            raise ValueError(
                "`Pipeline` config must contain a `layers` key mapping to a list of serialized layers. Received config "
                f"with layers={layers}."
            )
        return cls(**{**config, "layers": [deserialize_keras_object(layer) for layer in layers]})

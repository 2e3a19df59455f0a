"""Depthwise convolutions followed by pointwise ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import activations, ops
from kcompile.keras.layers.convolutional import BaseConv
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized


class BaseSeparableConv(BaseConv):
    """A convolution for each channel, then one of window 1 over all channels (Chollet 2017)."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            1,
            activation,
            use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier
        get_parameters(self, locals(), "depthwise", "pointwise")

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        wide = channels * self.depth_multiplier
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = add_parameter(self, "depthwise_kernel", depthwise, of="depthwise")
        pointwise = (*(1,) * self.rank, wide, self.filters)
        self.pointwise_kernel = add_parameter(self, "pointwise_kernel", pointwise, of="pointwise")
        self.bias = add_parameter(self, "bias", (self.filters,)) if self.use_bias else None
        self.built = True

    def call(self, inputs: Any) -> Any:
        outputs = ops.separable_conv(
            inputs,
            self.depthwise_kernel,
            self.pointwise_kernel,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
            self.bias,
        )
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for suffix in ("initializer", "regularizer", "constraint"):
            config.pop(f"kernel_{suffix}")
        config.pop("groups")
        names = ("strides", "padding", "data_format", "dilation_rate", "kernel_size", "filters")
        own = {"depth_multiplier": self.depth_multiplier, **{n: getattr(self, n) for n in names}}
        return {
            **config,
            **own,
            "activation": activations.serialize(self.activation),
            **serialized(self, "depthwise", "pointwise", "bias"),
        }


class SeparableConv1D(BaseSeparableConv):
    """Separable convolution along one axis."""

    rank = 1


class SeparableConv2D(BaseSeparableConv):
    """Separable convolution over images."""

    rank = 2


SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D

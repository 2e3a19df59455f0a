"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import activations, ops
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec


def spatial(value: int | Sequence[int], rank: int, name: str) -> tuple[int, ...]:
    """One positive integer a spatial axis; raises ValueError otherwise."""
    found = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(found) != rank or not all(isinstance(v, int) and v > 0 for v in found):
        raise ValueError(f"The `{name}` argument must be a tuple of {rank} positive integers. Received {name}={value}")
    return found


class BaseConv(Layer):
    """What convolutions of 1 to 3 axes share; ``rank`` is the number of spatial axes."""

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters, self.groups = filters, groups
        self.kernel_size = spatial(kernel_size, self.rank, "kernel_size")
        self.strides = spatial(strides, self.rank, "strides")
        self.dilation_rate = spatial(dilation_rate, self.rank, "dilation_rate")
        self.padding = padding.lower()
        self.data_format = standardize_data_format(data_format)
        self.activation, self.use_bias = activations.get(activation), use_bias
        get_parameters(self, locals(), "kernel", "bias")
        self._check()
        self.input_spec = InputSpec(min_ndim=self.rank + 2)

    def _check(self) -> None:
        name = type(self).__name__
        allowed = ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")
        if self.padding not in allowed:
            raise ValueError(f"{name}: `padding` must be one of {allowed}. Received: padding={self.padding}")
        if not isinstance(self.filters, int) or self.filters <= 0:
            raise ValueError(f"{name}: `filters` must be a positive integer. Received: filters={self.filters}")
        if self.groups <= 0 or self.filters % self.groups:
            raise ValueError(
                "The number of filters must be evenly divisible by the number of groups. Received: "
                f"groups={self.groups}, filters={self.filters}."
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError("`strides > 1` not supported in conjunction with `dilation_rate > 1`.")

    def _channels(self, input_shape: Any) -> int:
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"layer {self.name!r}: the channel dimension of the inputs should be defined. Received: {input_shape}"
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2, axes={axis: channels})
        return channels

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """Shape of the kernel for inputs of so many channels."""
        if channels % self.groups:
            raise ValueError(
                "The number of input channels must be evenly divisible by the number of groups. Received "
                f"groups={self.groups}, but the input has {channels} channels."
            )
        return (*self.kernel_size, channels // self.groups, self.filters)

    def bias_size(self, channels: int) -> int:
        return self.filters

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.kernel = add_parameter(self, "kernel", self.kernel_shape(channels))
        self.bias = None
        if self.use_bias:
            self.bias = add_parameter(self, "bias", (self.bias_size(channels),))
        self.built = True

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv(
            inputs, self.kernel, self.strides, self.padding, self.data_format, self.dilation_rate, self.bias
        )
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **serialized(self, "kernel", "bias"),
        }


class Conv1D(BaseConv):
    """Convolution along one axis."""

    rank = 1


class Conv2D(BaseConv):
    """Convolution over images."""

    rank = 2


class Conv3D(BaseConv):
    """Convolution over volumes."""

    rank = 3


class BaseDepthwiseConv(BaseConv):
    """A convolution for each channel, ``depth_multiplier`` results a channel."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        if not isinstance(depth_multiplier, int) or depth_multiplier <= 0:
            raise ValueError(f"`depth_multiplier` must be a positive integer. Received: {depth_multiplier}")
        super().__init__(
            depth_multiplier,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            1,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            activity_regularizer,
            depthwise_constraint,
            bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, channels, self.depth_multiplier)

    def bias_size(self, channels: int) -> int:
        return channels * self.depth_multiplier

    def call(self, inputs: Any) -> Any:
        outputs = ops.depthwise_conv(
            inputs, self.kernel, self.strides, self.padding, self.data_format, self.dilation_rate, self.bias
        )
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("filters", "groups"):
            config.pop(key)
        for suffix in ("initializer", "regularizer", "constraint"):
            config[f"depthwise_{suffix}"] = config.pop(f"kernel_{suffix}")
        return {**config, "depth_multiplier": self.depth_multiplier}


class DepthwiseConv1D(BaseDepthwiseConv):
    """A convolution along one axis for each channel."""

    rank = 1


class DepthwiseConv2D(BaseDepthwiseConv):
    """A convolution over images for each channel."""

    rank = 2


class BaseConvTranspose(BaseConv):
    """The gradient of a convolution as a layer, which makes images larger."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
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
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )
        given = (output_padding,) * self.rank if isinstance(output_padding, int) else output_padding
        self.output_padding = None if given is None else tuple(given)
        if self.padding == "causal":
            raise ValueError("transposed convolutions have no padding='causal'")

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, self.filters, channels)

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            self.kernel,
            self.strides,
            self.padding,
            self.output_padding,
            self.data_format,
            self.dilation_rate,
            self.bias,
        )
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("groups")
        return {**config, "output_padding": self.output_padding}


class Conv1DTranspose(BaseConvTranspose):
    """Transposed convolution along one axis."""

    rank = 1


class Conv2DTranspose(BaseConvTranspose):
    """Transposed convolution over images."""

    rank = 2


class Conv3DTranspose(BaseConvTranspose):
    """Transposed convolution over volumes."""

    rank = 3


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose

"""Group, RMS and unit normalisation."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec


class GroupNormalization(Layer):
    """x normalised over each group of channels and all positions (Wu & He 2018); ``groups=-1`` is one a channel."""

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.groups, self.axis, self.epsilon = groups, axis, epsilon
        self.center, self.scale = center, scale
        get_parameters(self, locals(), "beta", "gamma")
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"Axis {self.axis} of input tensor should have a defined dimension. Received: {input_shape}"
            )
        if self.groups == -1:
            self.groups = size
        if size < self.groups or size % self.groups:
            raise ValueError(f"Number of groups ({self.groups}) must divide the number of channels ({size}).")
        self.gamma = add_parameter(self, "gamma", (size,)) if self.scale else None
        self.beta = add_parameter(self, "beta", (size,)) if self.center else None
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: size})
        self.built = True

    def call(self, inputs: Any) -> Any:
        # Half precision holds too few digits for sums over an image.
        x = ops.cast(inputs, "float32") if str(inputs.dtype).endswith("float16") else inputs
        y = ops.group_normalization(x, self.groups, self.gamma, self.beta, self.axis, self.epsilon)
        return ops.cast(y, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = serialized(self, "beta", "gamma")
        own.pop("activity_regularizer", None)
        names = ("groups", "axis", "epsilon", "center", "scale")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}, **own}


class RMSNormalization(Layer):
    """x over its root mean square along an axis, times a learnt scale (Zhang & Sennrich 2019)."""

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon

    def build(self, input_shape: Any) -> None:
        axes = self.axis = list(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        self.scale = self.add_weight(tuple(input_shape[a] for a in axes), "ones", name="scale", autocast=False)
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32") if str(inputs.dtype).endswith("float16") else inputs
        return ops.cast(ops.rms_normalization(x, self.scale, self.axis, self.epsilon), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """x over its Euclidean norm along axes."""

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)):
            raise TypeError(
                f"Invalid value for `axis` argument: expected an int or a list/tuple of ints. Received: axis={axis}"
            )
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        axes = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        squares = ops.sum(ops.square(inputs), axis=axes, keepdims=True)
        return ops.multiply(inputs, ops.rsqrt(ops.maximum(squares, 1e-12)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}

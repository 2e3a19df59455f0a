"""Normalisation layers."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec


class BatchNormalization(Layer):
    """x normalised by the batch's statistics while training, by running ones otherwise (Ioffe & Szegedy 2015)."""

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if synchronized or renorm:
            raise ValueError(f"layer {self.name!r}: synchronized and renorm are not supported; leave them False")
        self.axis, self.momentum, self.epsilon = int(axis), momentum, epsilon
        self.center, self.scale = center, scale
        self.renorm_momentum = renorm_momentum
        get_parameters(self, locals(), "beta", "gamma", "moving_mean", "moving_variance")
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(f"layer {self.name!r}: axis {self.axis} must have a fixed size, got {input_shape}")
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = add_parameter(self, "gamma", (size,), autocast=False)
        if self.center:
            self.beta = add_parameter(self, "beta", (size,), autocast=False)
        self.moving_mean = add_parameter(self, "moving_mean", (size,), trainable=False, autocast=False)
        self.moving_variance = add_parameter(self, "moving_variance", (size,), trainable=False, autocast=False)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: size})
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # Half precision holds too few digits for sums over a batch: compute in float32, give back the input's dtype.
        x = ops.cast(inputs, "float32") if self.compute_dtype in ("float16", "bfloat16") else inputs
        if training and self.trainable:
            y = self._train(x, mask)
        else:
            y = ops.batch_normalization(
                x, self.moving_mean, self.moving_variance, self.axis, self.beta, self.gamma, self.epsilon
            )
        return ops.cast(y, self.compute_dtype)

    def _train(self, x: Any, mask: Any) -> Any:
        if mask is None:
            y, mean, variance = ops.batch_normalization_training(x, self.axis, self.beta, self.gamma, self.epsilon)
        else:
            mean, variance = self._masked_moments(x, mask)
            y = ops.batch_normalization(x, mean, variance, self.axis, self.beta, self.gamma, self.epsilon)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept = moving.value * self.momentum
            moving.assign(kept + ops.stop_gradient(batch) * (1.0 - self.momentum))
        return y

    def _masked_moments(self, x: Any, mask: Any) -> tuple[Any, Any]:
        axis = self.axis % ops.ndim(x)
        over = tuple(i for i in range(ops.ndim(x)) if i != axis)
        shares = ops.cast(mask, x.dtype)
        while ops.ndim(shares) < ops.ndim(x):
            shares = ops.expand_dims(shares, -1)
        shares = ops.broadcast_to(shares, ops.shape(x))
        count = ops.sum(shares, over, keepdims=True) + 1e-7
        mean = ops.sum(x * shares, over, keepdims=True) / count
        variance = ops.sum(ops.square(x - mean) * shares, over, keepdims=True) / count
        return ops.squeeze(mean, over), ops.squeeze(variance, over)

    def get_config(self) -> dict[str, Any]:
        own = serialized(self, "beta", "gamma", "moving_mean", "moving_variance")
        own.pop("activity_regularizer", None)
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **own,
            "synchronized": False,
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
        }


class LayerNormalization(Layer):
    """x normalised over its last axes, times gamma, plus beta (Ba et al. 2016)."""

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rms_scaling: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)):
            raise TypeError(f"Expected an int or a list/tuple of ints for the argument 'axis', but received: {axis}")
        self.axis: Any = list(axis) if isinstance(axis, (list, tuple)) else axis
        self.epsilon, self.center, self.scale, self.rms_scaling = epsilon, center, scale, rms_scaling
        get_parameters(self, locals(), "beta", "gamma")
        self.supports_masking = True
        self.autocast = False

    def build(self, input_shape: Any) -> None:
        self.axis = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)
        shape = tuple(input_shape[a] for a in self.axis)
        self.gamma = self.beta = None
        if self.scale or self.rms_scaling:
            self.gamma = add_parameter(self, "gamma", shape, autocast=False)
        if self.center and not self.rms_scaling:
            self.beta = add_parameter(self, "beta", shape, autocast=False)
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32") if str(inputs.dtype).endswith("float16") else inputs
        rank = ops.ndim(x)
        order = sorted(a % rank for a in self.axis)
        if self.rms_scaling:
            # By the variance about the mean, as Keras's argument of this name does; see RMSNormalization.
            sizes = [d if i in order else 1 for i, d in enumerate(ops.shape(x))]
            scale = ops.rsqrt(ops.var(x, tuple(order), keepdims=True) + self.epsilon)
            y = x * scale * ops.reshape(self.gamma, sizes)
        elif order == list(range(rank - len(order), rank)):
            y = ops.layer_normalization(x, self.gamma, self.beta, tuple(order), self.epsilon)
        else:
            y = self._inner_axes(x, order)
        return ops.cast(y, self.compute_dtype)

    def _inner_axes(self, x: Any, axes: list[int]) -> Any:
        """Axes that are not the last ones: brought to the end and back."""
        rest = [a for a in range(ops.ndim(x)) if a not in axes]
        order = [*rest, *axes]
        ends = tuple(range(len(rest), len(order)))
        y = ops.layer_normalization(ops.transpose(x, order), self.gamma, self.beta, ends, self.epsilon)
        return ops.transpose(y, [order.index(a) for a in range(len(order))])

    def get_config(self) -> dict[str, Any]:
        own = serialized(self, "beta", "gamma")
        own.pop("activity_regularizer", None)
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "rms_scaling": self.rms_scaling,
            **own,
        }

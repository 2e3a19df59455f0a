"""Core layers: Dense, Embedding, Activation, Identity, Lambda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.errors import UnsupportedError
from kcompile.keras import activations, constraints, initializers, ops, regularizers
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.lora import LowRank
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.saving.serialization import deserialize_keras_object


class Dense(LowRank):
    """activation(x @ kernel + bias) over the last axis."""

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: int | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if not isinstance(units, int) or units <= 0:
            raise ValueError(
                f"Received an invalid value for `units`, expected a positive integer. Received: units={units}"
            )
        if quantization_config is not None:
            raise ValueError(f"layer {self.name!r}: quantization_config is not supported; leave it None")
        self._take_lora(lora_rank, lora_alpha)
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        get_parameters(self, locals(), "kernel", "bias")
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        size = input_shape[-1]
        if size is None:
            raise ValueError(
                f"layer {self.name!r}: the last axis of its input must have a fixed size, got {input_shape}"
            )
        self.kernel = add_parameter(self, "kernel", (size, self.units))
        self.bias = None
        if self.use_bias:
            self.bias = add_parameter(self, "bias", (self.units,))
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})
        self._add_lora()

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self.activation(ops.dense(inputs, self._weight(), self.bias))

    def get_config(self) -> dict[str, Any]:
        weights = serialized(self, "kernel", "bias")
        weights.pop("activity_regularizer")
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **weights,
            "quantization_config": None,
        }


class Embedding(LowRank):
    """Rows of a table [input_dim, output_dim] at integer ids; 0 is masked where ``mask_zero``."""

    adapted = "embeddings"

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: int | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ):
        length = kwargs.pop("input_length", None)
        if length is not None:
            kwargs.setdefault("input_shape", (length,))
        super().__init__(**kwargs)
        if quantization_config is not None:
            raise ValueError(f"layer {self.name!r}: quantization_config is not supported; leave it None")
        self._take_lora(lora_rank, lora_alpha)
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.supports_masking = mask_zero
        self.autocast = False
        self._initial = weights

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        self.embeddings = add_parameter(self, "embeddings", (self.input_dim, self.output_dim))
        self._add_lora()
        if self._initial is not None:
            self.set_weights(self._initial if isinstance(self._initial, (list, tuple)) else [self._initial])
            self._initial = None

    def call(self, inputs: Any) -> Any:
        rows = ops.embedding(self._weight(), inputs)
        return ops.cast(rows, self.compute_dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **serialized(self, "embeddings"),
            "mask_zero": self.mask_zero,
            "quantization_config": None,
        }


class Activation(Layer):
    """An activation function, by name or as a function, as a layer."""

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Identity(Layer):
    """The input itself."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs


class Lambda(Layer):
    """A Python function as a layer; it can't be written into a file."""

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.function, self.arguments = function, arguments or {}
        self._output_shape, self.mask = output_shape, mask
        self.supports_masking = mask is not None
        self.built = True

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        import inspect

        names = inspect.signature(self.function).parameters
        extra = {k: v for k, v in (("mask", mask), ("training", training)) if k in names and v is not None}
        return self.function(inputs, **{**self.arguments, **extra})

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def copied(self) -> Lambda:
        """A layer like this one, which a config can't tell."""
        return Lambda(self.function, self._output_shape, self.mask, self.arguments, **super().get_config())

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # A registered function by its name; bytecode is refused.
        found = {k: deserialize_keras_object(v) for k, v in config.items()}
        return super().from_config(found)

    def get_config(self) -> dict[str, Any]:
        raise UnsupportedError(
            f"layer {self.name!r}: a Lambda's function is Python code and is not written into a file; make it a Layer "
            "class (keras.saving.register_keras_serializable)"
        )

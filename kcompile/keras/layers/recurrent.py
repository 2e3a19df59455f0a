"""Recurrent layers."""

from __future__ import annotations

from typing import Any

from kcompile.keras import activations, ops, random
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.random_state import SeedGenerator
from kcompile.tracing.variable import Variable


class LSTM(Layer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) over [N, T, F]; gates in the order i, f, c, o."""

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if units <= 0:
            raise ValueError(f"Received an invalid value for argument `units`, expected a positive integer, got {units}.")
        if recurrent_dropout:
            raise ValueError(f"layer {self.name!r}: recurrent_dropout is not supported; leave it 0 (dropout is)")
        self.units, self.use_bias, self.unit_forget_bias = units, use_bias, unit_forget_bias
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        get_parameters(self, locals(), "kernel", "recurrent", "bias")
        self.dropout, self.recurrent_dropout = float(dropout), float(recurrent_dropout)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.use_cudnn, self.zero_output_for_mask = use_cudnn, zero_output_for_mask
        self.supports_masking = True
        self.input_spec = InputSpec(ndim=3)
        self.states: list[Variable] = []

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        features = sequences_shape[-1]
        if features is None:
            raise ValueError(f"layer {self.name!r}: the last axis must have a fixed size, got {sequences_shape}")
        self.kernel = self.add_weight(
            (features, 4 * self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, 4 * self.units),
            self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
            name="recurrent_kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (4 * self.units,),
                self._bias_initializer if self.unit_forget_bias else self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        if self.stateful:
            batch = sequences_shape[0]
            if batch is None:
                raise ValueError(
                    f"layer {self.name!r}: If a RNN is stateful, it needs to know its batch size: give the input a "
                    "fixed batch_size"
                )
            self.states = [
                self.add_weight((batch, self.units), "zeros", trainable=False, name=n) for n in ("state_h", "state_c")
            ]
        self.built = True

    def _bias_initializer(self, shape: Any, dtype: Any = None) -> Any:
        """The forget gate starts open: its bias at 1 (Jozefowicz et al. 2015)."""
        import numpy as np

        from kcompile.keras import initializers

        parts = [
            self.bias_initializer((self.units,), dtype=dtype),
            initializers.Ones()((self.units,), dtype=dtype),
            self.bias_initializer((2 * self.units,), dtype=dtype),
        ]
        return np.concatenate(parts)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = False) -> Any:
        h, c = self._initial(initial_state)
        if self.dropout and training:
            # One mask for all steps: the time axis is 1 in the noise's shape.
            sizes = ops.shape(sequences)
            sequences = random.dropout(sequences, self.dropout, (sizes[0], 1, sizes[2]), self.seed_generator)
        if mask is not None and ops.ndim(mask) == 3:
            mask = ops.squeeze(mask, -1)
        sequence, h, c = ops.lstm(
            sequences,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            h,
            c,
            mask,
            activation=activations.serialize(self.activation),
            recurrent_activation=activations.serialize(self.recurrent_activation),
            reverse=self.go_backwards,
            zero_masked=self.zero_output_for_mask,
        )
        for variable, value in zip(self.states, (h, c), strict=False):
            variable.assign(value)
        output = sequence if self.return_sequences else h
        return [output, h, c] if self.return_state else output

    def _initial(self, initial_state: Any) -> tuple[Any, Any]:
        if initial_state is not None:
            h, c = initial_state
            return h, c
        if self.stateful:
            h, c = (v.value for v in self.states)
            return h, c
        return None, None

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        first = mask[0] if isinstance(mask, list) else mask
        output = first if self.return_sequences else None
        return [output, None, None] if self.return_state else output

    def reset_state(self) -> None:
        """Set the kept states of a stateful layer to 0."""
        for variable in self.states:
            variable.assign(variable.numpy() * 0)

    reset_states = reset_state

    def get_config(self) -> dict[str, Any]:
        names = (
            "dropout", "recurrent_dropout", "seed", "return_sequences", "return_state", "go_backwards", "stateful",
            "unroll", "zero_output_for_mask", "use_cudnn",
        )  # fmt: skip
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "unit_forget_bias": self.unit_forget_bias,
            **serialized(self, "kernel", "recurrent", "bias"),
            **{n: getattr(self, n) for n in names},
        }



"""Recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import activations, initializers, ops, random
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.random_state import SeedGenerator
from kcompile.keras.saving.serialization import serialize_keras_object
from kcompile.tracing.scope import name_scope
from kcompile.tracing.variable import Variable


class LSTMCell(Layer):
    """One step of an LSTM; holds the weights of the layer of that name. Gates in the order i, f, c, o."""

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if units <= 0:
            raise ValueError(f"Received an invalid value for argument `units`, expected a positive integer, got {units}.")
        if recurrent_dropout:
            raise ValueError(f"layer {self.name!r}: recurrent_dropout is not supported; leave it 0 (dropout is)")
        self.units, self.use_bias, self.unit_forget_bias = units, use_bias, unit_forget_bias
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        get_parameters(self, locals(), "kernel", "recurrent", "bias")
        self.dropout, self.recurrent_dropout, self.seed = float(dropout), float(recurrent_dropout), seed
        self.state_size, self.output_size = [units, units], units

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(f"layer {self.name!r}: the last axis must have a fixed size, got {input_shape}")
        self.kernel = add_parameter(self, "kernel", (features, 4 * self.units))
        self.recurrent_kernel = add_parameter(self, "recurrent_kernel", (self.units, 4 * self.units), of="recurrent")
        self.bias = None
        if self.use_bias:
            self.bias = add_parameter(self, "bias", (4 * self.units,), initializer=self._open_forget_gate if self.unit_forget_bias else None)
        self.built = True

    def _open_forget_gate(self, shape: Any, dtype: Any = None) -> np.ndarray:
        """The forget gate starts open: its bias at 1 (Jozefowicz et al. 2015)."""
        own, one = vars(self)["bias_initializer"], initializers.Ones()
        parts = [own((self.units,), dtype=dtype), one((self.units,), dtype=dtype), own((2 * self.units,), dtype=dtype)]
        return np.concatenate(parts)

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        h, c = states
        outputs, h, c = self.run(ops.expand_dims(inputs, 1), h, c)
        return h, [h, c]

    def run(self, sequences: Any, h: Any, c: Any, mask: Any = None, **options: Any) -> Any:
        """(outputs, last h, last c) over a whole sequence [N, T, F]."""
        return ops.lstm(
            sequences,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            h,
            c,
            mask,
            activation=activations.serialize(self.activation),
            recurrent_activation=activations.serialize(self.recurrent_activation),
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        own = serialized(self, "kernel", "recurrent", "bias")
        own.pop("activity_regularizer", None)
        return {**super().get_config(), **self.step_config(), **own}

    def step_config(self) -> dict[str, Any]:
        """The entries that the cell and its layer share, less the weights' parameters."""
        return {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "unit_forget_bias": self.unit_forget_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


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
        self.cell = LSTMCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            unit_forget_bias,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            seed,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="lstm_cell",
        )
        self.units = units
        self.seed_generator = SeedGenerator(seed)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.use_cudnn, self.zero_output_for_mask = use_cudnn, zero_output_for_mask
        self.supports_masking = True
        self.input_spec = InputSpec(ndim=3)
        self._kept_states: list[Variable] = []

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        with name_scope(self.cell.name):
            self.cell.build((sequences_shape[0], sequences_shape[-1]))
        if self.stateful:
            batch = sequences_shape[0]
            if batch is None:
                raise ValueError(
                    f"layer {self.name!r}: If a RNN is stateful, it needs to know its batch size: give the input a "
                    "fixed batch_size"
                )
            self._kept_states = [
                Variable(np.zeros((batch, self.units), "float32"), dtype=self.variable_dtype, trainable=False, name=n)
                for n in ("state_h", "state_c")
            ]
        self.built = True

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = False) -> Any:
        h, c = self._initial(initial_state)
        if self.cell.dropout and training:
            # One mask for all steps: the time axis is 1 in the noise's shape.
            sizes = ops.shape(sequences)
            sequences = random.dropout(sequences, self.cell.dropout, (sizes[0], 1, sizes[2]), self.seed_generator)
        if mask is not None and ops.ndim(mask) == 3:
            mask = ops.squeeze(mask, -1)
        sequence, h, c = self.cell.run(
            sequences, h, c, mask, reverse=self.go_backwards, zero_masked=self.zero_output_for_mask
        )
        for variable, value in zip(self._kept_states, (h, c), strict=False):
            variable.assign(value)
        output = sequence if self.return_sequences else h
        return [output, h, c] if self.return_state else output

    def _initial(self, initial_state: Any) -> tuple[Any, Any]:
        if initial_state is not None:
            h, c = initial_state
            return h, c
        if self.stateful:
            h, c = (v.value for v in self._kept_states)
            return h, c
        return None, None

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        first = mask[0] if isinstance(mask, list) else mask
        output = first if self.return_sequences else None
        return [output, None, None] if self.return_state else output

    @property
    def states(self) -> list[Variable]:
        """What a stateful layer keeps from batch to batch: h and c. As in Keras, neither weights nor saved."""
        return self._kept_states

    def reset_state(self) -> None:
        """Set the kept states of a stateful layer to 0."""
        for variable in self._kept_states:
            variable.assign(variable.numpy() * 0)

    reset_states = reset_state

    def get_config(self) -> dict[str, Any]:
        names = (
            "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask",
        )  # fmt: skip
        return {
            **super().get_config(),
            **self.cell.step_config(),
            **serialized(self.cell, "kernel", "recurrent", "bias"),
            "activity_regularizer": serialize_keras_object(self.activity_regularizer),
            **{n: getattr(self, n) for n in names},
        }

"""Recurrent cells: one step of a recurrent layer, with its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import activations, initializers, ops, random, tree
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized
from kcompile.keras.random_state import SeedGenerator
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object


class RecurrentCell(Layer):
    """What the three built-in cells share: kernels for ``gates`` gates, dropout, a run over a whole sequence."""

    gates = 1
    states = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
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
        if not isinstance(units, int) or units <= 0:
            raise ValueError(
                f"Received an invalid value for argument `units`, expected a positive integer, got {units}."
            )
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        get_parameters(self, locals(), "kernel", "recurrent", "bias")
        self.dropout = min(1.0, max(0.0, float(dropout)))
        self.recurrent_dropout = min(1.0, max(0.0, float(recurrent_dropout)))
        self.seed, self.seed_generator = seed, SeedGenerator(seed)
        self.state_size: Any = units if self.states == 1 else [units] * self.states
        self.output_size: Any = units

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(f"layer {self.name!r}: the last axis must have a fixed size, got {input_shape}")
        self.kernel = add_parameter(self, "kernel", (features, self.gates * self.units))
        self.recurrent_kernel = add_parameter(
            self, "recurrent_kernel", (self.units, self.gates * self.units), of="recurrent"
        )
        self.bias = None
        if self.use_bias:
            self.bias = add_parameter(self, "bias", self._bias_shape(), initializer=self._bias_start())
        self.built = True

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_start(self) -> Any:
        return None

    def run(self, sequences: Any, states: list[Any], mask: Any, **options: Any) -> tuple[Any, ...]:
        """(outputs [N, T, U], *last states) over a whole sequence [N, T, F]; absent states are zeros."""
        raise NotImplementedError

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        states = states if isinstance(states, (list, tuple)) else [states]
        if training and self.dropout:
            inputs = random.dropout(inputs, self.dropout, seed=self.seed_generator)
        if training and self.recurrent_dropout:
            hidden = random.dropout(states[0], self.recurrent_dropout, seed=self.seed_generator)
            states = [hidden, *states[1:]]
        sequence, *last = self.run(ops.expand_dims(inputs, 1), list(states), None)
        return ops.squeeze(sequence, 1), last

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Zeros for a batch."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype) for _ in range(self.states)]

    def step_config(self) -> dict[str, Any]:
        """The entries that the cell and its layer share, less the weights' parameters."""
        return {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }

    def get_config(self) -> dict[str, Any]:
        own = serialized(self, "kernel", "recurrent", "bias")
        own.pop("activity_regularizer", None)
        return {**super().get_config(), **self.step_config(), **own}


class SimpleRNNCell(RecurrentCell):
    """One step of h = activation(x @ kernel + h @ recurrent_kernel + bias)."""

    def run(self, sequences: Any, states: list[Any], mask: Any, **options: Any) -> tuple[Any, ...]:
        name = activations.serialize(self.activation)
        (h,) = states
        return ops.simple_rnn(
            sequences, self.kernel, self.recurrent_kernel, self.bias, h, mask, activation=name, **options
        )


class LSTMCell(RecurrentCell):
    """One step of an LSTM (Hochreiter & Schmidhuber 1997); gates in the order i, f, c, o."""

    gates, states = 4, 2

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
        **kwargs: Any,
    ):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _bias_start(self) -> Any:
        return self._open_forget_gate if self.unit_forget_bias else None

    def _open_forget_gate(self, shape: Any, dtype: Any = None) -> np.ndarray:
        """The forget gate starts open: its bias at 1 (Jozefowicz et al. 2015)."""
        own, one = vars(self)["bias_initializer"], initializers.Ones()
        parts = [own((self.units,), dtype=dtype), one((self.units,), dtype=dtype), own((2 * self.units,), dtype=dtype)]
        return np.concatenate(parts)

    def run(self, sequences: Any, states: list[Any], mask: Any, **options: Any) -> tuple[Any, ...]:
        h, c = states
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

    def step_config(self) -> dict[str, Any]:
        gate = activations.serialize(self.recurrent_activation)
        return {**super().step_config(), "recurrent_activation": gate, "unit_forget_bias": self.unit_forget_bias}


class GRUCell(RecurrentCell):
    """One step of a gated recurrent unit (Cho et al. 2014); gates in the order z, r, h.

    With ``reset_after`` the reset gate acts after the recurrent product, as in cuDNN, and input and
    recurrent part have a bias each.
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def run(self, sequences: Any, states: list[Any], mask: Any, **options: Any) -> tuple[Any, ...]:
        (h,) = states
        return ops.gru(
            sequences,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            h,
            mask,
            activation=activations.serialize(self.activation),
            recurrent_activation=activations.serialize(self.recurrent_activation),
            reset_after=self.reset_after,
            **options,
        )

    def step_config(self) -> dict[str, Any]:
        gate = activations.serialize(self.recurrent_activation)
        return {**super().step_config(), "recurrent_activation": gate, "reset_after": self.reset_after}


class StackedRNNCells(Layer):
    """Cells one above the other, as one cell."""

    def __init__(self, cells: Any, **kwargs: Any):
        super().__init__(**kwargs)
        for cell in cells:
            if not hasattr(cell, "state_size"):
                raise ValueError(f"All cells must have a `state_size` attribute. Received cell without it: {cell}")
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        last = self.cells[-1]
        size = getattr(last, "output_size", None)
        return size if size is not None else tree.flatten(last.state_size)[0]

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        return [initial_state(cell, batch_size) for cell in self.cells]

    def call(self, inputs: Any, states: Any, training: bool | None = False, **kwargs: Any) -> Any:
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            inputs, last = run_cell(cell, inputs, state, training)
            new.append(last)
        return inputs, new

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for cell in self.cells:
            cell._ensure_built(shape)
            size = getattr(cell, "output_size", None)
            shape = (shape[0], size if size is not None else tree.flatten(cell.state_size)[0])
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [serialize_keras_object(c) for c in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        return cls([deserialize_keras_object(c) for c in config.pop("cells")], **config)


def initial_state(cell: Any, batch_size: Any) -> Any:
    """A cell's zeros for a batch, in the structure of its states: always a list."""
    if hasattr(cell, "get_initial_state"):
        made = cell.get_initial_state(batch_size=batch_size)
        return list(made) if isinstance(made, (list, tuple)) else [made]
    sizes = cell.state_size if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]
    dims = [(s,) if isinstance(s, int) else tuple(s) for s in sizes]
    return [ops.zeros((batch_size, *d), cell.compute_dtype) for d in dims]


def run_cell(cell: Any, inputs: Any, states: list[Any], training: bool | None) -> tuple[Any, list[Any]]:
    """(output, new states as a list) of one step, however the cell gives its states."""
    kwargs = {"training": training} if "training" in cell._call_parameters() and training is not None else {}
    outputs, new = cell(inputs, states, **kwargs)
    return outputs, list(new) if isinstance(new, (list, tuple)) else [new]

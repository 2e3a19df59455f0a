"""Convolutional LSTMs: `ConvLSTM1D`, `ConvLSTM2D`, `ConvLSTM3D`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops, random
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.convolutional import spatial
from kcompile.keras.layers.parameters import add_parameter
from kcompile.keras.layers.recurrent import RNN, CellLayer
from kcompile.keras.layers.rnn_cells import LSTMCell
from kcompile.keras.layers.signature import InputSpec

Noise = list[Any] | None


class ConvLSTMCell(LSTMCell):
    """One step of an LSTM whose products are convolutions (Shi et al. 2015); gates in the order i, f, c, o.

    Input [N, *space, C] (or [N, C, *space]) with fixed ``space``; states [N, *out, filters].
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        *args: Any,
        **kwargs: Any,
    ):
        super().__init__(filters, *args, **kwargs)
        self.rank, self.filters = rank, filters
        self.kernel_size = spatial(kernel_size, rank, "kernel_size")
        self.strides = spatial(strides, rank, "strides")
        self.dilation_rate = spatial(dilation_rate, rank, "dilation_rate")
        self.padding = padding.lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding}")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Specifying `strides > 1` is not compatible with `dilation_rate > 1`. Received: "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=rank + 2)
        # The states' shape, which depends on the input's: known when the cell is built.
        self.state_size: Any = -1

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self._channel_axis]
        space = input_shape[2:] if self._channel_axis == 1 else input_shape[1:-1]
        if None in space or channels is None:
            raise ValueError(
                f"layer {self.name!r}: ConvLSTM layers need fixed sizes of space and channels. Received: {input_shape}"
            )
        gates = self.gates * self.filters
        self.kernel = add_parameter(self, "kernel", (*self.kernel_size, channels, gates))
        self.recurrent_kernel = add_parameter(
            self, "recurrent_kernel", (*self.kernel_size, self.filters, gates), of="recurrent"
        )
        self.bias = None
        if self.use_bias:
            self.bias = add_parameter(self, "bias", self._bias_shape(), initializer=self._bias_start())
        out = tuple(self._length(n, axis) for axis, n in enumerate(space))
        self.output_size = (self.filters, *out) if self._channel_axis == 1 else (*out, self.filters)
        self.state_size = [self.output_size] * self.states
        self.built = True

    def _length(self, size: int, axis: int) -> int:
        """Positions of the window along an axis."""
        reach = (self.kernel_size[axis] - 1) * self.dilation_rate[axis]
        return -(-(size - (reach if self.padding == "valid" else 0)) // self.strides[axis])

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        return [ops.zeros((batch_size, *size), self.compute_dtype) for size in self.state_size]

    def noise(self, inputs: Any, training: bool | None) -> tuple[Noise, Noise]:
        """A dropout mask a gate for the input [N, ...] and for the hidden state; None where nothing is dropped."""
        if not training:
            return None, None
        return self._noise(inputs, self.dropout), self._noise(
            self.get_initial_state(ops.shape(inputs)[0])[0], self.recurrent_dropout
        )

    def _noise(self, like: Any, rate: float) -> Noise:
        if not 0 < rate < 1:
            return None
        return [random.dropout(ops.ones_like(like), rate, seed=self.seed_generator) for _ in range(self.gates)]

    def input_gates(self, x: Any, noise: Noise) -> Any:
        """The input's part of the four gates, before their activations."""
        return self._gates(x, self.kernel, noise, self.strides, self.padding, self.dilation_rate, self.bias)

    def recur(self, gates: Any, states: Any, noise: Noise) -> tuple[Any, list[Any]]:
        """(h, [h, c]) of the input's part of the gates and the states before."""
        hidden, carry = states
        gates = gates + self._gates(hidden, self.recurrent_kernel, noise, 1, "same", 1)
        i, f, c, o = ops.split(gates, self.gates, axis=self._channel_axis)
        gate = self.recurrent_activation
        carry = gate(f) * carry + gate(i) * self.activation(c)
        hidden = gate(o) * self.activation(carry)
        return hidden, [hidden, carry]

    def _gates(
        self, x: Any, kernel: Any, noise: Noise, strides: Any, padding: str, dilation_rate: Any, bias: Any = None
    ) -> Any:
        """One convolution for all gates, or one a gate where each has its own dropout mask."""
        if noise is None:
            return ops.conv(x, kernel, strides, padding, self.data_format, dilation_rate, bias)
        kernels = ops.split(kernel, self.gates, axis=-1)
        biases = [None] * self.gates if bias is None else ops.split(bias, self.gates)
        parts = [
            ops.conv(x * n, k, strides, padding, self.data_format, dilation_rate, b)
            for n, k, b in zip(noise, kernels, biases, strict=True)
        ]
        return ops.concatenate(parts, axis=self._channel_axis)

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        dropped, recurrent = self.noise(inputs, training)
        return self.recur(self.input_gates(inputs, dropped), states, recurrent)

    def step_config(self) -> dict[str, Any]:
        own = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
        config = {**super().step_config(), **{name: getattr(self, name) for name in own}}
        config.pop("units")
        return config


class ConvLSTM(CellLayer):
    """What the three layers share; ``rank`` is the number of spatial axes."""

    cell_class, cell_name = ConvLSTMCell, "conv_lstm_cell"
    rank = 2

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(self.rank, *args, **kwargs)
        self.input_spec = InputSpec(ndim=self.rank + 3)

    _initial = RNN._initial

    def _over_time(self, sequences: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, Any, Any]:
        cell, (batch, steps, *size) = self.cell, ops.shape(sequences)
        # One dropout mask a gate for all steps, and the input's convolution of all steps at once.
        dropped, recurrent = cell.noise(sequences[:, 0], training)
        if dropped is not None:
            dropped = [
                ops.reshape(ops.repeat(ops.expand_dims(n, 1), steps, 1), (batch * steps, *size)) for n in dropped
            ]
        gates = cell.input_gates(ops.reshape(sequences, (batch * steps, *size)), dropped)
        gates = ops.reshape(gates, (batch, steps, *ops.shape(gates)[1:]))
        return self._scan(lambda x, old: cell.recur(x, old, recurrent), gates, states, mask)


class ConvLSTM1D(ConvLSTM):
    """A convolutional LSTM over sequences [N, T, W, C] of lines."""

    rank = 1


class ConvLSTM2D(ConvLSTM):
    """A convolutional LSTM over sequences [N, T, H, W, C] of images."""

    rank = 2


class ConvLSTM3D(ConvLSTM):
    """A convolutional LSTM over sequences [N, T, D, H, W, C] of volumes."""

    rank = 3

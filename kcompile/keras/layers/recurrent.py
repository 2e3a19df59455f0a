"""Recurrent layers: SimpleRNN, LSTM, GRU as one operator each, and RNN for any cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kcompile.keras import ops, random, tree
from kcompile.keras.initializers import Zeros
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.parameters import serialized
from kcompile.keras.layers.rnn_cells import (
    GRUCell,
    LSTMCell,
    RecurrentCell,
    SimpleRNNCell,
    StackedRNNCells,
    initial_state,
    run_cell,
)
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.tracing.variable import Variable

Step = Callable[[Any, Any], tuple[Any, Any]]
_OPTIONS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")


def _cell_arguments(cell: type[RecurrentCell]) -> dict[str, inspect.Parameter]:
    """The arguments of a cell, in the order in which they may be given by position."""
    found: dict[str, inspect.Parameter] = {}
    for cls in cell.__mro__:
        if issubclass(cls, RecurrentCell):
            # A base class's first argument, its units, is the class's own under the same or another name.
            parameters = list(inspect.signature(cls.__init__).parameters.values())[1 if cls is cell else 2 :]
            found.update({p.name: p for p in parameters if p.name not in found and p.kind is p.POSITIONAL_OR_KEYWORD})
    return found


class RNN(Layer):
    """Runs a cell (or a stack of cells) over the second axis of [N, T, ...].

    A masked step keeps the states and repeats the output before it (or zeros).
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        if "call" not in dir(cell):
            raise ValueError(f"Argument `cell` should have a `call` method. Received: cell={cell}")
        if not hasattr(cell, "state_size"):
            raise ValueError(
                "The RNN cell should have a `state_size` attribute (single integer or list of integers, one integer per "
                f"RNN state). Received: cell={cell}"
            )
        self.cell = cell
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec = InputSpec(min_ndim=3)
        self._kept_states: list[Variable] = []

    @property
    def states(self) -> list[Variable]:
        """What a stateful layer keeps from batch to batch. As in Keras, neither weights nor saved."""
        return self._kept_states

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        self.cell._ensure_built((sequences_shape[0], *sequences_shape[2:]))
        if self.stateful:
            if sequences_shape[0] is None:
                raise ValueError(
                    f"layer {self.name!r}: If a RNN is stateful, it needs to know its batch size: give the input a "
                    "fixed batch_size"
                )
            self._kept_states = [
                Variable(Zeros(), (sequences_shape[0], *size), self.variable_dtype, trainable=False, name=f"state_{i}")
                for i, size in enumerate(_sizes(self.cell.state_size))
            ]
        self.built = True

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = False) -> Any:
        mask = tree.flatten(mask)[0] if isinstance(mask, (list, tuple)) else mask
        if mask is not None and ops.ndim(mask) == 3:
            mask = ops.squeeze(mask, -1)
        states = self._initial(sequences, initial_state)
        sequence, output, last = self._over_time(sequences, states, mask, training)
        flat = tree.flatten(last)
        for variable, value in zip(self._kept_states, flat, strict=False):
            variable.assign(ops.reshape(value, variable.shape))  # a trace's batch has a free size
        result = sequence if self.return_sequences else output
        return [result, *last] if self.return_state else result

    def _initial(self, sequences: Any, given: Any) -> Any:
        if given is not None:
            return list(given) if isinstance(given, (list, tuple)) else [given]
        start = initial_state(self.cell, ops.shape(sequences)[0])
        if self.stateful:
            return tree.pack_like(start, [v.value for v in self._kept_states])
        return start

    def _over_time(self, sequences: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, Any, Any]:
        """(all outputs, last output, last states)."""
        return self._scan(lambda x, old: run_cell(self.cell, x, old, training), sequences, states, mask)

    def _scan(self, step: Step, sequences: Any, states: Any, mask: Any) -> tuple[Any, Any, Any]:
        """``step`` over time: (output, new states) of (input, old states)."""
        xs = [ops.moveaxis(sequences, 1, 0)]
        if mask is not None:
            xs.append(ops.transpose(mask))
        size = getattr(self.cell, "output_size", None)
        (width,) = _sizes(size if size is not None else tree.flatten(self.cell.state_size)[0])
        blank = ops.zeros((ops.shape(sequences)[0], *width), self.compute_dtype)

        def body(carry: Any, x: Any) -> tuple[Any, Any]:
            before, old = carry
            output, new = step(x[0], old)
            output, new = ops.cast(output, self.compute_dtype), tree.pack_like(old, tree.flatten(new))
            shown = output
            if mask is not None:
                new = tree.map_structure(lambda n, o: ops.where(_wide(x[1], n), n, o), new, old)
                shown = ops.where(_wide(x[1], output), output, 0.0 if self.zero_output_for_mask else before)
                output = ops.where(_wide(x[1], output), output, before)
            return (output, new), shown

        (output, last), ys = ops.scan(body, (blank, states), xs, reverse=self.go_backwards)
        # A scan from the end leaves each output at its step; Keras gives them in the order in which they were made.
        ys = ops.flip(ys, 0) if self.go_backwards else ys
        return ops.moveaxis(ys, 0, 1), output, last

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        first = tree.flatten(mask)[0] if isinstance(mask, (list, tuple)) else mask
        output = first if self.return_sequences else None
        if not self.return_state:
            return output
        return [output, *(None for _ in _sizes(self.cell.state_size))]

    def reset_state(self) -> None:
        """Set the kept states of a stateful layer to 0."""
        for variable in self._kept_states:
            variable.assign(variable.numpy() * 0)

    reset_states = reset_state

    def _own_config(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in _OPTIONS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._own_config(), "cell": serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        if isinstance(config.get("cell"), dict):
            config["cell"] = deserialize_keras_object(config["cell"])
        return super().from_config(config)


class CellLayer(RNN):
    """A layer that makes its cell itself: it takes the cell's arguments and shows them as its own."""

    cell_class: type[RecurrentCell] | None = None
    cell_name = ""

    def __init_subclass__(cls) -> None:
        if cls.cell_class is None:
            return
        # What help() and editors show: the cell's arguments, then the layer's own.
        parameters = [p for n, p in _cell_arguments(cls.cell_class).items() if n != "rank"]
        parameters += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False) for n in _OPTIONS]
        cls.__signature__ = inspect.Signature([*parameters, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any):
        assert self.cell_class is not None
        options = {k: kwargs.pop(k) for k in _OPTIONS if k in kwargs}
        kwargs.pop("use_cudnn", None)
        names = _cell_arguments(self.cell_class)
        cell_arguments = {k: kwargs.pop(k) for k in names if k in kwargs}
        policy = kwargs.get("dtype")
        cell = self.cell_class(*args, **cell_arguments, dtype=policy, name=self.cell_name)
        super().__init__(cell, **options, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        return {
            **Layer.get_config(self),
            **self._own_config(),
            **self.cell.step_config(),
            **serialized(self.cell, "kernel", "recurrent", "bias"),
            "activity_regularizer": serialize_keras_object(self.activity_regularizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return Layer.from_config.__func__(cls, config)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        # A layer shows its cell's arguments as its own: layer.activation, layer.dropout, ...
        cell = self.__dict__.get("cell")
        if cell is None or name.startswith("_") or name not in vars(cell):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(cell, name)


class _Fused(CellLayer):
    """A layer whose cell runs over a whole sequence as one operator."""

    def _initial(self, sequences: Any, given: Any) -> Any:
        if given is not None:
            return list(given) if isinstance(given, (list, tuple)) else [given]
        return [v.value for v in self._kept_states] if self.stateful else [None] * self.cell.states

    def _over_time(self, sequences: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, Any, Any]:
        cell = self.cell
        if training and cell.dropout:
            # One mask for all steps: the time axis is 1 in the noise's shape.
            sizes = ops.shape(sequences)
            sequences = random.dropout(sequences, cell.dropout, (sizes[0], 1, sizes[2]), cell.seed_generator)
        if training and cell.recurrent_dropout:
            return self._run_dropping(sequences, states, mask)
        sequence, *last = cell.run(
            sequences, states, mask, reverse=self.go_backwards, zero_masked=self.zero_output_for_mask
        )
        return sequence, last[0], last

    def _run_dropping(self, sequences: Any, states: Any, mask: Any) -> tuple[Any, Any, Any]:
        """Step by step, the hidden state through one dropout mask for all steps (Gal & Ghahramani 2016)."""
        cell, batch = self.cell, ops.shape(sequences)[0]
        states = [z if s is None else s for s, z in zip(states, cell.get_initial_state(batch), strict=True)]
        ones = ops.ones((batch, cell.units), self.compute_dtype)
        noise = random.dropout(ones, cell.recurrent_dropout, seed=cell.seed_generator)

        def step(x: Any, old: Any) -> tuple[Any, Any]:
            sequence, *new = cell.run(ops.expand_dims(x, 1), [old[0] * noise, *old[1:]], None)
            return ops.squeeze(sequence, 1), new

        return self._scan(step, sequences, states, mask)


class SimpleRNN(_Fused):
    """h = activation(x @ kernel + h @ recurrent_kernel + bias) over time."""

    cell_class, cell_name = SimpleRNNCell, "simple_rnn_cell"

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("seed")  # Keras writes it for the cell only
        return config


class LSTM(_Fused):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) over [N, T, F]; gates in the order i, f, c, o."""

    cell_class, cell_name = LSTMCell, "lstm_cell"


class GRU(_Fused):
    """Gated recurrent unit (Cho et al. 2014) over [N, T, F]; gates in the order z, r, h."""

    cell_class, cell_name = GRUCell, "gru_cell"


def _sizes(state_size: Any) -> list[tuple[int, ...]]:
    """The shape of each of a cell's states: an int or a tuple of ints is one state, a list is several."""
    if isinstance(state_size, int):
        return [(state_size,)]
    if isinstance(state_size, tuple) and all(isinstance(s, int) for s in state_size):
        return [state_size]
    return [s for part in state_size for s in _sizes(part)]


def _wide(mask: Any, x: Any) -> Any:
    """A mask [N] in the rank of x."""
    while ops.ndim(mask) < ops.ndim(x):
        mask = ops.expand_dims(mask, -1)
    return mask

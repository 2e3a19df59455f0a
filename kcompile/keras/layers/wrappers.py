"""Layers around a layer: Bidirectional, TimeDistributed, Wrapper."""

from __future__ import annotations

import copy
from typing import Any

from kcompile.keras import ops, tree
from kcompile.keras.layers.base import Layer
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object


class Wrapper(Layer):
    """A layer that holds another; subclasses say what they do with it."""

    def __init__(self, layer: Any, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise ValueError(f"Layer {layer} supplied to Wrapper isn't a supported layer type: give a Layer instance")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        self.layer._ensure_built(input_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        for key in ("layer", "backward_layer"):
            if isinstance(config.get(key), dict):
                config[key] = deserialize_keras_object(config[key])
        return cls(**config)


class TimeDistributed(Wrapper):
    """The layer on every step of [N, T, ...] alike: time is folded into the batch for it."""

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                "`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, received: "
                f"{input_shape}"
            )
        super().build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        sizes = ops.shape(inputs)
        folded = ops.reshape(inputs, (sizes[0] * sizes[1], *sizes[2:]))
        if mask is not None and "mask" in self.layer._call_parameters():
            inner = ops.reshape(mask, (sizes[0] * sizes[1], *ops.shape(mask)[2:]))
            outputs = self.layer(folded, mask=inner, training=training)
        else:
            outputs = self.layer(folded, training=training)
        return tree.map_structure(lambda t: ops.reshape(t, (sizes[0], sizes[1], *ops.shape(t)[1:])), outputs)


class Bidirectional(Wrapper):
    """A recurrent layer forwards and another backwards, their outputs put together.

    ``merge_mode`` is concat, sum, mul, ave or None (both, as a list).
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(layer, **kwargs)
        if backward_layer is not None and not isinstance(backward_layer, Layer):
            raise ValueError(f"`backward_layer` need to be a `keras.layers.Layer` instance. Received: {backward_layer}")
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError(
                f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of {{'sum', 'mul', 'ave', "
                "'concat', None}"
            )
        del self.layer
        self.forward_layer = _copy(layer, f"forward_{layer.name.removeprefix('forward_')}")
        if backward_layer is None:
            self.backward_layer = _copy(layer, f"backward_{layer.name.removeprefix('forward_')}", backwards=True)
        else:
            self.backward_layer = backward_layer
        self._given_backward = backward_layer is not None
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            raise ValueError(
                "Forward layer and backward layer should have different `go_backwards` value. Received: "
                f"forward_layer.go_backwards {self.forward_layer.go_backwards}, "
                f"backward_layer.go_backwards={self.backward_layer.go_backwards}"
            )
        for made in (self.forward_layer, self.backward_layer):
            # Sequences are put side by side step by step: a masked step is 0 in both, as in Keras.
            made.zero_output_for_mask = made.return_sequences
        self.merge_mode = merge_mode
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec
        self._initial_weights = weights

    @property
    def layer(self) -> Any:  # type: ignore[override]
        return self.forward_layer

    @layer.setter
    def layer(self, value: Any) -> None:
        self.__dict__["forward_layer"] = value

    @layer.deleter
    def layer(self) -> None:
        self.__dict__.pop("forward_layer", None)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:  # type: ignore[override]
        for layer in (self.forward_layer, self.backward_layer):
            layer._ensure_built(sequences_shape)
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)
            self._initial_weights = None
        self.built = True

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        starts: list[Any] = [None, None]
        if initial_state is not None:
            half = len(initial_state) // 2
            starts = [initial_state[:half], initial_state[half:]]
        runs = []
        for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True):
            runs.append(layer(sequences, initial_state=start, mask=mask, training=training))
        states: list[Any] = []
        if self.return_state:
            states = [s for run in runs for s in run[1:]]
            runs = [run[0] for run in runs]
        forwards, backwards = runs
        if self.return_sequences:
            # The backward layer gives its outputs in the order in which it made them.
            backwards = ops.flip(backwards, 1)
        merged = _merged(self.merge_mode, forwards, backwards)
        if not self.return_state:
            return merged
        return [*merged, *states] if self.merge_mode is None else [merged, *states]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        first = mask[0] if isinstance(mask, list) else mask
        shown = first if self.return_sequences else None
        outputs: Any = [shown, shown] if self.merge_mode is None else shown
        if not self.return_state:
            return outputs
        count = 2 * len(tree.flatten(self.forward_layer.cell.state_size))
        return [*(outputs if isinstance(outputs, list) else [outputs]), *([None] * count)]

    def reset_state(self) -> None:
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def get_config(self) -> dict[str, Any]:
        config = {
            **Layer.get_config(self),
            "merge_mode": self.merge_mode,
            "layer": serialize_keras_object(self.forward_layer),
            "backward_layer": serialize_keras_object(self.backward_layer),
        }
        for key in ("layer", "backward_layer"):
            config[key].pop("build_config", None)
        return config


def _copy(layer: Any, name: str, backwards: bool = False) -> Any:
    config = copy.deepcopy(layer.get_config())
    config["name"] = name
    if backwards:
        config["go_backwards"] = not layer.go_backwards
    return type(layer).from_config(config)


def _merged(mode: str | None, forwards: Any, backwards: Any) -> Any:
    if mode == "concat":
        return ops.concatenate([forwards, backwards], axis=-1)
    if mode == "sum":
        return ops.add(forwards, backwards)
    if mode == "ave":
        return ops.divide(ops.add(forwards, backwards), 2)
    if mode == "mul":
        return ops.multiply(forwards, backwards)
    return [forwards, backwards]

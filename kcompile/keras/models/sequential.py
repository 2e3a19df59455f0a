"""`Sequential`: layers one after the other."""

from __future__ import annotations

from typing import Any

from kcompile.errors import UsageError
from kcompile.keras import backend
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.input_layer import Input, InputLayer
from kcompile.keras.layers.signature import tuples
from kcompile.keras.models.functional import adjust_rank, check_input
from kcompile.keras.models.model import Model
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.symbolic import KerasTensor


class Sequential(Model):
    """A stack of layers, each with one input and one output.

    Built at once where it starts with an Input (or the first layer says ``input_shape``), else at
    its first call.
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None):
        super().__init__(trainable=trainable, name=name)
        self._stack: list[Layer] = []
        self._tensors: tuple[KerasTensor, KerasTensor] | None = None
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer at the end."""
        if isinstance(layer, KerasTensor):
            layer = layer._keras_history[0].operation  # type: ignore[index]
        if callable(layer) and not isinstance(layer, Layer) and not isinstance(layer, type):
            from kcompile.keras.layers.core import Lambda

            layer = Lambda(layer)
        if not isinstance(layer, Layer):
            raise ValueError(
                "Only instances of `keras.Layer` can be added to a Sequential model. Received: "
                f"{layer} (of type {type(layer)})"
            )
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError(f"Sequential model '{self.name}' has already been configured to use input shape.")
        if any(x.name == layer.name for x in self._stack):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model."
            )
        if not self._stack and layer._input_shape_arg is not None:
            self._stack.append(InputLayer(batch_shape=layer._input_shape_arg))
        self._stack.append(layer)
        self._rebuild()

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away and return it."""
        layer = self._stack.pop()
        self.built, self._tensors = False, None
        self._rebuild()
        return layer

    def _rebuild(self) -> None:
        if self._stack and isinstance(self._stack[0], InputLayer):
            if len(self._stack) > 1:
                self._connect(self._stack[0].output)
        elif self.built:
            self.built, self._tensors = False, None

    def _connect(self, tensor: KerasTensor) -> None:
        x = tensor
        with self._scope():
            for layer in self.layers:
                x = layer(x)
                if not isinstance(x, KerasTensor):
                    raise ValueError(f"layer '{layer.name}' of a Sequential model must give one tensor, gave {x}")
        self._tensors = (tensor, x)
        self._build_shapes = {"input_shape": tensor.shape}
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        if self._stack and isinstance(self._stack[0], InputLayer):
            return
        if input_shape is None:
            raise ValueError(f"You must provide an `input_shape` argument to build '{self.name}'.")
        if not self._stack:
            raise ValueError(f"Sequential model {self.name} cannot be built because it has no layers.")
        # Embeddings and the like take integers, whose dtype only a call can tell: types don't matter to shapes here.
        first = Input(batch_shape=tuples(input_shape), dtype=self._stack[0].compute_dtype)
        self._stack.insert(0, first._keras_history[0].operation)
        self._connect(first)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not self.layers:
            raise UsageError(f"Sequential model {self.name!r} has no layers")
        x = inputs
        if self._tensors is not None and backend.is_array_like(x):
            x = adjust_rank(x, self._tensors[0].type.rank, self._tensors[0].shape)
            check_input(self.name, self._tensors[0], x, sizes=False)  # those the layers check
        if mask is not None:
            x._keras_mask = mask
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def layers(self) -> list[Layer]:
        """All layers but the InputLayer."""
        return self._stack[1:] if self._stack and isinstance(self._stack[0], InputLayer) else list(self._stack)

    @property
    def inputs(self) -> list[KerasTensor]:
        return [self._known()[0]]

    @property
    def outputs(self) -> list[KerasTensor]:
        return [self._known()[1]]

    @property
    def input(self) -> KerasTensor:
        return self._known()[0]

    @property
    def output(self) -> KerasTensor:
        return self._known()[1]

    @property
    def output_names(self) -> list[str]:
        return [self._stack[-1].name]

    def _known(self) -> tuple[KerasTensor, KerasTensor]:
        if self._tensors is None:
            raise AttributeError(
                f"Sequential model '{self.name}' has no defined input yet: start it with keras.Input(shape) or call it"
            )
        return self._tensors

    def get_config(self) -> dict[str, Any]:
        config = Layer.get_config(self) if type(self) is Sequential else super().get_config()
        config = {k: config[k] for k in ("name", "trainable", "dtype") if k in config}
        config["layers"] = [serialize_keras_object(layer) for layer in self._stack]
        if self._tensors is not None:
            config["build_input_shape"] = list(self._tensors[0].shape)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        model = cls(name=config.get("name"))
        for layer in config["layers"]:
            model.add(deserialize_keras_object(layer))
        shape = config.get("build_input_shape")
        if shape and not model.built:
            model.build(tuple(shape))
        model._trainable = config.get("trainable", True)
        return model

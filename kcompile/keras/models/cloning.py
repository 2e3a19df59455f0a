"""Models from JSON, and models like a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kcompile.errors import FileFormatError, printable
from kcompile.keras import tree
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.core import Lambda
from kcompile.keras.layers.input_layer import Input, InputLayer
from kcompile.keras.models.functional import Functional
from kcompile.keras.models.model import Model
from kcompile.keras.models.sequential import Sequential
from kcompile.keras.saving.registration import custom_object_scope
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.symbolic import KerasTensor


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model that `Model.to_json` wrote down, with new weights. Raises FileFormatError for what is not JSON."""
    try:
        config = json.loads(json_string)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileFormatError(f"model_from_json: not JSON: {printable(error)}") from error
    return deserialize_keras_object(config, custom_objects)


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Layer], Layer] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Any:
    """The same layers anew, with new weights, compiled as the model is.

    ``clone_function(layer)`` makes each new layer, ``call_function(layer, *args, **kwargs)`` calls it (functional
    models only), ``recursive`` goes into the models within, and ``input_tensors`` take the place of the inputs.
    Raises ValueError where a kind of model does not take an argument.
    """
    cache = kwargs.pop("cache", {})
    if kwargs:
        raise ValueError(f"Unexpected keyword argument(s): {tuple(kwargs)}")
    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError("`call_function` is for functional models: a Sequential model only lists its layers")
        return _compiled_like(
            model, _sequential(model, input_tensors, _Cloning(clone_function, None, recursive, cache))
        )
    if isinstance(model, Functional):
        cloning = _Cloning(clone_function, call_function, recursive, cache)
        return _compiled_like(model, _functional(model, input_tensors, cloning))
    if any(x is not None for x in (clone_function, input_tensors, call_function)):
        raise ValueError(
            "`clone_function`, `call_function` and `input_tensors` are for functional and Sequential models, not for "
            f"{type(model).__name__}"
        )
    with custom_object_scope({type(model).__name__: type(model)}):
        return deserialize_keras_object(serialize_keras_object(model))


class _Cloning:
    """Makes a layer's clone, once."""

    def __init__(self, function: Any, call: Any, recursive: bool, cache: dict[int, Any]):
        self.function, self.call, self.recursive, self.cache = function, call, recursive, cache

    def __call__(self, layer: Any) -> Any:
        if id(layer) not in self.cache:
            if self.recursive and isinstance(layer, (Sequential, Functional)):
                options = {} if isinstance(layer, Sequential) else {"call_function": self.call}
                made = clone_model(layer, None, self.function, recursive=True, cache=self.cache, **options)
            elif self.function is not None:
                made = self.function(layer)
            elif isinstance(layer, Lambda):
                made = layer.copied()
            else:
                made = type(layer).from_config(layer.get_config())
            self.cache[id(layer)] = made
        return self.cache[id(layer)]


def _compiled_like(model: Model, clone: Any) -> Any:
    if model.compiled:
        clone.compile_from_config(model.get_compile_config())
    return clone


def _sequential(model: Sequential, input_tensors: Any, clone: _Cloning) -> Sequential:
    layers = [clone(layer) for layer in model.layers]
    first = model._stack[0] if model._stack and isinstance(model._stack[0], InputLayer) else None
    if input_tensors is not None:
        given = tree.flatten(input_tensors)
        if len(given) != 1 or not isinstance(given[0], KerasTensor):
            raise ValueError("`input_tensors` of a Sequential model must be one KerasTensor")
        name = None if first is None else first.name
        layers.insert(0, InputLayer(batch_shape=given[0].shape, dtype=given[0].dtype, name=name))
    elif first is not None:
        layers.insert(0, InputLayer(batch_shape=first.batch_shape, dtype=first.dtype, name=first.name))
    return Sequential(layers, name=model.name, trainable=model.trainable)


def _functional(model: Functional, input_tensors: Any, clone: _Cloning) -> Any:
    if input_tensors is None:
        inputs = tree.map_structure(
            lambda t: Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), model._inputs_struct
        )
    else:
        inputs = input_tensors
        if not all(isinstance(t, KerasTensor) for t in tree.leaves(inputs)):
            raise ValueError("All entries in `input_tensors` must be KerasTensors")
        if len(tree.flatten(inputs)) != len(model.inputs):
            raise ValueError(
                f"`input_tensors` must have the same structure as the model's {len(model.inputs)} inputs, got "
                f"{len(tree.flatten(inputs))} tensors"
            )
        inputs = tree.pack_like(model._inputs_struct, tree.flatten(inputs))

    def operate(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, Layer):
            # A function of keras.ops has nothing to clone.
            return operation.function(*args, **kwargs)
        made = clone(operation)
        return made(*args, **kwargs) if clone.call is None else clone.call(made, *args, **kwargs)

    tensors = {id(reference): x for reference, x in zip(model.inputs, tree.leaves(inputs), strict=True)}
    outputs = model._run_through(tensors, [x.type for x in tree.leaves(inputs)], operate)
    # A subclass with arguments of its own can only be a plain functional model.
    own = type(model) is not Functional and type(model).__init__ is not Functional.__init__
    return (Functional if own else type(model))(inputs, outputs, name=model.name)

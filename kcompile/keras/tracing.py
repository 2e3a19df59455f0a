"""`trace`: a model as a Graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.ir import Graph, Type, input_value, verify
from kcompile.ir import dtype as ir_dtype
from kcompile.keras import backend, symbolic, tree
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.call_inputs import InputShape
from kcompile.keras.layers.input_layer import input_type
from kcompile.tracing.scope import root_scope
from kcompile.tracing.tensor import SymbolicTensor, lift
from kcompile.tracing.tracer import Tracer


def trace(model: Layer, inputs: Any = None, *, batch: int | None = None, training: bool = False) -> Graph:
    """The model as a Graph that holds its weights' arrays.

    ``inputs`` says what it is called with where the model itself does not know (a subclassed model
    never called, a single layer): arrays, `keras.Input` tensors or shapes with None for free sizes,
    in the call's structure. The first axis is the batch, ``N``, unless ``batch`` fixes it.
    Raises TraceError for code that can't be followed, UsageError where inputs are not known.
    """
    structure, names = _inputs_of(model, inputs)
    taken = {"N"}
    values = []
    for name, spec in zip(names, tree.flatten(structure), strict=True):
        type = input_type(spec.shape, ir_dtype(spec.dtype), taken)
        if batch is not None and type.shape:
            type = Type(type.dtype, (batch, *type.shape[1:]))
        values.append(input_value(name, type))
    tracer = Tracer(model.name if getattr(model, "is_model", False) else "")
    with tracer.scope(), root_scope():
        call = tree.pack_like(structure, [SymbolicTensor(v) for v in values])
        outputs = model(call, training=training)
        results = [lift(t) for t in tree.leaves(outputs)]
    graph = tracer.graph(model.name, values, results, _output_names(model, outputs, names))
    return verify(graph.replace(weights=tracer.arrays()))


def _inputs_of(model: Layer, inputs: Any) -> tuple[Any, list[str]]:
    """(structure of `InputShape`, an input name for each)."""
    if inputs is None:
        try:
            inputs = model.input if getattr(model, "is_model", False) else None
        except AttributeError:
            inputs = model._called_with  # type: ignore[attr-defined]
    if inputs is None:
        raise UsageError(
            f"the inputs of {model.name!r} are not known: call it once on an example, or give trace/export inputs="
        )
    structure = _as_specs(inputs)
    leaves = tree.flatten(structure)
    names = []
    used: set[str] = set()
    keys = _keys(structure)
    for i, leaf in enumerate(leaves):
        name = leaf.name or keys[i] or ("inputs" if len(leaves) == 1 else f"input_{i}")
        label, count = name, 0
        while label in used:
            count += 1
            label = f"{name}_{count}"
        used.add(label)
        names.append(label)
    return structure, names


def _keys(structure: Any) -> list[str | None]:
    if isinstance(structure, dict) and all(not tree.is_nested(v) for v in structure.values()):
        return [str(k) for k in tree.sorted_keys(structure)]
    return [None] * max(len(tree.flatten(structure)), 1)


def _is_shape(x: Any) -> bool:
    return isinstance(x, (tuple, list)) and bool(x) and all(d is None or type(d) is int for d in x)


def _as_specs(inputs: Any) -> Any:
    if _is_shape(inputs):
        return InputShape(inputs, "float32")
    if isinstance(inputs, dict):
        return {k: _as_specs(v) for k, v in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return [_as_specs(v) for v in inputs]
    if isinstance(inputs, InputShape):
        return inputs
    if isinstance(inputs, symbolic.KerasTensor):
        return InputShape(inputs.shape, inputs.dtype, inputs.name)
    if hasattr(inputs, "shape") and hasattr(inputs, "dtype"):
        shape, dtype = tuple(inputs.shape), inputs.dtype or "float32"
        if isinstance(inputs, np.ndarray) or backend.is_tensor(inputs):
            shape = (None, *shape[1:]) if shape else shape
        return InputShape(shape, "float32" if str(dtype) == "float64" and isinstance(inputs, np.ndarray) else dtype)
    raise UsageError(f"inputs: {type(inputs).__name__} is not an array, a keras.Input or a shape")


def _output_names(model: Any, outputs: Any, inputs: Sequence[str]) -> list[str]:
    count = len(tree.flatten(outputs))
    if isinstance(outputs, dict) and all(not tree.is_nested(v) for v in outputs.values()):
        names = [str(k) for k in tree.sorted_keys(outputs)]
    else:
        try:
            names = list(model.output_names)
        except AttributeError:
            names = []
    if len(names) != count:
        names = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    used, unique = set(inputs), []
    for name in names:
        label, number = name, 0
        while label in used:
            number += 1
            label = f"{name}_{number}"
        used.add(label)
        unique.append(label)
    return unique

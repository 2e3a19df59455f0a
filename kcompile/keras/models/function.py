"""`Function`: the graph between tensors as a function, without what makes a model of it."""

from __future__ import annotations

from typing import Any

from kcompile.keras.models.functional import Functional
from kcompile.keras.symbolic import KerasTensor


class Function:
    """Computes ``outputs`` out of ``inputs``, tensors of a functional model or nests of them."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None):
        self._graph = Functional(inputs, outputs, name=name or "function")

    @property
    def name(self) -> str:
        return self._graph.name

    @property
    def operations(self) -> list[Any]:
        """Layers and functions, in the order of a model's layers."""
        return list(self._graph._operations)

    @property
    def inputs(self) -> list[KerasTensor]:
        return self._graph.inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        return self._graph.outputs

    def __call__(self, inputs: Any) -> Any:
        """The outputs for tensors, in the form of ``outputs``."""
        return self._graph(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shapes of the outputs for inputs of these shapes."""
        return self._graph.compute_output_shape(input_shape)

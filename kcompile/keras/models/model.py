"""`Model`: a layer that is trained, saved and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcompile.keras import symbolic
from kcompile.keras.layers import signature
from kcompile.keras.layers.base import Layer
from kcompile.keras.saving.serialization import serialize_keras_object
from kcompile.keras.training.trainer import Trainer


class Model(Layer, Trainer):
    """A layer with `compile`, `fit`, `evaluate`, `predict`, `save` and `export`.

    ``Model(inputs, outputs)`` makes a functional model; a subclass defines ``call``.
    """

    is_model = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model and _is_functional_call(args, kwargs):
            from kcompile.keras.models.functional import Functional

            return Functional.__new__(Functional, *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        if args or "inputs" in kwargs:
            # A subclass that hands its tensors on (super().__init__(inputs, outputs)) is functional.
            self._become_functional(args, kwargs)
            return
        Trainer.__init__(self)
        super().__init__(**kwargs)

    def _become_functional(self, args: Any, kwargs: Any) -> None:
        from kcompile.keras.models.functional import Functional

        if not isinstance(self, Functional):
            if not _is_functional_call(args, kwargs):
                raise TypeError(f"{type(self).__name__}: unexpected arguments {args}")
            self.__class__ = type(type(self).__name__, (type(self), Functional), {"__module__": type(self).__module__})
        Functional.__init__(self, *args, **kwargs)  # type: ignore[arg-type]

    @property
    def layers(self) -> list[Layer]:
        """The layers directly within."""
        return self._sublayers()

    def _sublayers(self) -> list[Layer]:
        from kcompile.keras.metrics.base import Metric

        return [x for x in super()._sublayers() if not isinstance(x, Metric)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index; raises ValueError where there is none."""
        if index is not None:
            if not 0 <= index < len(self.layers):
                raise ValueError(f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[x.name for x in self.layers]}.")

    @property
    def input_shape(self) -> Any:
        """Shape of the input (a list of them for several), None for free sizes."""
        shapes = [t.shape for t in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        shapes = [t.shape for t in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def inputs(self) -> list[symbolic.KerasTensor]:
        raise AttributeError(f"model '{self.name}' is subclassed: its inputs are known only from a call")

    @property
    def outputs(self) -> list[symbolic.KerasTensor]:
        raise AttributeError(f"model '{self.name}' is subclassed: its outputs are known only from a call")

    @property
    def input_names(self) -> list[str]:
        return [t.name for t in self.inputs]

    def summary(self, line_length: int | None = None, print_fn: Any = None, **kwargs: Any) -> None:
        """Print a table of layers, output shapes and parameter counts."""
        from kcompile.keras.models.summary import summary_text

        text = summary_text(self, line_length, **kwargs)
        if print_fn is not None:
            print_fn(text)
        else:
            import sys

            sys.stdout.write(text + "\n")

    def save(self, filepath: str | Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Write a ``.keras`` file that Keras 3 reads too; it appears whole or not at all."""
        from kcompile.keras.saving.keras_file import save_model

        save_model(self, filepath, overwrite=overwrite)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write a ``.weights.h5`` file."""
        from kcompile.keras.saving.keras_file import save_weights

        save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Read a ``.weights.h5`` or ``.keras`` file; changes nothing where it doesn't fit."""
        from kcompile.keras.saving.keras_file import load_weights

        load_weights(self, filepath, skip_mismatch=skip_mismatch)

    def export(self, filepath: str | Path, format: str = "onnx", verbose: bool | None = None, **kwargs: Any) -> Any:
        """Write the model as an ONNX file, optimised and verified; see `kcompile.export`."""
        if format != "onnx":
            raise ValueError(f"export writes format='onnx', not {format!r}")
        from kcompile.keras.exporting import export

        return export(self, filepath, **kwargs)

    def to_json(self, **kwargs: Any) -> str:
        """The model's configuration as JSON."""
        import json

        return json.dumps(serialize_keras_object(self), **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Make all variables for inputs of this shape (a list or dict of shapes for several), by a traced call."""
        if self.built or input_shape is None:
            return
        tensors = signature.as_keras_tensors(signature.tuples(input_shape), self.compute_dtype)
        symbolic.symbolic_outputs(self, (tensors,), {})

    def _has_default_build(self) -> bool:
        return type(self).build is Model.build

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from kcompile.keras.models.functional import Functional

        if cls is Model and "input_layers" in config:
            return Functional.from_config(config)
        return super().from_config(config)


def _is_functional_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs) or ("inputs" in kwargs and "outputs" in kwargs)

"""A layer as a config and back, and its own part of a weights file."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras.layers import signature, tracking
from kcompile.keras.layers.state import LayerState
from kcompile.keras.saving.serialization import serialize_keras_object


class Configurable(LayerState):
    """What saving asks of a layer."""

    activity_regularizer: Any
    _build_shapes: dict[str, Any] | None

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again; a custom layer's are taken from its ``__init__`` call."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize_keras_object(self.dtype_policy),
        }
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = serialize_keras_object(self.activity_regularizer)
        if type(self).get_config is Configurable.get_config:
            config.update(signature.constructor_arguments(self))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        try:
            return cls(**config)
        except TypeError as error:
            # Not the whole config, which is kilobytes: the class, the layer's name and what was wrong.
            raise TypeError(
                f"{cls.__name__} {config.get('name', '')!r} can't be made from its config: {error}"
            ) from error

    def get_build_config(self) -> dict[str, Any] | None:
        if self._build_shapes is None:
            return None
        shapes = self._build_shapes
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": dict(shapes)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not config or self.built:
            return
        if "shapes_dict" in config:
            self.build(**{k: tuple(v) for k, v in config["shapes_dict"].items()})  # type: ignore[attr-defined]
            self._build_shapes = config["shapes_dict"]
        elif config.get("input_shape") is not None:
            shape = signature.tuples(config["input_shape"])
            self.build(shape)  # type: ignore[attr-defined]
            self._build_shapes = {"input_shape": shape}
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own variables, numbered, into a mapping."""
        for i, variable in enumerate(tracking.variables_of(self)):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote; raises ValueError where count or shape differs."""
        own = tracking.variables_of(self)
        if len(store.keys()) != len(own):
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables, but received {len(store.keys())} variables "
                "during loading."
            )
        for i, variable in enumerate(own):
            variable.assign(np.asarray(store[str(i)]))

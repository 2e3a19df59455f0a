"""Models from JSON, and models like a model."""

from __future__ import annotations

import json
from typing import Any

from kcompile.errors import FileFormatError, UnsupportedError, printable
from kcompile.keras.models.model import Model
from kcompile.keras.saving.serialization import deserialize_keras_object


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model that `Model.to_json` wrote down, with new weights. Raises FileFormatError for what is not JSON."""
    try:
        config = json.loads(json_string)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileFormatError(f"model_from_json: not JSON: {printable(error)}") from error
    return deserialize_keras_object(config, custom_objects)


def clone_model(model: Model, input_tensors: Any = None, clone_function: Any = None, **kwargs: Any) -> Any:
    """The same layers anew, with new weights."""
    given = {"input_tensors": input_tensors, "clone_function": clone_function, **kwargs}
    for name, value in given.items():
        if value is not None:
            raise UnsupportedError(f"clone_model: `{name}` is not supported; leave it out")
    return type(model).from_config(model.get_config())

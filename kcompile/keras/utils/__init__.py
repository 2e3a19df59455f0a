"""`keras.utils`."""

from __future__ import annotations

from typing import Any

from kcompile.keras.backend import clear_session, is_keras_tensor, standardize_dtype
from kcompile.keras.config import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from kcompile.keras.imagefiles import array_to_img, img_to_array, load_img, save_img
from kcompile.keras.progress import Progbar
from kcompile.keras.random_state import set_random_seed
from kcompile.keras.saving import deserialize_keras_object, serialize_keras_object
from kcompile.keras.saving.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from kcompile.keras.symbolic import KerasTensor
from kcompile.keras.training.own_step import packed
from kcompile.keras.training.py_dataset import PyDataset
from kcompile.keras.training.sources import unpack
from kcompile.keras.utils.datasets import split_dataset, timeseries_dataset_from_array
from kcompile.keras.utils.plotting import model_to_dot, plot_model
from kcompile.keras.utils.sequences import normalize, pad_sequences, to_categorical

Sequence = PyDataset


def get_source_inputs(tensor: KerasTensor) -> list[KerasTensor]:
    """The inputs that a functional model's tensor comes from, each once."""
    if tensor._keras_history is None:
        return [tensor]
    node = tensor._keras_history[0]
    if not node.input_tensors:
        return [tensor]
    found = [source for t in node.input_tensors for source in get_source_inputs(t)]
    return list({id(t): t for t in found}.values())


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """x, (x, y) or (x, y, sample_weight): the forms in which `fit` takes batches."""
    return packed((x, y, sample_weight if y is not None else None))


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of a batch in any of its forms; None for what is not there."""
    return unpack(tuple(data) if isinstance(data, list) else data)


__all__ = [
    "CustomObjectScope", "Progbar", "PyDataset", "Sequence", "array_to_img", "clear_session", "custom_object_scope",
    "deserialize_keras_object", "disable_interactive_logging", "enable_interactive_logging", "get_custom_objects",
    "get_registered_name", "get_registered_object", "get_source_inputs", "img_to_array",
    "is_interactive_logging_enabled", "is_keras_tensor", "load_img", "model_to_dot", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_model", "register_keras_serializable", "save_img",
    "serialize_keras_object", "set_random_seed", "split_dataset", "standardize_dtype", "timeseries_dataset_from_array",
    "to_categorical", "unpack_x_y_sample_weight",
]  # fmt: skip

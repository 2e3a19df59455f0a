"""`keras.models`."""

from kcompile.keras.models.cloning import clone_model, model_from_json
from kcompile.keras.models.function import Function
from kcompile.keras.models.functional import Functional
from kcompile.keras.models.model import Model
from kcompile.keras.models.sequential import Sequential
from kcompile.keras.saving import load_model, save_model

__all__ = [
    "Function",
    "Functional",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]

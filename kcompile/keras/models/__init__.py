"""`keras.models`."""

from kcompile.keras.models.functional import Functional
from kcompile.keras.models.model import Model
from kcompile.keras.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential"]

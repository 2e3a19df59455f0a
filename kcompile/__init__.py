"""A compiler for Keras-style models.

``from kcompile import keras`` is the Keras API; `export`, `trace`, `optimize`, `optimize_file`,
`predict_file` and `load` are the compiler's. Importing this module loads none of torch, onnx, onnxruntime and h5py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives; loaded at first use.
_PUBLIC = {
    "keras": ("kcompile.keras", None),
    "errors": ("kcompile.errors", None),
    "export": ("kcompile.keras.exporting", "export"),
    "trace": ("kcompile.keras.tracing", "trace"),
    "optimize": ("kcompile.keras.exporting", "optimize"),
    "optimize_file": ("kcompile.keras.optimizing", "optimize_file"),
    "load": ("kcompile.runtime.model", "load"),
    "ParquetDataset": ("kcompile.keras.training.parquet", "ParquetDataset"),
    "predict_file": ("kcompile.runtime.predicting", "predict_file"),
}

if TYPE_CHECKING:
    from kcompile import errors, keras
    from kcompile.keras.exporting import export, optimize
    from kcompile.keras.optimizing import optimize_file
    from kcompile.keras.tracing import trace
    from kcompile.keras.training.parquet import ParquetDataset
    from kcompile.runtime.model import load
    from kcompile.runtime.predicting import predict_file

__all__ = [
    "ParquetDataset",
    "__version__",
    "errors",
    "export",
    "keras",
    "load",
    "optimize",
    "optimize_file",
    "predict_file",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kcompile' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})

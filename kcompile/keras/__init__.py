"""The Keras API: ``from kcompile import keras`` in place of ``import keras``."""

from kcompile.keras import (
    activations,
    callbacks,
    catalogue,
    config,
    constraints,
    datasets,
    distribution,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    saving,
    tree,
    utils,
)
from kcompile.keras.dtype_policies import DTypePolicy, FloatDTypePolicy
from kcompile.keras.initializers import Initializer
from kcompile.keras.layers import Input, InputSpec, Layer
from kcompile.keras.losses import Loss
from kcompile.keras.metrics import Metric
from kcompile.keras.models import Function, Functional, Model, Sequential
from kcompile.keras.optimizers import Optimizer
from kcompile.keras.regularizers import Regularizer
from kcompile.keras.rematerialization import RematScope, remat
from kcompile.keras.scopes import device, name_scope
from kcompile.keras.symbolic import KerasTensor
from kcompile.tracing.variable import Variable

__version__ = "3.15.0"  # the version of Keras whose API this follows


def version() -> str:
    """The version of Keras whose API this follows."""
    return __version__


__all__ = [
    "DTypePolicy", "FloatDTypePolicy", "Function", "Functional", "Initializer", "Input", "InputSpec", "KerasTensor", "Layer",
    "Loss", "Metric", "Model", "Optimizer", "Regularizer", "RematScope", "Sequential", "Variable", "activations", "callbacks",
    "config", "constraints", "datasets", "device", "distribution", "dtype_policies", "initializers", "layers", "losses", "metrics",
    "mixed_precision", "models", "name_scope", "ops", "optimizers", "preprocessing", "random", "regularizers", "remat", "saving", "tree", "utils",
    "version",
]  # fmt: skip

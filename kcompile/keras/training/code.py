"""The generated code of a training step, to be read."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.keras import tree
from kcompile.keras.training.arrays import as_tensor

ROWS, LENGTH = 2, 8  # of the batch that the step is made for; the code's sizes stay free


def step_code(model: Any) -> str:
    """A compiled model's step in torch: forward pass, loss and metrics (and gradients, in small models), then the update.

    Targets are taken to be of the outputs' shapes, integers where the loss is called sparse. Raises
    UsageError for a model that is not compiled, has no defined inputs or trains by steps of its own.
    """
    if not model.compiled:
        raise UsageError("the model is not compiled: its step has no loss; call `compile` in the script")
    step = getattr(model._step("train"), "traced", None)
    if step is None or not isinstance(getattr(model, "outputs", None), list):
        raise UsageError("no code is generated for a model without defined inputs or with a train_step of its own")
    sparse = "sparse" in str(getattr(model.loss, "name", None) or getattr(model.loss, "__name__", model.loss)).lower()
    x = tree.map_structure(lambda t: as_tensor(np.zeros(_sizes(t.shape), t.dtype)), model.input)
    y = [
        as_tensor(np.zeros(_sizes(t.shape[:-1] if sparse else t.shape), "int32" if sparse else t.dtype))
        for t in model.outputs
    ]
    step.prepare((x, y[0] if len(y) == 1 else y, None))
    runner = step.runner
    return f"# forward pass\n{runner.forward.code.strip()}\n\n# update\n{runner.update.code.strip()}\n"


def _sizes(shape: Any) -> tuple[int, ...]:
    return (ROWS, *(LENGTH if d is None else d for d in shape[1:]))

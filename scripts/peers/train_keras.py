"""An epoch of a model of the zoo through `fit`, in kcompile or in real Keras. Called by bench_training.py.

python train_keras.py kcompile|torch|tensorflow|jax auto|jit MODEL BATCH STEPS
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# This file's own folder would hide packages that its neighbours are named after.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
sys.path.append(str(Path(__file__).resolve().parent))
from training import Case, Trainer, serve

WHAT, JIT = sys.argv[1], sys.argv[2]
if WHAT == "kcompile":
    from kcompile import keras
else:
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = WHAT, "3"
    import keras

if WHAT == "tensorflow":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def fixed(length: int) -> Any:
    """Keras with inputs of this length where they have any: on JAX it builds no positions of a free one."""

    def sized(shape: Any = None, **options: Any) -> Any:
        return keras.Input((length,) if shape == (None,) else shape, **options)

    return SimpleNamespace(**{**vars(keras), "Input": sized})


class Fitted(Trainer):
    def __init__(self, case: Case, batch: int):
        self.model, self.batch = case.build(fixed(case.length) if WHAT == "jax" and case.length else keras), batch
        loss: Any = case.loss
        if loss == "logits":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        jit: Any = True if JIT == "jit" else "auto"
        self.model.compile(case.optimizer, loss, metrics=case.metrics, jit_compile=jit)

    def fit(self, x: Any, y: Any) -> None:
        self.model.fit(x, y, batch_size=self.batch, shuffle=False, verbose=0)

    def parameters(self) -> int:
        return sum(math.prod(v.shape) for v in self.model.trainable_variables)


if __name__ == "__main__":
    serve(Fitted)

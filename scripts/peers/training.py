"""What is trained in bench_training.py: models, losses, data; and how a trainer talks to the benchmark.

A peer's program builds a `Trainer` and hands it to `serve`, which takes numbers of steps from standard
input, one a line, and answers with the CPU seconds that they took, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import zoo


@dataclass(frozen=True)
class Case:
    """A model of the zoo in training: its loss as Keras names it, its targets, the steps of an epoch at batch 32."""

    model: str
    loss: str
    classes: int | None
    steps: int
    optimizer: str = "adam"

    @property
    def metrics(self) -> list[str]:
        return ["accuracy"] if self.classes else []

    @property
    def length(self) -> int | None:
        """Of the model's sequences, where positions are learned of them."""
        return zoo.ZOO[self.model].length if self.model in ("transformer", "gpt") else None

    def build(self, keras: Any) -> Any:
        """The model with an API of Keras's kind."""
        return neuron(keras) if self.model == "neuron" else zoo.ZOO[self.model].build(keras)

    def data(self, batch: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples and targets for an epoch."""
        rng = np.random.default_rng(1)
        rows = batch * steps
        if self.model == "neuron":
            x = rng.standard_normal((rows, 1)).astype(np.float32)
            return x, 2 * x - 1
        x = zoo.ZOO[self.model].feed(rows)[0]
        if self.model == "gpt":
            return x, np.roll(x, -1, axis=1)
        if self.classes is None:
            return x, x
        return x, rng.integers(0, self.classes, rows).astype(np.int32)


def neuron(keras: Any) -> Any:
    """Linear regression."""
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


SPARSE = "sparse_categorical_crossentropy"
CASES = {
    "mlp": Case("mlp", SPARSE, 10, 100),
    "cnn": Case("cnn", SPARSE, 10, 16),
    "resnet": Case("resnet", SPARSE, 10, 8),
    "lstm": Case("lstm", SPARSE, 2, 12),
    "transformer": Case("transformer", SPARSE, 4, 2),
    "gpt": Case("gpt", "logits", 256, 4),
    "autoencoder": Case("autoencoder", "mse", None, 16),
    "neuron": Case("neuron", "mse", None, 1000, "sgd"),
}


class Trainer:
    """``fit(x, y)`` trains an epoch in batches, in the data's order."""

    def fit(self, x: Any, y: Any) -> None:
        raise NotImplementedError

    def parameters(self) -> int:
        """Trained numbers."""
        raise NotImplementedError


def serve(make: Callable[[Case, int], Trainer]) -> None:
    """Run as ``PROGRAM ... MODEL BATCH STEPS``: answer each line with the cost of an epoch of so many steps."""
    answers, name, batch, steps = os.fdopen(os.dup(1), "w"), sys.argv[-3], int(sys.argv[-2]), int(sys.argv[-1])
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    case = CASES[name]
    x, y = case.data(batch, steps)
    imported, wall, before = time.process_time(), time.perf_counter(), memory()
    trainer = make(case, batch)
    trainer.fit(x[:batch], y[:batch])
    answer(
        start=time.process_time(),
        first=time.process_time() - imported,
        first_wall=time.perf_counter() - wall,
        parameters=trainer.parameters(),
    )
    for line in sys.stdin:
        if not line.strip():
            break
        count = int(line)
        begun, wall = time.process_time(), time.perf_counter()
        trainer.fit(x[: count * batch], y[: count * batch])
        seconds, clock = time.process_time() - begun, time.perf_counter() - wall
        answer(step=seconds / count * 1e3, wall=clock / count * 1e3)
    answer(peak=memory(), grown=memory() - before)


def memory() -> float:
    """The highest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

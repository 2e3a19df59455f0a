"""Callbacks that write logs or set the learning rate: CSVLogger, LearningRateScheduler."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kcompile.errors import UsageError
from kcompile.files.atomic import own_path
from kcompile.keras.callbacks.base import Callback, say
from kcompile.keras.callbacks.monitor import learning_rate


class CSVLogger(Callback):
    """Writes a row an epoch into a CSV file: the epoch, then the logged values by name."""

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.sep, self.append = own_path(filename), separator, append
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.filename.parent.is_dir():
            raise UsageError(f"CSVLogger: the folder {self.filename.parent} does not exist")
        if not self.append:
            self.filename.unlink(missing_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        fresh = not self.filename.is_file() or self.filename.stat().st_size == 0
        if self._keys is None:
            self._keys = sorted(logs)
        with self.filename.open("a", newline="") as stream:
            writer = csv.writer(stream, delimiter=self.sep)
            if fresh:
                writer.writerow(["epoch", *self._keys])
            writer.writerow([epoch, *(logs.get(k, "NA") for k in self._keys)])


class LearningRateScheduler(Callback):
    """Sets the rate at the start of each epoch to ``schedule(epoch, rate)``."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = learning_rate(self.model)
        try:
            wanted = self.schedule(epoch, rate)
        except TypeError:  # a schedule of the epoch alone
            wanted = self.schedule(epoch)
        if not isinstance(wanted, (int, float)) and not hasattr(wanted, "__float__"):
            raise ValueError(f"The output of the `schedule` function should be a float. Got: {wanted}")
        self.model.optimizer.learning_rate = float(wanted)
        if self.verbose > 0:
            say(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(wanted)}.")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = learning_rate(self.model)

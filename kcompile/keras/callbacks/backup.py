"""`BackupAndRestore`: a killed run goes on where its last finished epoch ended."""

from __future__ import annotations

import json
import random as python_random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, UsageError, printable
from kcompile.files.atomic import replacing
from kcompile.keras import backend
from kcompile.keras.callbacks.base import Callback

FILE = "backup.npz"


class BackupAndRestore(Callback):
    """Keeps weights, optimizer state and the state of all random generators after each epoch in ``backup_dir``.

    A run of the same script that finds them there goes on behind that epoch, to the same weights as a
    run that was never stopped: the order of shuffled data and dropout included. The file appears whole
    or not at all, and is deleted where training ends (unless ``delete_checkpoint=False``).
    """

    def __init__(
        self,
        backup_dir: str | Path,
        save_freq: str = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        super().__init__()
        if not str(backup_dir):
            raise ValueError("Empty `backup_dir` argument passed")
        if save_freq != "epoch" or double_checkpoint:
            raise ValueError("BackupAndRestore keeps whole epochs: leave save_freq='epoch', double_checkpoint=False")
        self.folder, self.delete_checkpoint = Path(backup_dir), delete_checkpoint

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.path.is_file():
            self.model._initial_epoch = self._restore()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"variable_{i}": v.numpy() for i, v in enumerate(self._variables())}
        kind, keys, position, gauss, cached = np.random.get_state(legacy=True)
        arrays |= {f"torch/{device}": a for device, a in backend.engine().random_state().items()}
        arrays["numpy"] = np.asarray(keys)
        version, numbers, following = python_random.getstate()
        arrays["python"] = np.asarray(numbers, dtype=np.int64)
        state = {
            "epoch": epoch + 1,
            "numpy": [str(kind), int(position), int(gauss), float(cached)],
            "python": [version, following],
        }
        with replacing(self.path) as stream:
            np.savez(stream, state=np.array(json.dumps(state)), **arrays)  # type: ignore[arg-type]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def _variables(self) -> list[Any]:
        model = self.model
        if not model.built:
            raise UsageError(f"BackupAndRestore: model {model.name!r} has no weights yet; build it before fit")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return [*model.variables, *model.optimizer.variables]

    def _restore(self) -> int:
        """Set everything as it was; returns the epoch to go on with."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = {k: stored[k] for k in stored.files}
            state = json.loads(str(arrays["state"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise FileFormatError(f"{self.path}: not a backup: {printable(error)}; delete it to start anew") from error
        variables = self._variables()
        kept = [arrays.get(f"variable_{i}") for i in range(len(variables))]
        fits = all(a is not None and a.shape == v.shape for a, v in zip(kept, variables, strict=True))
        if not fits or f"variable_{len(variables)}" in arrays:
            raise UsageError(f"{self.path}: is the backup of another model; delete it to start anew")
        for variable, array in zip(variables, kept, strict=True):
            variable.assign(array)
        generators = {k.removeprefix("torch/"): a for k, a in arrays.items() if k.startswith("torch/")}
        backend.engine().set_random_state(generators)
        kind, position, gauss, cached = state["numpy"]
        np.random.set_state((kind, arrays["numpy"], position, gauss, cached))
        version, following = state["python"]
        python_random.setstate((version, tuple(arrays["python"].tolist()), following))
        return int(state["epoch"])

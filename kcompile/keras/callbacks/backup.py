"""`BackupAndRestore`: a killed run goes on where its last finished epoch ended."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, UsageError, printable
from kcompile.files.atomic import check_folder, folder, forget, replacing, writes
from kcompile.keras import backend, generators
from kcompile.keras.callbacks.base import Callback, CallbackList

FILE = "backup.npz"
DATA = "data/"


class BackupAndRestore(Callback):
    """Keeps weights, optimizer state and the state of all random generators after each epoch in ``backup_dir``.

    A run of the same script that finds them there goes on behind that epoch, to the same weights as a
    run that was never stopped: the order of shuffled data, where they stand (with ``steps_per_epoch`` in
    their midst), dropout and what other callbacks count (their ``kept``) included. The file appears whole
    or not at all, and is deleted where training ends (unless ``delete_checkpoint=False``). Weights that
    several processes hold in parts are written by each into a folder beside the file, and may be read by
    any number of them.
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
        self._found: dict[str, Any] | None = None
        check_folder(self.folder)
        if self.path.is_file():
            self.model._initial_epoch = self._restore()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not as training begins: other callbacks forget then what they had counted.
        if self._found is not None:
            _set_counts(self._callbacks(), self._found)
            self._found = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        folder(self.folder)
        variables = {f"variable_{i}": v for i, v in enumerate(self._variables())}
        checkpoints = backend.checkpoints()
        shards = checkpoints.save(self.folder, epoch + 1, variables)
        if not writes():
            return
        arrays = {name: v.numpy() for name, v in variables.items() if not checkpoints.split(v)}
        random_arrays, random_state = generators.states()
        counted_arrays, counted = _counts(self._callbacks())
        data_arrays, data = self._place()
        state = {"epoch": epoch + 1, "shards": shards, "stopped": self.stopped(), "counts": counted, "data": data}
        state |= {**random_state, "build": self.model.get_build_config()}
        with replacing(self.path) as stream:
            named: Any = {
                "state": np.array(json.dumps(state)),
                **arrays,
                **random_arrays,
                **counted_arrays,
                **data_arrays,
            }
            np.savez(stream, **named)
        checkpoints.forget(self.folder, but=shards)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.delete_checkpoint and writes():
            forget(self.path)
            backend.checkpoints().forget(self.folder)

    def stopped(self) -> bool:
        """Whether another callback has ended training."""
        return bool(self.model.stop_training)

    def _callbacks(self) -> list[Callback]:
        runner = self.model._runner
        return runner.callbacks if isinstance(runner, CallbackList) else []

    def _place(self) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
        """Where the data stand, if in their midst."""
        run = self.model._epochs
        place = None if run is None else run.place()
        if place is None:
            return {}, None
        taken, (arrays, plain) = place
        return {f"{DATA}{k}": a for k, a in arrays.items()}, {"taken": taken, **plain}

    def _go_on(self, arrays: dict[str, np.ndarray], place: dict[str, Any] | None) -> None:
        """Set the data to where they stood."""
        if place is not None and self.model._epochs is not None:
            begun = {k.removeprefix(DATA): a for k, a in arrays.items() if k.startswith(DATA)}
            self.model._epochs.go_on(int(place["taken"]), (begun, place))

    def _variables(self) -> list[Any]:
        model = self.model
        if not model.built and not model.variables:  # one with a train_step may never be called itself
            raise UsageError(f"BackupAndRestore: model {model.name!r} has no weights yet; build it before fit")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return [*model.variables, *model.optimizer.variables]

    def _restore(self) -> int:
        """Set everything as it was; returns the epoch to go on with. Nothing is set where something can't be read."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = {k: stored[k] for k in stored.files}
            state = json.loads(str(arrays["state"]))
            done, shards = int(state["epoch"]), state.get("shards")
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise FileFormatError(f"{self.path}: not a backup: {printable(error)}; delete it to start anew") from error
        if shards is not None:
            arrays |= backend.checkpoints().load(self.folder / Path(str(shards)).name)
        if not self.model.built:
            # Before generators get their states: making first weights draws from them.
            self.model.build_from_config(state.get("build") or {})
        variables = self._variables()
        kept = [arrays.get(f"variable_{i}") for i in range(len(variables))]
        fits = all(a is not None and a.shape == v.shape for a, v in zip(kept, variables, strict=True))
        if not fits or f"variable_{len(variables)}" in arrays:
            raise UsageError(f"{self.path}: is the backup of another model; delete it to start anew")
        for variable, array in zip(variables, kept, strict=True):
            variable.assign(array)
        generators.set_states(arrays, state)
        self._go_on(arrays, state.get("data"))
        self._found = {**arrays, "counts": state.get("counts", {})}
        return max(done, int(self.params.get("epochs") or 0)) if state.get("stopped") else done


def _counts(callbacks: list[Callback]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What callbacks have counted: (lists of arrays by name, the rest by callback)."""
    arrays: dict[str, np.ndarray] = {}
    counts: dict[str, Any] = {}
    for place, callback in _keeping(callbacks):
        row = counts[place] = {}
        for name in callback.kept:
            value = getattr(callback, name)
            if isinstance(value, list):
                row[name] = {"arrays": len(value)}
                arrays |= {f"{place}/{name}/{i}": np.asarray(a) for i, a in enumerate(value)}
            else:
                row[name] = value.item() if hasattr(value, "item") else value
    return arrays, counts


def _set_counts(callbacks: list[Callback], found: dict[str, Any]) -> None:
    for place, callback in _keeping(callbacks):
        for name, value in found["counts"].get(place, {}).items():
            if isinstance(value, dict):
                value = [found[f"{place}/{name}/{i}"] for i in range(value["arrays"])]
            if name in callback.kept:
                setattr(callback, name, value)


def _keeping(callbacks: list[Callback]) -> list[tuple[str, Callback]]:
    """Callbacks that count something, with a name for each: its class and its place."""
    return [(f"callback_{i}_{type(c).__name__}", c) for i, c in enumerate(callbacks) if c.kept]

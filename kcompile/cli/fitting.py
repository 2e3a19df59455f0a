"""What `kcompile train` adds to each `fit` of a script: other sizes, a checkpoint, a record, an orderly Ctrl-C."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcompile.errors import FileFormatError, UsageError, printable
from kcompile.files.atomic import forget, replacing, writes
from kcompile.keras import backend
from kcompile.keras.callbacks import BackupAndRestore, Callback, CallbackList
from kcompile.keras.distribution.distributions import any_process, first_process
from kcompile.keras.progress import ProgressBar
from kcompile.keras.training.py_dataset import PyDataset
from kcompile.keras.training.sources import is_loader
from kcompile.keras.training.trainer import Trainer

PAUSE = 1.0  # seconds between checkpoints: small models end many epochs in one
HISTORY = "history.json"


@dataclass
class Fit:
    """One `fit`: its model, sizes and epochs, those of the run that it goes on with among them."""

    model: Any
    folder: Path
    epochs: int
    batch_size: int | None
    rows: list[dict[str, Any]] = field(default_factory=list)  # {"epoch" (the first is 1), "seconds", "logs"}
    done: int = 0
    data: str = "arrays"

    @property
    def planned(self) -> int:
        """Epochs asked for, or already done by the run that this one goes on with."""
        return max(self.epochs, self.done)

    @property
    def curves(self) -> dict[str, list[float]]:
        """The logged values by name, NaN where an epoch has none."""
        names = dict.fromkeys(name for row in self.rows for name in row["logs"])
        return {name: [row["logs"].get(name, float("nan")) for row in self.rows] for name in names}

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch of the lowest validation loss, or the lowest loss where nothing is validated."""
        for name in ("val_loss", "loss"):
            rows = [row for row in self.rows if row["logs"].get(name) == row["logs"].get(name, float("nan"))]
            if rows:
                row = min(rows, key=lambda r: r["logs"][name])
                return {"epoch": row["epoch"], "by": name, "value": row["logs"][name]}
        return None


class Interrupt:
    """Ctrl-C: the first lets the epoch end, the second is at once."""

    def __init__(self) -> None:
        self.asked = False
        self._process = os.getpid()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Within, the first Ctrl-C only sets ``asked``. Elsewhere than in the main thread, Python has no say in it."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return
        signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _hear(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            return  # a worker that loads data: the epoch still needs it
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if not writes():
            return
        # A handler may run in the middle of a print, so it writes past Python's buffers.
        os.write(2, b"\nkcompile: ending after this epoch; Ctrl-C again stops at once\n")


class Keeper(BackupAndRestore):
    """Records a fit's epochs, and keeps them and the checkpoint, at most one in `PAUSE` seconds."""

    def __init__(self, fit: Fit, interrupt: Interrupt):
        super().__init__(fit.folder, delete_checkpoint=False)
        self.fit, self.interrupt = fit, interrupt
        self._kept = self._began = time.monotonic()
        self._ran = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.fit.done = self.model._initial_epoch or 0
        if self.fit.done:
            self.fit.rows = [row for row in _read(self.folder / HISTORY) if row["epoch"] <= self.fit.done]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        values = {k: float(v) for k, v in (logs or {}).items() if getattr(v, "ndim", 0) == 0}
        self.fit.rows.append({"epoch": epoch + 1, "seconds": now - self._began, "logs": values})
        self.fit.done, self._ran = epoch + 1, True
        # Clocks and signals of several processes differ: they do what one of them is asked for, and when the first does.
        self.interrupt.asked = any_process(self.interrupt.asked)
        due = self.interrupt.asked or first_process(now - self._kept >= PAUSE)
        if due:
            self._keep(epoch)
        if self.interrupt.asked:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """What fit leaves, weights that EarlyStopping brought back included; no epoch is to follow it."""
        if self._ran and not self.interrupt.asked:
            self._keep(max(self.fit.done, self.fit.epochs) - 1)

    def _keep(self, epoch: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The history first: of what it has too many, restoring takes none.
        with replacing(self.folder / HISTORY) as stream:
            stream.write(json.dumps(self.fit.rows).encode())
        super().on_epoch_end(epoch)
        self._kept = time.monotonic()


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_bytes())
        return [
            {
                "epoch": int(r["epoch"]),
                "seconds": float(r["seconds"]),
                "logs": {str(k): float(v) for k, v in r["logs"].items()},
            }
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"{path}: not a history: {printable(error)}; delete the checkpoint to start anew"
        ) from error


def data_of(x: Any) -> str:
    """What kind of data a fit was given: ``arrays``, or a class and its workers."""
    workers = getattr(x, "workers", None) if hasattr(x, "workers") else getattr(x, "num_workers", None)
    if workers is not None:
        return f"a {type(x).__name__} with {workers} worker{'s' * (workers != 1)}"
    return f"a {type(x).__name__}" if hasattr(x, "__next__") else "arrays"


class Fitting:
    """The options of `kcompile train` that every `fit` of the script gets, and what these fits did.

    The first fit keeps its checkpoint in ``folder/fit1``, the next in ``folder/fit2``: a script that trains in
    several phases goes on in the one where it ended. ``callbacks`` makes more callbacks for the fit of a number.
    """

    def __init__(
        self, folder: Path, epochs: int | None, batch_size: int | None, callbacks: Callable[[int], list[Callback]]
    ):
        self.folder, self.epochs, self.batch_size, self.callbacks = folder, epochs, batch_size, callbacks
        self.fits: list[Fit] = []
        self.interrupt = Interrupt()

    def checkpoints(self) -> list[Path]:
        """The files that keep a run's state."""
        return sorted(self.folder.glob("fit*/backup.npz"))

    def forget(self) -> None:
        """Delete the checkpoint."""
        if not writes():
            return
        for file in self.checkpoints():
            for kept in (file, file.with_name(HISTORY)):
                forget(kept)
            backend.checkpoints().forget(file.parent)
            with contextlib.suppress(OSError):  # the folder holds something else
                file.parent.rmdir()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    @contextlib.contextmanager
    def of_script(self) -> Iterator[None]:
        """Within, `fit` of all models has these options; it raises KeyboardInterrupt where Ctrl-C ended it."""
        plain = Trainer.fit
        signature = inspect.signature(plain)

        @functools.wraps(plain)
        def fit(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            self._extend(arguments)
            try:
                with self.interrupt.heard():
                    history = plain(**arguments)
            finally:
                ProgressBar.leave()
            if self.interrupt.asked:
                raise KeyboardInterrupt
            return history

        Trainer.fit = fit  # type: ignore[method-assign]
        try:
            yield
        finally:
            Trainer.fit = plain  # type: ignore[method-assign]

    def _extend(self, arguments: dict[str, Any]) -> None:
        """Put the options into the arguments of a fit."""
        if self.epochs is not None:
            arguments["epochs"] = self.epochs
        if self.batch_size is not None:
            x = arguments.get("x")
            if isinstance(x, (PyDataset, Iterator)) or is_loader(x):
                raise UsageError(f"--batch-size: the batches of this fit come from a {type(x).__name__}; set it there")
            arguments["batch_size"] = self.batch_size
        number = len(self.fits) + 1
        made = Fit(
            arguments["self"], self.folder / f"fit{number}", arguments.get("epochs", 1), arguments.get("batch_size"),
            data=data_of(arguments.get("x")),
        )  # fmt: skip
        self.fits.append(made)
        given = arguments.get("callbacks")
        if not isinstance(given, CallbackList):
            given = CallbackList(given).callbacks
        added = [*self.callbacks(number), Keeper(made, self.interrupt)]
        if isinstance(given, CallbackList):
            for callback in added:
                given.append(callback)
        else:
            # The checkpoint is last: it keeps what the others change.
            arguments["callbacks"] = [*given, *added]

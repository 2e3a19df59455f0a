"""Callbacks that watch a value: EarlyStopping, ModelCheckpoint, ReduceLROnPlateau."""

from __future__ import annotations

import warnings
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from kcompile.errors import UsageError, did_you_mean
from kcompile.files.atomic import check_folder, folder
from kcompile.keras.callbacks.base import Callback, say
from kcompile.keras.metrics.base import MeanMetricWrapper, NamedMetric
from kcompile.keras.naming import to_snake_case

# How the names of metrics end of which more, or less, is better.
GROWING = (
    "acc", "accuracy", "auc", "precision", "recall", "f1_score", "fbeta_score", "f_beta_score", "iou", "io_u", "r2_score",
    "correlation", "cosine_similarity", "_at_specificity", "_at_sensitivity", "_at_recall", "_at_precision",
)  # fmt: skip
FALLING = (
    "loss", "error", "hinge", "crossentropy", "ce", "divergence", "poisson", "huber", "cosh", "mse", "mae", "mape", "msle",
)  # fmt: skip


def _kind(metric: Any) -> str:
    """What a metric is, whatever name it was given."""
    wraps = isinstance(metric, MeanMetricWrapper) and not isinstance(metric, NamedMetric)
    return str(getattr(metric._fn, "__name__", "")) if wraps else to_snake_case(type(metric).__name__)


class Monitor(Callback):
    """Base: a logged value, and whether more or less of it is better.

    ``mode`` is min, max or auto: by what the metric is, with ValueError for one that kcompile does not know.
    """

    def __init__(self, monitor: str, mode: str = "auto", min_delta: float = 0.0, baseline: float | None = None):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.min_delta, self.baseline = abs(min_delta), baseline
        self.best: float | None = None

    @property
    def grows(self) -> bool:
        """True where more is better; ValueError where no mode was given and nothing tells."""
        if self.mode != "auto":
            return self.mode == "max"
        found = self._direction()
        if found is None:
            raise ValueError(
                f"{type(self).__name__}: whether more or less of `{self.monitor}` is better is not known; pass mode='max' "
                "or mode='min'"
            )
        return found

    def _direction(self) -> bool | None:
        """Whether the metric of this name should grow, by its name and what it is; None for one that is not known."""
        name = self.monitor.removeprefix("val_")
        compiled = getattr(self.model, "_compiled_metrics", None)
        names = [name, *(_kind(m) for m in (compiled.metrics if compiled is not None else ()) if m.name == name)]
        if any(n.endswith(GROWING) for n in names):
            return True
        return False if any(n.endswith(FALLING) for n in names) else None

    def improves(self, value: float, on: float | None) -> bool:
        """Whether ``value`` is better than ``on`` by more than min_delta; anything beats None."""
        if on is None:
            return True
        return value - self.min_delta > on if self.grows else value + self.min_delta < on

    def value(self, logs: dict[str, Any] | None) -> float | None:
        """The watched value of an epoch; None, with a warning that lists what there is, where it is not logged."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            # One of a validation may come later: that may not be due in each epoch.
            later = self.monitor.removeprefix("val_") in (logs or {})
            hint = "" if later else did_you_mean(self.monitor, logs or {})
            told = f"the metric `{self.monitor}` is not available{hint}. Available metrics are: {','.join(logs or {})}"
            if self.mode == "auto" and not later:
                raise ValueError(f"{type(self).__name__}: {told}")
            warnings.warn(f"{type(self).__name__}: {told}", stacklevel=3)
            return None
        if self.mode == "auto":
            self.mode = "max" if self.grows else "min"  # or ValueError, before anything is compared
        return found


class EarlyStopping(Monitor):
    """Stops training where the value has not improved for ``patience`` epochs."""

    kept = ("best", "wait", "best_epoch", "best_weights", "stopped_epoch")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta, baseline)
        self.patience, self.verbose = patience, verbose
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            # Should nothing ever improve, the first epoch's weights are the ones to go back to.
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model (or its weights) after epochs, all or only those that improve the value.

    ``filepath`` may hold ``{epoch}`` and logged values, such as ``model-{epoch:02d}-{val_loss:.2f}.keras``.
    """

    kept = ("best", "_batches")

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self.best = initial_value_threshold
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith(ending):
            raise ValueError(
                f"The filepath provided must end in `{ending}` (with save_weights_only={save_weights_only}). Received: "
                f"filepath={filepath}"
            )
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"Unrecognized save_freq: {save_freq}. Expected save_freq are 'epoch' or integer values")
        if isinstance(save_freq, int) and save_freq < 1:
            raise ValueError(f"`save_freq` must be 'epoch' or at least 1, got {save_freq}")
        try:
            names = [name for _, name, _, _ in Formatter().parse(self.filepath) if name is not None]
        except ValueError as error:
            raise ValueError(f"ModelCheckpoint: {self.filepath!r} is no format of a path: {error}") from error
        # Beginnings of folders that are the same for all epochs.
        self._fixed = self.filepath.split("{")[0] if names else self.filepath
        self._batches = 0
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        # Now, and not where the first epoch has been trained.
        check_folder(Path(f"{self._fixed}_").parent)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save(self._epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: dict[str, Any] | None) -> None:
        if self.save_best_only:
            current = self.value(logs)
            if current is None or not self.improves(current, self.best):
                return
            self.best = current
        try:
            path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        except KeyError as error:
            raise UsageError(
                f"ModelCheckpoint: {self.filepath!r} names {error}, which is not logged; there is {sorted(logs or {})}"
            ) from error
        except (ValueError, IndexError) as error:
            raise ValueError(f"ModelCheckpoint: {self.filepath!r} is no format of a path: {error}") from error
        folder(Path(path).parent)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        if self.verbose > 0:
            say(f"Epoch {epoch + 1}: saving model to {path}")


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by ``factor`` where the value has not improved for ``patience`` epochs."""

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(monitor, mode, min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        if kwargs:
            raise TypeError(f"ReduceLROnPlateau: unexpected arguments {sorted(kwargs)}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.best, self.cooldown_counter, self.wait = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = learning_rate(self.model)
        if logs is not None:
            logs["learning_rate"] = rate
        current = self.value(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best, self.wait = current, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                reduced = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = reduced
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose > 0:
                    say(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {reduced}.")


def learning_rate(model: Any) -> float:
    """The optimizer's present rate as a number."""
    from kcompile.keras import backend

    return float(backend.convert_to_numpy(model.optimizer.learning_rate))

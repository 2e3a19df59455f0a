"""`Trainer`: fit, evaluate, predict."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kcompile.engine.memory import kept_memory
from kcompile.errors import UsageError, printable
from kcompile.keras import backend, config, ops, tree
from kcompile.keras.callbacks.base import CallbackList, History, ProgbarLogger
from kcompile.keras.distribution import distributions
from kcompile.keras.distribution.share import Share
from kcompile.keras.progress import ProgressBar
from kcompile.keras.training import arguments
from kcompile.keras.training.arrays import numeric, split_validation
from kcompile.keras.training.compiling import Compiling
from kcompile.keras.training.data import Epochs, make_data
from kcompile.keras.training.eager_step import EagerStep, Fallback
from kcompile.keras.training.own_step import OverridableSteps, OwnStep, overridden
from kcompile.keras.training.sources import unpack
from kcompile.keras.training.steps import Step, TrainingStep
from kcompile.tracing.scope import current_device

Validate = Callable[[int, CallbackList], dict[str, Any]]


class Trainer(OverridableSteps, Compiling):
    """What a Model adds to a Layer: training and evaluation over batches."""

    # ---- the steps

    def _loss_of_batch(self, training: bool) -> Callable[[Any, Any, Any], list[Any]]:
        def run(x: Any, y: Any, sample_weight: Any) -> list[Any]:
            y_pred = self(x, training=training)  # type: ignore[operator]
            loss = self._called_loss(x, y, y_pred, sample_weight, training)
            assert self._loss_tracker is not None
            self._loss_tracker.update_state(ops.stop_gradient(loss), sample_weight=ops.shape(tree.flatten(x)[0])[0])
            self.compute_metrics(x, y, _detached(y_pred), sample_weight)
            return [self.optimizer.scale_loss(loss) if training else loss]

        return run

    def _predict_of_batch(self, x: Any, y: Any, sample_weight: Any) -> Any:
        return self(x, training=False)  # type: ignore[operator]

    def _step(self, kind: str) -> Any:
        """The train, test or predict step; traced where it can be, eager where it must."""
        own, shared_by = overridden(self, kind), distributions.active()
        if self._shared_by is not shared_by:
            self._steps, self._shared_by = {}, shared_by
        if own is not None or self.run_eagerly:
            distributions.one_process(f"the model's own {kind}_step" if own is not None else "run_eagerly=True")
        if kind not in self._steps and own is not None:
            if self.jit_compile:
                sys.stderr.write(f"kcompile: the model's own {kind}_step runs as it is, without jit_compile\n")
            self._steps[kind] = OwnStep(own, kind)
        if kind not in self._steps:
            self._steps[kind] = distributions.step(lambda share: self._made_step(kind, share))
        if current_device() is not None:
            backend.engine().place(self.variables)  # type: ignore[attr-defined]
        if hasattr(self._steps[kind], "settle"):
            self._steps[kind].settle()
        return self._steps[kind]

    def _made_step(self, kind: str, share: Share) -> Any:
        jit = self.jit_compile
        if kind == "train":
            if self.optimizer is None:
                raise ValueError("fit needs an optimizer: `compile` got optimizer=None")
            function: Any = self._loss_of_batch(True)
            made: Any = TrainingStep("train", function, self.optimizer, self._trained, jit, share)
            eager = EagerStep(function, self.optimizer, self._trained)
        else:
            function = self._loss_of_batch(False) if kind == "test" else self._predict_of_batch
            made, eager = Step(kind, function, jit, share), EagerStep(function)
        return eager if self.run_eagerly else share.runner(made, Fallback(made, eager, kind))

    def _device(self) -> Any:
        """Where the model runs: the device of `keras.device`, or where its variables are; None for the CPU."""
        return backend.devices().placement(self.variables)  # type: ignore[attr-defined]

    def _trained(self) -> list[Any]:
        return self.trainable_variables  # type: ignore[attr-defined]

    # ---- fit

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> History:
        """Train for epochs over arrays, tables, a generator, a DataLoader or a PyDataset; returns the History.

        ``validation_freq`` is every how many epochs to validate, or a list of epochs (the first is 1).
        """
        self._require_compiled("fit")
        arguments.integers(0, epochs=epochs, initial_epoch=initial_epoch)
        arguments.optional_integers(1, steps_per_epoch=steps_per_epoch, validation_steps=validation_steps)
        arguments.share(validation_split=validation_split)
        distributions.in_step()
        epochs = _limited(epochs)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation((x, y, sample_weight), validation_split)
        data = make_data(x, y, sample_weight, batch_size, shuffle, class_weight, steps_per_epoch)
        device = self._device()
        run = Epochs(data, steps_per_epoch, self.steps_per_execution, device)
        distributions.same_data(batches=run.steps, samples=getattr(data, "length", None), epochs=epochs)
        batch_size = validation_batch_size or batch_size
        validate = self._validation(validation_data, batch_size, validation_steps, validation_freq)
        history = self.history = History()
        runner = self._runner = _callback_list(callbacks, self, epochs=epochs, steps=run.steps, verbose=verbose)
        runner.append(history)
        self._epochs = run
        self.stop_training = False
        self._initial_epoch: int | None = None
        runner.call("on_train_begin")
        # BackupAndRestore may have found more epochs done.
        first = initial_epoch if self._initial_epoch is None else self._initial_epoch

        set_up = backend.devices().set_up(device, config.is_tf32_enabled(), config.is_determinism_enabled())
        with contextlib.closing(run), kept_memory(), set_up:
            logs = self._run_epochs(run, runner, verbose, range(first, epochs), validate)
        self.optimizer.finalize_variable_values(self._trained())
        runner.call("on_train_end", logs)
        self._runner = self._epochs = None
        return history

    def _run_epochs(
        self, run: Epochs, runner: CallbackList, verbose: Any, epochs: range, validate: Validate
    ) -> dict[str, Any]:
        """Train for these epochs; the last one's logs."""
        logs: dict[str, Any] = {}
        for epoch in epochs:
            self.reset_metrics()
            runner.call("on_epoch_begin", epoch)
            bar = _bar(run, runner, verbose, f"Epoch {epoch + 1}/{epochs.stop}" if epochs.stop > 1 else None)
            count = self._run_epoch(run, runner, bar)
            if not count and epoch == epochs.start:
                raise UsageError("fit: the data gave no batch")
            if not count:
                # A generator that has ended: what further epochs would log were no numbers of any data.
                break
            logs = self._logs_of("train")
            logs.update(validate(epoch, runner))
            bar.finish(count, logs)
            runner.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        return logs

    def _run_epoch(self, run: Epochs, runner: CallbackList, bar: ProgressBar) -> int:
        """Number of batches trained on."""
        step, reads = self._step("train"), runner.wants_batches["train"]
        count = 0
        with contextlib.closing(run.epoch()) as epoch:
            for begin, batches in epoch:
                runner.call("on_train_batch_begin", begin)
                for batch in batches:
                    step(batch)
                count = begin + len(batches)
                if reads:
                    runner.call("on_train_batch_end", count - 1, self._logs_of("train"))
                if bar.due():
                    # Reading metrics waits for the device, so only when the bar is about to be drawn.
                    bar.update(count, self._logs_of("train"))
                if self.stop_training:
                    break
        return count

    def _validation(self, data: Any, batch_size: int | None, steps: int | None, often: Any) -> Validate:
        """A function that evaluates on the validation data, which is made ready once, where an epoch is to."""
        if data is None:
            return lambda epoch, runner: {}
        if not hasattr(often, "__contains__") or isinstance(often, str):
            arguments.integers(1, validation_freq=often)  # or a list of epochs
        try:
            source = make_data(*unpack(tuple(data) if isinstance(data, list) else data), batch_size, steps=steps)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error

        def validate(epoch: int, runner: CallbackList) -> dict[str, Any]:
            if not _is_due(epoch, often):
                return {}
            saved = [(v, v.numpy()) for m in self.metrics for v in m.variables]
            result = self.evaluate(source, steps=steps, callbacks=runner, return_dict=True, verbose=0)
            for variable, array in saved:
                variable.assign(array)
            return {f"val_{k}": v for k, v in result.items()}

        return validate

    # ---- evaluate and predict

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Loss and metrics over the data: a number, a list, or a dict by name."""
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        self._require_compiled("evaluate")
        arguments.optional_integers(1, steps=steps)
        data = make_data(x, y, sample_weight, batch_size, steps=steps)
        run = Epochs(data, steps, self.steps_per_execution, self._device())
        runner = _callback_list(callbacks, self, epochs=1, steps=run.steps, verbose=verbose)
        self.stop_evaluating = False
        self.reset_metrics()
        runner.call("on_test_begin")
        count = self._each_group("test", run, runner, verbose, lambda outputs: self._logs_of("test"))
        logs = self._logs_of("test")
        runner.call("on_test_end", logs)
        if not count:
            raise UsageError("evaluate: the data gave no batch")
        return logs if return_dict else self._in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Outputs for all samples as numpy arrays, computed in batches."""
        arguments.optional_integers(1, steps=steps)
        data = make_data(x, None, None, batch_size, steps=steps)
        run = Epochs(data, steps, self.steps_per_execution, self._device())
        runner = _callback_list(callbacks, self, epochs=1, steps=run.steps, verbose=verbose)
        rows: list[Any] = []

        def keep(outputs: list[Any]) -> dict[str, Any]:
            rows.append(_joined([_to_numpy(o) for o in outputs]))
            return {"outputs": rows[-1]}

        self.stop_predicting = False
        runner.call("on_predict_begin")
        self._each_group("predict", run, runner, verbose, keep)
        runner.call("on_predict_end")
        if not rows:
            raise UsageError("predict: the data gave no batch")
        return _joined(rows)

    def _each_group(
        self, kind: str, run: Epochs, runner: CallbackList, verbose: Any, logs: Callable[[list[Any]], dict[str, Any]]
    ) -> int:
        """Run a step on each batch; ``logs`` turns a group's outputs into what callbacks see of it."""
        step, count = self._step(kind), 0
        reads = kind == "predict" or runner.wants_batches[kind]
        stop = {"test": "stop_evaluating", "predict": "stop_predicting"}[kind]
        bar = _bar(run, runner, verbose)
        with contextlib.closing(run), contextlib.closing(run.epoch()) as epoch:
            for begin, batches in epoch:
                runner.call(f"on_{kind}_batch_begin", begin)
                outputs = [step(batch) for batch in batches]
                count = begin + len(batches)
                if reads:
                    runner.call(f"on_{kind}_batch_end", count - 1, logs(outputs))
                bar.update(count, {})
                if getattr(self, stop):
                    break
        bar.finish(count, self.get_metrics_result() if kind == "test" else {})
        return count

    # ---- single batches

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on one batch; returns its loss and metrics."""
        self._require_compiled("train_on_batch")
        return self._on_batch("train", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, without training."""
        self._require_compiled("test_on_batch")
        return self._on_batch("test", x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs for one batch as numpy arrays."""
        batch = next(make_data(x, batch_size=_rows(x)).batches())
        return _to_numpy(self._step("predict")(batch))

    def _on_batch(self, kind: str, x: Any, y: Any, weight: Any, class_weight: Any, return_dict: bool) -> Any:
        self.reset_metrics()
        self._step(kind)(next(make_data(x, y, weight, _rows(x), False, class_weight).batches()))
        logs = self.get_metrics_result()
        return logs if return_dict else self._in_order(logs)


def _callback_list(callbacks: Any, model: Any, **params: Any) -> CallbackList:
    """The callbacks of a run; a list that is running already (fit's, while it validates) stays as it is."""
    return callbacks if isinstance(callbacks, CallbackList) else CallbackList(callbacks, model=model, **params)


def _bar(run: Epochs, runner: CallbackList, verbose: Any, title: str | None = None) -> ProgressBar:
    """The bar of a run; a silent one where a callback draws one."""
    drawn = any(isinstance(c, ProgbarLogger) for c in runner.callbacks)
    return ProgressBar(run.steps, 0 if drawn else verbose, title)


def _rows(x: Any) -> int:
    """How many samples a batch has; ValueError for what is none."""
    leaf = tree.flatten(x)[0]
    shape = leaf.shape if hasattr(leaf, "shape") else np.shape(tree.flatten(numeric(x))[0])
    if not shape:
        raise ValueError(f"x must be an array of samples, or several, got {printable(repr(x))}")
    return int(shape[0])


def _limited(epochs: int) -> int:
    """The epochs of a fit, or the most that `keras.config` allows."""
    most = config.max_epochs()
    if most is None or epochs <= most:
        return epochs
    warnings.warn(f"Limiting epochs to {most}", stacklevel=3)
    return most


def _is_due(epoch: int, often: Any) -> bool:
    if isinstance(often, int):
        return (epoch + 1) % often == 0
    return epoch + 1 in often


def _to_numpy(outputs: Any) -> Any:
    return tree.map_structure(backend.convert_to_numpy, outputs)


def _joined(parts: list[Any]) -> Any:
    """Outputs of several batches as one."""
    return parts[0] if len(parts) == 1 else tree.map_structure(lambda *p: np.concatenate(p), *parts)


def _detached(y_pred: Any) -> Any:
    """Outputs without a gradient, with their masks."""

    def detach(x: Any) -> Any:
        made = ops.stop_gradient(x)
        mask = getattr(x, "_keras_mask", None)
        if mask is not None:
            made._keras_mask = mask
        return made

    return tree.map_structure(detach, y_pred)

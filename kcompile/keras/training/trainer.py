"""`Trainer`: compile, fit, evaluate, predict."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.keras import backend, ops, tree
from kcompile.keras import optimizers as optimizers_module
from kcompile.keras.callbacks.base import CallbackList, History
from kcompile.keras.layers import tracking
from kcompile.keras.metrics.base import Mean, Metric
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.training.compiled import CompiledLoss, CompiledMetrics, check_names
from kcompile.keras.training.arrays import split_validation
from kcompile.keras.training.data import make_data
from kcompile.keras.training.eager_step import EagerStep, Fallback
from kcompile.keras.training.own_step import OverridableSteps, OwnStep, overridden
from kcompile.keras.training.progress import ProgressBar
from kcompile.keras.training.steps import Step, TrainingStep


class Trainer(OverridableSteps):
    """What a Model adds to a Layer: training and evaluation over batches."""

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.stop_training = False
        self.compiled = False
        self._compiled_loss: CompiledLoss | None = None
        self._compiled_metrics: CompiledMetrics | None = None
        self._loss_tracker: Mean | None = None
        self._steps: dict[str, Any] = {}
        self._compile_arguments: dict[str, Any] = {}
        self.history: History | None = None
        self.run_eagerly = False

    # ---- compile

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose optimizer, losses and metrics, by name or object, for one output or each of several.

        ``jit_compile`` and ``steps_per_execution`` are kept for the config; asking for either is a warning, since
        the traced step runs in PyTorch as it is.
        """
        for argument, asked in (
            ("jit_compile", jit_compile is True),
            ("steps_per_execution", steps_per_execution != 1),
        ):
            if asked:
                warnings.warn(f"compile: {argument} has no effect yet; the traced step runs as it is", stacklevel=2)
        self.optimizer = optimizers_module.get(optimizer)
        given = self.optimizer
        mixed = self.dtype_policy.name == "mixed_float16"  # type: ignore[attr-defined]
        if (
            auto_scale_loss
            and mixed
            and given is not None
            and not isinstance(given, optimizers_module.LossScaleOptimizer)
        ):
            self.optimizer = optimizers_module.LossScaleOptimizer(given, name="loss_scale_optimizer")
        names = self._names_of_outputs()
        self._compiled_loss = CompiledLoss(loss, loss_weights, names) if loss is not None else None
        self._compiled_metrics = CompiledMetrics(metrics, weighted_metrics, names)
        self._loss_tracker = Mean(name="loss")
        self._compile_arguments = {
            "optimizer": given,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        self.run_eagerly = run_eagerly
        self.loss = loss
        self.stop_training = False
        self.compiled = True
        self._steps = {}

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile` as a config."""
        return {k: serialize_keras_object(v) for k, v in self._compile_arguments.items()}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with a config, and make the optimizer's variables."""
        known = set(inspect.signature(Trainer.compile).parameters)
        given = {k: deserialize_keras_object(v) for k, v in config.items() if k in known}
        check_names(given.get("loss"), given.get("metrics"), given.get("weighted_metrics"))
        self.compile(**given)
        if self.built:  # type: ignore[attr-defined]
            self.optimizer.build(self._trained())

    def _names_of_outputs(self) -> list[str] | None:
        try:
            return list(self.output_names)  # type: ignore[attr-defined]
        except AttributeError:
            return None

    def _require_compiled(self, what: str) -> None:
        if not self.compiled:
            raise ValueError(f"You must call `compile()` before calling `{what}()`.")

    @property
    def metrics(self) -> list[Metric]:
        """The loss tracker, trackers of several losses, the compiled metrics, and those that the model holds."""
        found: list[Metric] = [self._loss_tracker] if self._loss_tracker is not None else []
        found += self._compiled_loss.metrics if self._compiled_loss is not None else []
        found += self._compiled_metrics.metrics if self._compiled_metrics is not None else []
        return tracking.unique(m for part in (found, tracking.held(self, Metric)) for m in part)

    @property
    def metrics_names(self) -> list[str]:
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """Values so far by name, as Python numbers."""
        found = {m.name: m.result() for m in self.metrics if m not in self._metric_objects()}
        if self._compiled_metrics is not None:
            found.update(self._compiled_metrics.result())
        return {k: _number(found[k]) for k in sorted(found)}

    def _logs_of(self, kind: str) -> dict[str, Any]:
        """What an epoch logs: the metrics, or what the model's own step returned where that is something else."""
        result, own = self.get_metrics_result(), getattr(self._steps.get(kind), "logs", None)
        if isinstance(own, dict) and set(own) != set(result):
            return {k: _number(v) for k, v in own.items()}
        return result

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Values in the order of `metrics_names`, those under other names behind; one alone as a number."""
        names = [n for n in self.metrics_names if n in logs]
        values = [logs[k] for k in dict.fromkeys([*names, *logs])]
        return values[0] if len(values) == 1 else values

    def _metric_objects(self) -> list[Metric]:
        return self._compiled_metrics.metrics if self._compiled_metrics is not None else []

    # ---- the steps

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The compiled loss plus what layers added; override for a loss of your own."""
        parts = []
        if self._compiled_loss is not None:
            value = self._compiled_loss(y, y_pred, sample_weight)
            if value is not None:
                parts.append(value)
        parts += [ops.sum(ops.cast(extra, "float32")) for extra in self.losses]  # type: ignore[attr-defined]
        if not parts:
            raise ValueError(
                "No loss to compute: `compile` got no loss and no layer called `add_loss`. Provide a `loss` argument."
            )
        total = parts[0]
        for part in parts[1:]:
            total = ops.add(total, part)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Update the compiled metrics."""
        if y is not None and self._compiled_metrics is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)

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
        own = overridden(self, kind)
        if kind not in self._steps and own is not None:
            self._steps[kind] = OwnStep(own, grad=kind == "train")
        if kind not in self._steps:
            if kind == "train":
                function: Any = self._loss_of_batch(True)
                made: Any = TrainingStep("train", function, self.optimizer, self._trained)
                eager = EagerStep(function, self.optimizer, self._trained)
            else:
                function = self._loss_of_batch(False) if kind == "test" else self._predict_of_batch
                made, eager = Step(kind, function), EagerStep(function)
            self._steps[kind] = eager if self.run_eagerly else Fallback(made, eager, kind)
        return self._steps[kind]

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
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train for epochs over the data; returns the History."""
        self._require_compiled("fit")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation((x, y, sample_weight), validation_split)
        data = make_data(x, y, sample_weight, batch_size, shuffle, class_weight)
        total = steps_per_epoch or _length(data)
        history = History()
        given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
        runner = CallbackList([*given, history], self, epochs=epochs, steps=total, verbose=verbose)
        self.stop_training = False
        self.history = history
        self._initial_epoch: int | None = None
        runner.call("on_train_begin")
        # BackupAndRestore may have found more epochs done.
        first = initial_epoch if self._initial_epoch is None else self._initial_epoch
        batches = iter(data)
        for epoch in range(first, epochs):
            self.reset_metrics()
            runner.call("on_epoch_begin", epoch)
            if steps_per_epoch is None:
                batches = iter(data)
            bar = ProgressBar(total, _verbosity(verbose))
            if bar.verbose and epochs > 1:
                bar.stream.write(f"Epoch {epoch + 1}/{epochs}\n")
            steps, batches = self._run_epoch(batches, data, steps_per_epoch, runner, bar)
            logs = self._logs_of("train")
            if validation_data is not None and (epoch + 1) % validation_freq == 0:
                size = validation_batch_size or batch_size
                logs.update(self._validate(validation_data, size, validation_steps, runner.callbacks))
            bar.finish(steps, logs)
            runner.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        self.optimizer.finalize_variable_values(self._trained())
        runner.call("on_train_end")
        return history

    def _run_epoch(
        self, batches: Any, data: Any, limit: int | None, runner: CallbackList, bar: ProgressBar
    ) -> tuple[int, Any]:
        """(steps done, the iterator to go on with); data that ends before ``limit`` ends the epoch, as in Keras."""
        step = self._step("train")
        count = 0
        while limit is None or count < limit:
            batch = next(batches, None)
            if batch is None:
                if limit is None or count:
                    break
                batches = iter(data)
                batch = next(batches, None)
                if batch is None:
                    break
            runner.call("on_train_batch_begin", count)
            step(batch)
            count += 1
            if runner.wants_batches["train"]:
                runner.call("on_train_batch_end", count - 1, self._logs_of("train"))
            if bar.due():
                # Reading metrics waits for the device, so only when the bar is about to be drawn.
                bar.update(count, self._logs_of("train"))
            if self.stop_training:
                break
        if count == 0:
            raise UsageError("fit: the data gave no batch")
        return count, batches

    def _validate(self, data: Any, batch_size: int | None, steps: int | None, callbacks: Any) -> dict[str, Any]:
        saved = [(v, v.numpy()) for m in self.metrics for v in m.variables]
        x, y, weight = (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        result = self.evaluate(x, y, batch_size, 0, weight, steps, callbacks, return_dict=True)
        for variable, array in saved:
            variable.assign(array)
        return {f"val_{k}": v for k, v in result.items()}

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
        data = make_data(x, y, sample_weight, batch_size)
        runner = CallbackList(callbacks, self)
        self.reset_metrics()
        runner.call("on_test_begin")
        count = self._each_batch("test", data, steps, runner, _verbosity(verbose), lambda outputs: None)
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
        data = make_data(x, None, None, batch_size)
        rows: list[Any] = []
        runner = CallbackList(callbacks, self)
        runner.call("on_predict_begin")
        self._each_batch("predict", data, steps, runner, _verbosity(verbose), lambda out: rows.append(_to_numpy(out)))
        runner.call("on_predict_end")
        if not rows:
            raise UsageError("predict: the data gave no batch")
        return tree.map_structure(lambda *parts: np.concatenate(parts), rows[0], *rows[1:])

    def _each_batch(
        self, kind: str, data: Any, limit: int | None, runner: CallbackList, verbose: int, take: Callable[[Any], None]
    ) -> int:
        step = self._step(kind)
        bar = ProgressBar(limit or _length(data), verbose)
        count = 0
        for batch in itertools.islice(data, limit):
            runner.call(f"on_{kind}_batch_begin", count)
            take(step(batch))
            count += 1
            if runner.wants_batches[kind]:
                runner.call(f"on_{kind}_batch_end", count - 1, self.get_metrics_result() if kind == "test" else None)
            bar.update(count, {})
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
        batch = next(iter(make_data(x, batch_size=len(tree.flatten(x)[0]))))
        return _to_numpy(self._step("predict")(batch))

    def _on_batch(self, kind: str, x: Any, y: Any, weight: Any, class_weight: Any, return_dict: bool) -> Any:
        size = len(tree.flatten(x)[0])
        self.reset_metrics()
        self._step(kind)(next(iter(make_data(x, y, weight, size, False, class_weight))))
        logs = self.get_metrics_result()
        return logs if return_dict else self._in_order(logs)


def _length(data: Any) -> int | None:
    return data.num_batches


def _verbosity(verbose: Any) -> int:
    return 1 if verbose in ("auto", True) else int(verbose)


def _number(value: Any) -> Any:
    """A Python number; an array for a metric with several values."""
    array = backend.convert_to_numpy(value)
    return array if array.ndim else float(array)


def _to_numpy(outputs: Any) -> Any:
    return tree.map_structure(backend.convert_to_numpy, outputs)


def _detached(y_pred: Any) -> Any:
    """Outputs without a gradient, with their masks."""

    def detach(x: Any) -> Any:
        made = ops.stop_gradient(x)
        mask = getattr(x, "_keras_mask", None)
        if mask is not None:
            made._keras_mask = mask
        return made

    return tree.map_structure(detach, y_pred)

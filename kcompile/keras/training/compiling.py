"""What `compile` sets up: losses, metrics and the values that they have so far."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from kcompile.keras import backend, ops
from kcompile.keras import optimizers as optimizers_module
from kcompile.keras.callbacks.base import History
from kcompile.keras.layers import tracking
from kcompile.keras.metrics.base import Mean, Metric
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.training import arguments
from kcompile.keras.training.compiled import CompiledLoss, CompiledMetrics, check_names


class Compiling:
    """A model's optimizer, losses and metrics."""

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.compiled = False
        self._compiled_loss: CompiledLoss | None = None
        self._compiled_metrics: CompiledMetrics | None = None
        self._loss_tracker: Mean | None = None
        self._steps: dict[str, Any] = {}
        self._runner: Any = None  # the callbacks of the present fit
        self._epochs: Any = None  # its data
        self._shared_by: Any = None  # the distribution that the steps were made for
        self._compile_arguments: dict[str, Any] = {}
        self.history: History | None = None
        self.run_eagerly = self.jit_compile = False
        self.steps_per_execution = 1

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

        ``steps_per_execution`` batches run between one call of the callbacks' batch methods and the next.
        ``jit_compile=True`` hands the generated step to torch.compile, which needs a C++ compiler; ``"auto"``
        does not, since on a CPU it rarely gains what compiling costs (docs/benchmarks.md);
        ``run_eagerly=True`` runs the model's Python for each batch, operator by operator.
        """
        if not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise ValueError(f"`steps_per_execution` must be a positive integer, got {steps_per_execution!r}")
        arguments.one_of((True, False, None), run_eagerly=run_eagerly)
        arguments.one_of((True, False, "auto", None), jit_compile=jit_compile)
        if run_eagerly and jit_compile is True:
            warnings.warn("compile: `run_eagerly=True` leaves `jit_compile=True` without effect", stacklevel=2)
            jit_compile = False
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
        given_any = metrics is not None or weighted_metrics is not None
        self._compiled_metrics = CompiledMetrics(metrics, weighted_metrics, names) if given_any else None
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
        self.run_eagerly, self.jit_compile = bool(run_eagerly), jit_compile == 1
        self.steps_per_execution = steps_per_execution
        self.loss = loss
        self.stop_training = False
        self.compiled = True
        self._steps = {}

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile` as a config."""
        return {k: serialize_keras_object(v) for k, v in self._compile_arguments.items()}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with a config, and make the optimizer's variables."""
        known = set(inspect.signature(Compiling.compile).parameters)
        given = {k: deserialize_keras_object(v) for k, v in config.items() if k in known}
        check_names(given.get("loss"), given.get("metrics"), given.get("weighted_metrics"))
        self.compile(**given)
        if self.built:  # type: ignore[attr-defined]
            self.optimizer.build(self._trained())  # type: ignore[attr-defined]

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
        """The loss tracker, all compiled metrics as one, trackers of several losses, and what the model holds."""
        found: list[Metric] = [m for m in (self._loss_tracker, self._compiled_metrics) if m is not None]
        found += self._compiled_loss.metrics if self._compiled_loss is not None else []
        return tracking.unique(m for part in (found, tracking.held(self, Metric)) for m in part)

    @property
    def metrics_names(self) -> list[str]:
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """Values so far by name, as Python numbers."""
        found = flat_logs({m.name: m.result() for m in self.metrics})
        return {k: number(found[k]) for k in sorted(found)}

    def _logs_of(self, kind: str) -> dict[str, Any]:
        """What an epoch logs: the metrics, or what the model's own step returned where that is something else."""
        result, own = self.get_metrics_result(), getattr(self._steps.get(kind), "logs", None)
        if not isinstance(own, dict):
            return result
        logs = flat_logs(own)
        return result if set(logs) == set(result) else {k: number(v) for k, v in logs.items()}

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Values in the order of `metrics_names`, those under other names behind; one alone as a number."""
        names = [n for n in self.metrics_names if n in logs]
        values = [logs[k] for k in dict.fromkeys([*names, *logs])]
        return values[0] if len(values) == 1 else values

    # ---- loss and metrics of a batch

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


def flat_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Values by name, those of a metric with several (the compiled ones) by their own names."""
    parts = (v if isinstance(v, dict) else {k: v} for k, v in logs.items())
    return {k: v for part in parts for k, v in part.items()}


def number(value: Any) -> Any:
    """A Python number; an array for a metric with several values."""
    array = backend.convert_to_numpy(value)
    return array if array.ndim else float(array)

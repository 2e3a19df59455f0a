"""What `compile` was given: losses and metrics, matched to a model's outputs."""

from __future__ import annotations

import contextlib
from typing import Any

from kcompile.ir.op import origin
from kcompile.keras import losses as losses_module
from kcompile.keras import metrics as metrics_module
from kcompile.keras import ops, tree
from kcompile.keras.losses.base import Loss, LossFunctionWrapper
from kcompile.keras.metrics.base import Mean, MeanMetricWrapper, Metric
from kcompile.keras.training.agreement import compare, named
from kcompile.tracing.scope import name_scope
from kcompile.tracing.variable import Variable


class CompiledLoss:
    """The losses of all outputs; makes one number and tracks each where there are several."""

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: list[str] | None = None):
        if loss_weights is not None and not isinstance(loss_weights, (int, float, list, tuple, dict)):
            raise ValueError(f"`loss_weights` must be a number, a list, a tuple or a dict, got {loss_weights!r}")
        self.user_loss, self.user_weights, self.output_names = loss, loss_weights, output_names
        self.trackers: dict[int, Mean] = {}
        self._losses: list[Loss | None] | None = None
        self._weights: list[float | None] = []

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Match losses to the outputs' structure; raises ValueError where they don't match."""
        if self._losses is not None:
            return
        count = len(tree.flatten(y_pred))
        given = _per_output(self.user_loss, y_pred, self.output_names, "loss")
        if len(given) != count:
            raise ValueError(f"compile got {len(given)} losses for a model with {count} outputs")
        truths = _truths(y_true, y_pred, self.output_names, given)
        pairs = zip(truths, tree.flatten(y_pred), strict=True)
        self._losses = [_loss_object(x, *pair) for x, pair in zip(given, pairs, strict=True)]
        self._weights = _per_output(self.user_weights, y_pred, self.output_names, "loss_weights")
        if len(self._weights) != count:
            raise ValueError(f"loss_weights: {len(self._weights)} entries for {count} outputs")
        tracked = [i for i, loss in enumerate(self._losses) if loss is not None]
        if len(tracked) > 1:
            names = _labels(y_pred, self.output_names)
            if isinstance(self.user_loss, dict) and isinstance(y_pred, dict):
                order = list(self.user_loss)  # that in which they were given
                tracked.sort(key=lambda i: order.index(names[i]))
            self.trackers = {i: Mean(name=f"{names[i]}_loss") for i in tracked}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if any(output is None for output in tree.leaves(y_pred)):
            raise ValueError("the model returned None in place of an output: its `call` must return tensors")
        self.build(y_true, y_pred)
        assert self._losses is not None
        truths = _truths(y_true, y_pred, self.output_names, self._losses)
        outputs, names = tree.flatten(y_pred), _labels(y_pred, self.output_names)
        weights = _weights(sample_weight, y_pred, self.output_names)
        total: Any = None
        for i, (loss, truth, output, weight) in enumerate(zip(self._losses, truths, outputs, weights, strict=True)):
            if loss is None:
                continue
            what = f"loss {loss.name!r} of output {names[i]!r}"
            if truth is None:
                raise ValueError(f"{what}: there is no y; give the targets, or no loss for this output")
            with named(what, truth, output), name_scope(names[i]) if len(outputs) > 1 else contextlib.nullcontext():
                compare(what, loss, truth, output)
                value = loss(truth, output, weight)
            if i in self.trackers:
                self.trackers[i].update_state(value, sample_weight=ops.shape(output)[0])
            share = self._weights[i] if i < len(self._weights) else None
            value = value if share is None else ops.multiply(value, share)
            total = value if total is None else ops.add(total, value)
        return total

    @property
    def metrics(self) -> list[Mean]:
        return list(self.trackers.values())


class CompiledMetrics(Metric):
    """The metrics of all outputs, weighted and not, as one metric whose result is a dict."""

    def __init__(self, metrics: Any, weighted_metrics: Any = None, output_names: list[str] | None = None):
        super().__init__(name="compile_metrics")
        for kind, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if given is not None and not isinstance(given, (list, tuple, dict)):
                raise ValueError(f"`{kind}` must be a list, a tuple or a dict, got {given!r}")
        self.user, self.user_weighted, self.output_names = metrics, weighted_metrics, output_names
        self._rows: list[tuple[int, bool, Metric, str]] | None = None

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Make the metrics for outputs of these shapes ('accuracy' depends on them)."""
        if self._rows is not None:
            return
        outputs, names = tree.flatten(y_pred), _labels(y_pred, self.output_names)
        rows = []
        for given, weigh in ((self.user, False), (self.user_weighted, True)):
            per_output = _per_output(given, y_pred, self.output_names, "metrics", lists=True)
            if not any(per_output):
                continue
            truths = _truths(y_true, y_pred, self.output_names, per_output)
            for i, wanted in enumerate(per_output):
                for item in tree.flatten(wanted):
                    if item is not None:
                        metric = _metric_object(item, truths[i], outputs[i])
                        label = metric.name if len(outputs) == 1 else f"{names[i]}_{metric.name}"
                        rows.append((i, weigh, metric, label))
        self._rows = rows

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.build(y_true, y_pred)
        outputs, rows = tree.flatten(y_pred), self._rows or []
        if not rows:
            return
        measured, names = {i for i, *_ in rows}, _labels(y_pred, self.output_names)
        wanted = [True if i in measured else None for i in range(len(outputs))]
        truths = _truths(y_true, y_pred, self.output_names, wanted)
        weights = _weights(sample_weight, y_pred, self.output_names)
        for i, weigh, metric, _ in rows:
            what = f"metric {metric.name!r} of output {names[i]!r}"
            with named(what, truths[i], outputs[i]), origin(metric.name):
                metric.update_state(truths[i], outputs[i], sample_weight=weights[i] if weigh else None)

    @property
    def metrics(self) -> list[Metric]:
        return [metric for _, _, metric, _ in self._rows or []]

    @property
    def variables(self) -> list[Variable]:
        return [v for metric in self.metrics for v in metric.variables]

    def reset_state(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def result(self) -> dict[str, Any]:
        """Values by name."""
        return {label: metric.result() for _, _, metric, label in self._rows or []}


def check_names(loss: Any, *metrics: Any) -> None:
    """Raise ValueError for the name of a loss or a metric that is not known; training would find it later."""
    for name in tree.leaves(loss):
        losses_module.get(name)
    for name in tree.leaves(metrics):
        if name not in ("accuracy", "acc", "crossentropy", "ce"):
            metrics_module.get(name)


def _loss_object(given: Any, y_true: Any, y_pred: Any) -> Loss | None:
    name = given if isinstance(given, str) else None
    if name in ("crossentropy", "ce"):
        given = _for_targets(y_true, y_pred, "crossentropy", losses_module)
    found = losses_module.get(given)
    if found is None or isinstance(found, Loss):
        return found
    return LossFunctionWrapper(found, name=name or getattr(found, "__name__", None))


def _metric_object(given: Any, y_true: Any, y_pred: Any) -> Metric:
    name = given if isinstance(given, str) else getattr(given, "__name__", None)
    if name in ("accuracy", "acc"):
        return MeanMetricWrapper(_for_targets(y_true, y_pred, "accuracy", metrics_module), name=name)
    found = metrics_module.get(given)
    metric = found if isinstance(found, Metric) else MeanMetricWrapper(found, name=name)
    if isinstance(given, str):
        # A metric is called as it was asked for: "mse", not "mean_squared_error".
        metric.name = given
    return metric


def _for_targets(y_true: Any, y_pred: Any, what: str, module: Any) -> Any:
    """Which accuracy or cross-entropy is meant for targets and outputs of these shapes, as in Keras."""
    wide, truth = ops.shape(y_pred), ops.shape(y_true)
    if wide[-1] == 1:
        return getattr(module, f"binary_{what}")
    if len(truth) < len(wide) or (truth[-1] == 1 and wide[-1] != 1):
        return getattr(module, f"sparse_categorical_{what}")
    return getattr(module, f"categorical_{what}")


def _per_output(given: Any, y_pred: Any, names: list[str] | None, what: str, lists: bool = False) -> list[Any]:
    """What was given for each output, in the outputs' order."""
    count = len(tree.flatten(y_pred))
    if given is None:
        return [None] * count
    if isinstance(given, dict):
        keys = tree.sorted_keys(y_pred) if isinstance(y_pred, dict) else (names or [])
        unknown = [k for k in given if k not in keys]
        if unknown:
            raise ValueError(f"{what}: {unknown[0]!r} is not an output of the model; its outputs are {list(keys)}")
        return [given.get(k) for k in keys]
    if count == 1:
        return [given] if lists or not isinstance(given, (list, tuple)) else list(given)
    if isinstance(given, (list, tuple)) and len(given) == count:
        return list(given)
    if lists and isinstance(given, (list, tuple)) and not any(isinstance(g, (list, tuple)) for g in given):
        raise ValueError(f"{what}: {len(given)} entries for {count} outputs; give a list or a dict with one entry each")
    if isinstance(given, (list, tuple)):
        raise ValueError(f"{what}: {len(given)} entries for {count} outputs")
    return [given] * count


def _weights(sample_weight: Any, y_pred: Any, names: list[str] | None) -> list[Any]:
    """A weight, or None, for each output; one is for all."""
    count = len(tree.flatten(y_pred))
    weights = tree.flatten(_like(sample_weight, y_pred, "sample_weight", names))
    return weights * count if len(weights) == 1 else weights


def _labels(y_pred: Any, names: list[str] | None) -> list[str]:
    """What the outputs are called in logs: by the keys of a dict, else by the layers that make them."""
    outputs = tree.flatten(y_pred)
    if isinstance(y_pred, dict) and len(y_pred) == len(outputs):
        return [str(k) for k in tree.sorted_keys(y_pred)]
    return names or [f"output_{i}" for i in range(len(outputs))]


def _truths(y: Any, y_pred: Any, names: list[str] | None, wanted: list[Any]) -> list[Any]:
    """Targets in the order of the outputs; those for which ``wanted`` holds nothing (no loss, say) may be left out."""
    used, labels = [bool(w) for w in wanted], _labels(y_pred, names)
    if isinstance(y, dict) and len(used) > 1:
        missing = [k for k, u in zip(labels, used, strict=True) if u and k not in y]
        if missing:
            raise ValueError(f"y has no entry for the output {missing[0]!r}")
        return [y.get(k) for k in labels]
    flat = tree.flatten(y)
    if len(flat) == len(used):
        return flat
    if len(flat) != sum(used):
        held = "there is no y" if y is None else f"y holds {len(flat)} array(s)"
        raise ValueError(f"{held}, the model has {len(used)} outputs: {', '.join(labels)}")
    rest = iter(flat)
    return [next(rest) if u else None for u in used]


def _like(y: Any, y_pred: Any, what: str, names: list[str] | None) -> Any:
    """Targets or weights in the order of the outputs: a dict is taken by the outputs' keys, or their layers' names."""
    if isinstance(y, dict) and isinstance(y_pred, (list, tuple)) and names is not None:
        missing = [n for n in names if n not in y]
        if missing:
            raise ValueError(f"{what} has no entry for the output {missing[0]!r}")
        return [y[n] for n in names]
    if isinstance(y, dict) and isinstance(y_pred, dict):
        missing = [k for k in y_pred if k not in y]
        if missing:
            raise ValueError(f"{what} has no entry for the output {missing[0]!r}")
        return {k: y[k] for k in y_pred}
    return y

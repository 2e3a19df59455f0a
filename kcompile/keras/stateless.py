"""Calls that take the state as arguments and return what it becomes, in place of changing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.tracing.variable import Variable, stateless


class StatelessLayer:
    """`stateless_call` of layers and models."""

    def stateless_call(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """(outputs, non-trainable variables after the call), and the added losses where asked for.

        Values are in the order of `trainable_variables` and `non_trainable_variables`. Raises ValueError for a layer
        that is not built and for another number of values.
        """
        layer: Any = self
        if not layer.built:
            raise ValueError(f"stateless_call: layer {layer.name!r} has no variables yet; build it or call it once")
        trainable, others = layer.trainable_variables, layer.non_trainable_variables
        _check("trainable_variables", trainable_variables, trainable)
        _check("non_trainable_variables", non_trainable_variables, others)
        with stateless([*trainable, *others], [*trainable_variables, *non_trainable_variables]) as values:
            outputs = layer(*args, **kwargs)
            losses = (layer.losses,) if return_losses else ()
            return (outputs, values()[len(trainable) :], *losses)


class StatelessOptimizer:
    """`stateless_apply` of optimizers."""

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """(trainable variables, the optimizer's variables) after a step. Raises ValueError before `build`."""
        optimizer: Any = self
        if not optimizer.built:
            raise ValueError("stateless_apply: the optimizer has no variables yet; call `build(variables)` first")
        trained, own = optimizer._trainable_variables, optimizer.variables
        _check("optimizer_variables", optimizer_variables, own)
        _check("trainable_variables", trainable_variables, trained)
        with stateless([*trained, *own], [*trainable_variables, *optimizer_variables]) as values:
            optimizer.apply(grads, trained)
            found = values()
        return found[: len(trained)], found[len(trained) :]


class StatelessMetric:
    """`stateless_update_state`, `stateless_result` and `stateless_reset_state` of metrics."""

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The metric's variables after a batch."""
        metric: Any = self
        if not metric.variables:
            # Some metrics make their variables for the first batch they see.
            metric.update_state(*args, **kwargs)
            metric.reset_state()
        _check("metric_variables", metric_variables, metric.variables)
        with stateless(metric.variables, metric_variables) as values:
            metric.update_state(*args, **kwargs)
            return values()

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """The result of these variables."""
        metric: Any = self
        _check("metric_variables", metric_variables, metric.variables)
        with stateless(metric.variables, metric_variables):
            return metric.result()

    def stateless_reset_state(self) -> list[Any]:
        """The variables as they start."""
        metric: Any = self
        with stateless(metric.variables, [v.storage for v in metric.variables]) as values:
            metric.reset_state()
            return values()


def _check(what: str, values: Sequence[Any], variables: Sequence[Variable]) -> None:
    if len(values) != len(variables):
        raise ValueError(f"`{what}` must be a list of {len(variables)} values, got {len(values)}")

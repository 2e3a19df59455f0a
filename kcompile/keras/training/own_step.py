"""Steps that a model overrides: ``train_step``, ``test_step`` and ``predict_step`` as written for Keras on torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kcompile.keras import backend, ops, tree
from kcompile.keras.training.sources import unpack
from kcompile.tracing.scope import root_scope


class OwnStep:
    """Calls a model's own step with the batch as Keras packs it; ``logs`` is what the last call returned."""

    def __init__(self, method: Callable[[Any], Any], kind: str):
        self.method, self.kind = method, kind
        self.logs: Any = None

    def __call__(self, batch: Any) -> Any:
        device = backend.devices().asked()
        if device is not None:
            # The step's code may compute in torch itself, which moves nothing.
            move = backend.devices().copied
            batch = tree.map_structure(lambda a: None if a is None else move(a, device), batch)
        with root_scope():
            if self.kind == "train":
                self.logs = self.method(packed(batch))
            else:
                with backend.engine().no_grad():
                    self.logs = self.method(packed(batch))
        if self.kind != "predict" and not isinstance(self.logs, dict):
            raise TypeError(f"{self.kind}_step must return a dict of values by name, got {type(self.logs).__name__}")
        return self.logs


def packed(batch: Any) -> Any:
    """(x, y, sample_weight) without what is absent at the end; x alone as itself."""
    x, y, weight = batch
    if weight is not None:
        return x, y, weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, (tuple, list)) else x


class OverridableSteps:
    """The steps that a subclass may override or call with ``super()``: eager, differentiated by ``loss.backward()``."""

    def zero_grad(self) -> None:
        """Forget the gradients of all trainable variables."""
        for variable in self.trainable_variables:  # type: ignore[attr-defined]
            variable.value.grad = None

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch: forward, backward, update, metrics."""
        x, y, weight = unpack(data)
        self.zero_grad()
        y_pred = self(x, training=True)  # type: ignore[operator]
        loss = self._called_loss(x, y, y_pred, weight, True)
        self._track(loss, x)
        self.optimizer.scale_loss(loss).backward()  # type: ignore[attr-defined]
        variables = self.trainable_variables  # type: ignore[attr-defined]
        gradients = [v.value.grad for v in variables]
        with backend.engine().no_grad():
            self.optimizer.apply(gradients, variables)  # type: ignore[attr-defined]
            self.compute_metrics(x, y, y_pred, weight)  # type: ignore[attr-defined]
        return self.get_metrics_result()  # type: ignore[attr-defined]

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics of a batch."""
        x, y, weight = unpack(data)
        y_pred = self(x, training=False)  # type: ignore[operator]
        loss = self._called_loss(x, y, y_pred, weight, False)
        self._track(loss, x)
        self.compute_metrics(x, y, y_pred, weight)  # type: ignore[attr-defined]
        return self.get_metrics_result()  # type: ignore[attr-defined]

    def predict_step(self, data: Any) -> Any:
        """Outputs for a batch."""
        return self(unpack(data)[0], training=False)  # type: ignore[operator]

    def _called_loss(self, x: Any, y: Any, y_pred: Any, weight: Any, training: bool) -> Any:
        """``compute_loss``, given ``training`` where it takes it (Keras's older ones don't)."""
        own = self.compute_loss  # type: ignore[attr-defined]
        names = inspect.signature(own).parameters
        loose = any(p.kind is p.VAR_KEYWORD for p in names.values())
        extra = {"training": training} if "training" in names or loose else {}
        return own(x=x, y=y, y_pred=y_pred, sample_weight=weight, **extra)

    def _track(self, loss: Any, x: Any) -> None:
        tracker = self._loss_tracker  # type: ignore[attr-defined]
        if tracker is not None:
            with backend.engine().no_grad():
                tracker.update_state(ops.stop_gradient(loss), sample_weight=ops.shape(tree.flatten(x)[0])[0])


def overridden(model: Any, kind: str) -> Callable[[Any], Any] | None:
    """The model's own step of a kind (train, test, predict), or None where it is the default."""
    name = f"{kind}_step"
    return getattr(model, name) if getattr(type(model), name) is not getattr(OverridableSteps, name) else None

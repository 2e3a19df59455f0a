"""`Callback` and the list that calls them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Callback:
    """Methods that fit, evaluate and predict call as they run; override those of interest."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self._model = model

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None: ...
    def on_train_end(self, logs: dict[str, Any] | None = None) -> None: ...
    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None: ...
    def on_test_end(self, logs: dict[str, Any] | None = None) -> None: ...
    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None: ...
    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None: ...


class CallbackList:
    """Calls every callback; knows whether any looks at batches, since reading metrics costs time."""

    def __init__(self, callbacks: Any, model: Any, **params: Any):
        given = callbacks if isinstance(callbacks, Iterable) else [callbacks] if callbacks is not None else []
        self.callbacks: list[Callback] = list(given)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self.wants_batches = {
            kind: any(_overrides(c, f"on_{kind}_batch_end") for c in self.callbacks)
            for kind in ("train", "test", "predict")
        }

    def call(self, event: str, *args: Any) -> None:
        """Call ``event`` of each."""
        for callback in self.callbacks:
            getattr(callback, event)(*args)


def _overrides(callback: Callback, method: str) -> bool:
    return method in vars(callback) or getattr(type(callback), method, None) is not getattr(Callback, method)


class History(Callback):
    """Records the logs of each epoch in ``history``."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.epoch, self.history = [], {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)


class LambdaCallback(Callback):
    """A callback of functions given by name."""

    def __init__(self, **functions: Any):
        super().__init__()
        for name, function in functions.items():
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Stops training where the loss is not a finite number."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not abs(loss) < float("inf"):
            self.model.stop_training = True

"""`Callback` and the list that calls them."""

from __future__ import annotations

from typing import Any

from kcompile.errors import printable
from kcompile.keras.printing import print_message
from kcompile.keras.progress import ProgressBar


def say(text: str) -> None:
    """A line about what a callback did."""
    print_message(f"\n{text}")


class Callback:
    """Methods that fit, evaluate and predict call as they run; override those of interest.

    ``kept`` names attributes (numbers, texts, lists of arrays) that a resumed run is to find as they were.
    """

    kept: tuple[str, ...] = ()

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

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None: ...
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

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """``batch`` is the last of the ``steps_per_execution`` batches that ran since the last call."""
        self.on_batch_end(batch, logs)


class CallbackList(Callback):
    """Calls every callback; knows whether any looks at batches, since reading metrics costs time."""

    def __init__(
        self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None,
        **params: Any,
    ):  # fmt: skip
        super().__init__()
        given = [] if callbacks is None else callbacks
        self.callbacks: list[Callback] = list(given) if isinstance(given, (list, tuple, set)) else [given]
        for callback in self.callbacks:
            _check(callback)
        self.params = params
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        if add_history and not any(isinstance(c, History) for c in self.callbacks):
            self.callbacks.append(History())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    @property
    def wants_batches(self) -> dict[str, bool]:
        """Whether any callback reads the logs of the batches of train, test and predict."""
        found = {
            kind: any(_overrides(c, f"on_{kind}_batch_end") for c in self.callbacks)
            for kind in ("train", "test", "predict")
        }
        return {**found, "train": found["train"] or any(_overrides(c, "on_batch_end") for c in self.callbacks)}

    def append(self, callback: Callback) -> None:
        """One more callback, called after the others."""
        self.callbacks.append(callback)
        callback.set_model(self.model)
        callback.set_params(self.params)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        self._model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def call(self, event: str, *args: Any) -> None:
        """Call ``event`` of each."""
        for callback in self.callbacks:
            getattr(callback, event)(*args)


def _check(callback: Any) -> None:
    """Raise TypeError for what is no callback."""
    if isinstance(callback, type):
        raise TypeError(f"callbacks: got the class {callback.__name__}; give an object of it, {callback.__name__}(...)")
    if not hasattr(callback, "set_model"):
        raise TypeError(f"callbacks must be keras.callbacks.Callback objects, got {printable(repr(callback))}")


def _to_each(event: str) -> Any:
    def call(self: CallbackList, *args: Any, **kwargs: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*args, **kwargs)

    return call


for _event in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(CallbackList, _event, _to_each(_event))


def _overrides(callback: Callback, method: str) -> bool:
    return method in vars(callback) or getattr(type(callback), method, None) is not getattr(Callback, method)


class ProgbarLogger(Callback):
    """Shows a progress bar an epoch; `fit` shows one by itself, so this is for loops of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: ProgressBar | None = None
        self._seen = 0

    def _begin(self, title: str | None = None) -> None:
        self._bar = ProgressBar(self.params.get("steps"), self.params.get("verbose", "auto"), title)
        self._seen = 0

    def _batch(self, batch: int, logs: dict[str, Any] | None) -> None:
        self._seen = batch + 1
        if self._bar is not None:
            self._bar.update(self._seen, _shown(logs))

    def _end(self, logs: dict[str, Any] | None) -> None:
        if self._bar is not None:
            self._bar.finish(self._seen, _shown(logs))
            self._bar = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        epochs = self.params.get("epochs") or 1
        self._begin(f"Epoch {epoch + 1}/{epochs}" if epochs > 1 else None)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batch(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._end(logs)


def _shown(logs: dict[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (logs or {}).items() if k != "outputs"}


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
            say(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True

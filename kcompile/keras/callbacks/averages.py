"""`SwapEMAWeights`: evaluates and saves with the averages that the optimizer keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcompile.keras.callbacks.base import Callback


class SwapEMAWeights(Callback):
    """Puts the optimizer's moving averages in place of the weights while evaluating and predicting.

    With ``swap_on_epoch`` they are in place from the end of an epoch to the start of the next, so that
    a checkpoint written there holds them. Raises ValueError where the optimizer has no ``use_ema=True``.
    """

    kept = ("_swapped",)

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def _optimizers(self) -> Iterator[Any]:
        """The optimizers that keep averages, within loss scaling and several optimizers too."""
        outer = self.model.optimizer
        inner = getattr(outer, "inner_optimizer", outer)
        found = [o for o in getattr(inner, "optimizers", [inner]) if getattr(o, "use_ema", False) and o.built]
        if not found:
            raise ValueError("SwapEMAWeights needs an optimizer with `use_ema=True` that has trained")
        yield from found

    def _put(self, averages: bool) -> None:
        if self._swapped is averages:
            return
        for optimizer in self._optimizers():
            for variable, average in self._pairs(optimizer):
                kept = variable.numpy()
                variable.assign(average.numpy())
                average.assign(kept)
        self._swapped = averages

    @staticmethod
    def _pairs(optimizer: Any) -> Iterator[tuple[Any, Any]]:
        return zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.swap_on_epoch:
            self._put(averages=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.swap_on_epoch:
            return
        self._put(averages=True)
        if epoch == self.params["epochs"] - 1:
            # `fit` ends by giving weights their averages: those must not be the plain weights that lie there now.
            for optimizer in self._optimizers():
                for variable, average in self._pairs(optimizer):
                    average.assign(variable.numpy())

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._put(averages=True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._put(averages=False)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._put(averages=True)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        self._put(averages=False)

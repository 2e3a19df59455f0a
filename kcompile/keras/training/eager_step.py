"""A step that runs in Python, operator by operator, for models whose code can't be traced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kcompile.errors import TraceError
from kcompile.keras import backend, tree
from kcompile.keras.training.steps import NOTHING_TO_TRAIN
from kcompile.tracing.scope import root_scope
from kcompile.tracing.variable import Variable


class EagerStep:
    """Calls ``function`` on a batch; with an optimizer, differentiates its first output and steps."""

    def __init__(
        self,
        function: Callable[[Any, Any, Any], Any],
        optimizer: Any = None,
        trained: Callable[[], list[Variable]] | None = None,
    ):
        self.function, self.optimizer, self.trained = function, optimizer, trained

    def __call__(self, batch: Any) -> Any:
        eager = backend.engine()
        with root_scope():
            if self.optimizer is None or self.trained is None:
                with eager.no_grad():
                    return tree.map_structure(_detach, self.function(*batch))
            results = self.function(*batch)
            variables = self.trained()
            if not variables:
                return tree.map_structure(_detach, results)
            if not results[0].requires_grad:
                raise ValueError(NOTHING_TO_TRAIN)
            gradients = eager.gradients(results[0], [v.value for v in variables])
            with eager.no_grad():
                self.optimizer.apply(gradients, variables)
            return tree.map_structure(_detach, results)


def _detach(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


class Fallback:
    """Runs the traced step; the eager one where the model's code can't be traced, saying so once."""

    def __init__(self, traced: Any, eager: Any, kind: str):
        self.traced, self.eager, self.kind = traced, eager, kind
        self.failed = False

    def settle(self) -> None:
        self.traced.settle()

    def __call__(self, batch: Any) -> Any:
        if not self.failed:
            try:
                return self.traced(batch)
            except TraceError as error:
                self.failed = True
                sys.stderr.write(f"kcompile: the {self.kind} step runs eagerly, since it can't be traced: {error}\n")
        return self.eager(batch)

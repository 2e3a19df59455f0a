"""A step that runs in Python, operator by operator, for models whose code can't be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.keras import backend, tree
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
            gradients = eager.gradients(results[0], [v.value for v in variables])
            with eager.no_grad():
                self.optimizer.apply(gradients, variables)
            return tree.map_structure(_detach, results)


def _detach(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x

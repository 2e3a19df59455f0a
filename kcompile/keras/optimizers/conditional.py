"""Steps that are only sometimes taken, eagerly and in a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.keras import ops
from kcompile.tracing.scope import current_tracer


def only_if(condition: Any, step: Callable[[], Any]) -> None:
    """Take ``step`` where a rank-0 condition holds.

    A trace records the step either way: where the condition does not hold, the variables that it
    assigns keep their values. One condition for all variables is one choice between two lists in
    the engine, without arithmetic, so that what is not chosen may be NaN.
    """
    tracer = current_tracer()
    if tracer is None:
        if bool(condition):
            step()
        return
    before = tracer.state()
    step()
    for variable, then, now in tracer.changes(before):
        variable.assign(ops.where(condition, now, then))

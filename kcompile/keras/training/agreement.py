"""Whether targets and outputs can be compared, told with their names while a step is traced."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from kcompile.errors import InferError
from kcompile.ir import Dim
from kcompile.ir.shapes import known
from kcompile.keras import backend
from kcompile.keras.losses import margin, probabilistic, regression
from kcompile.keras.losses.base import LossFunctionWrapper
from kcompile.tracing.scope import current_tracer

# Losses whose targets have the shape of the outputs; the cross-entropies say by themselves what does not fit.
ELEMENTWISE = (probabilistic.poisson, probabilistic.kl_divergence)
ELEMENTWISE_MODULES = (regression.__name__, margin.__name__)


@contextlib.contextmanager
def named(what: str, y_true: Any, y_pred: Any) -> Iterator[None]:
    """Errors about shapes that are raised within begin with what of, and the shapes of its targets and outputs."""
    try:
        yield
    except (InferError, ValueError) as error:
        if type(error) not in (InferError, ValueError):
            raise
        raise type(error)(f"{what}: {_shapes(y_true, y_pred)}: {error}") from error


def compare(what: str, loss: Any, y_true: Any, y_pred: Any) -> None:
    """Tell of targets of another rank than the outputs, that a loss compares element by element.

    The axes are then matched from the last one on, so that the batch meets an axis of the other. Raises ValueError
    where that has a size of its own; warns where it is 1, since each sample is then compared with all.
    """
    function = loss.fn if isinstance(loss, LossFunctionWrapper) else None
    if function not in ELEMENTWISE and getattr(function, "__module__", "") not in ELEMENTWISE_MODULES:
        return
    short, long = sorted((_shape(y_true), _shape(y_pred)), key=len)
    extra = len(long) - len(short)
    if not short or extra == 0 or (extra == 1 and long[-1] == 1):
        return
    tracer, met = current_tracer(), long[extra]
    batch = tracer.batch if tracer is not None and isinstance(short[0], Dim) else short[0]
    if batch != 1 and isinstance(met, int) and met not in (1, batch):
        raise ValueError("they must be of one shape")
    if batch != 1 and met == 1:
        shapes = _shapes(y_true, y_pred)
        warnings.warn(f"{what}: {shapes}: each sample is compared with all; give y the output's shape", stacklevel=2)


def _shapes(y_true: Any, y_pred: Any) -> str:
    return f"y has shape {known(_shape(y_true))}, the output {known(_shape(y_pred))}"


def _shape(x: Any) -> tuple[Any, ...]:
    return backend.shape_of(x)

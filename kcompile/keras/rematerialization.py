"""`keras.RematScope` and `keras.remat`: what is computed within is computed again for gradients instead of kept.

In a trace it becomes one `Recompute` operator with the function as its region. Outside of training nothing is
kept for gradients anyway, so that predictions and files have no trace of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kcompile.ir import Dim
from kcompile.ir.dims import evaluate
from kcompile.keras import backend, tree
from kcompile.keras.call_context import CONTEXT
from kcompile.operators.control import Recompute
from kcompile.tracing.regions import Region
from kcompile.tracing.scope import current_tracer
from kcompile.tracing.tensor import SymbolicTensor, record
from kcompile.tracing.variable import stateless

MODES = ("full", "activations", "larger_than", "list_of_layers", None)


class RematMode(NamedTuple):
    """What a layer made within a scope remembers of it."""

    mode: str | None
    output_size_threshold: int
    layer_names: list[str]


_STACK: contextvars.ContextVar[tuple[RematScope, ...]] = contextvars.ContextVar("kcompile_remat", default=())


class RematScope:
    """Layers made within keep less for their gradients and compute it again (Chen et al., 2016).

    ``full``: all of them; ``activations``: only their activation functions; ``larger_than``: those whose outputs
    have more numbers than ``output_size_threshold``, the batch among the sizes; ``list_of_layers``: those named in
    ``layer_names``; None: none, inside of another scope say. The layer remembers the mode, its config does not:
    a model that is loaded within a scope has that scope's. Raises ValueError for another mode.
    """

    def __init__(self, mode: str | None = "full", output_size_threshold: int = 1024, layer_names: Any = None):
        if mode not in MODES:
            raise ValueError(
                f"Invalid mode '{mode}'. Supported modes are: 'full', 'activations', 'larger_than', 'list_of_layers', "
                "or None."
            )
        self.mode, self.output_size_threshold, self.layer_names = mode, output_size_threshold, layer_names or []

    def __enter__(self) -> RematScope:
        _STACK.set((*_STACK.get(), self))
        return self

    def __exit__(self, *args: Any) -> None:
        _STACK.set(_STACK.get()[:-1])


def current_mode() -> RematMode | None:
    """The innermost scope's settings, None outside of all."""
    if not _STACK.get():
        return None
    scope = _STACK.get()[-1]
    return RematMode(scope.mode, scope.output_size_threshold, scope.layer_names)


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors that keeps only its arguments for its gradients; the rest is computed again for them.

    Called outside of a trace, f is called twice: what it changes (variables, say) it changes twice.
    """

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        context = CONTEXT.get()
        if context is not None and not context.training:
            return f(*args, **kwargs)
        run = functools.partial(f, *args, **kwargs)
        if current_tracer() is not None:
            return _recorded(getattr(f, "__name__", None) or type(f).__name__, run)
        symbolic = any(isinstance(x, SymbolicTensor) for x in tree.leaves((args, kwargs)))
        return run() if symbolic else backend.engine().checkpoint(run)

    return wrapped


def call_of(layer: Any, mode: RematMode, training: bool | None) -> Callable[..., Any]:
    """The layer's ``call``, or one that computes again what the mode says."""
    call = layer.call
    if not training or mode.mode is None or (mode.mode == "list_of_layers" and layer.name not in mode.layer_names):
        return call
    if mode.mode == "activations":
        return _with_activation(layer) if getattr(layer, "activation", None) is not None else call

    def run(*args: Any, **kwargs: Any) -> Any:
        function = functools.partial(call, *args, **kwargs)
        if current_tracer() is None:
            return _checkpointed(layer, function)
        most = mode.output_size_threshold if mode.mode == "larger_than" else None
        return _recorded(layer.name, function, layer._flatten_layers(), most)

    return run


def _with_activation(layer: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        given = layer.activation
        layer.activation = remat(given)
        try:
            return layer.call(*args, **kwargs)
        finally:
            layer.activation = given

    return run


def _recorded(name: str, function: Callable[[], Any], layers: Sequence[Any] = (), most: int | None = None) -> Any:
    """The function's results out of one operator; as they are where their size is not above ``most``.

    Results are all tensors that the function leaves: what it returns, their masks, losses that layers added,
    new values of variables.
    """
    tracer = current_tracer()
    assert tracer is not None
    losses = [(x, len(x._loss_tensors)) for x in layers]
    result: Any = None

    def run() -> list[Any]:
        nonlocal result
        result = function()
        added = [loss for x, count in losses for loss in x._loss_tensors[count:]]
        leaves = [x for x in (*tree.leaves(result), *added) if isinstance(x, SymbolicTensor)]
        masks = [getattr(x, "_keras_mask", None) for x in leaves]
        return [*leaves, *(m for m in masks if isinstance(m, SymbolicTensor))]

    region = Region(name, run, assigns=True)
    graph = region.graph(region.captures, _names(region.captures))
    sizes = [_size(x, tracer.batch) for x in tree.leaves(result) if isinstance(x, SymbolicTensor)]
    if not list(graph.operators()) or (most is not None and sum(sizes) <= most):
        return result
    values = record(Recompute(graph), *region.captures)
    made = {id(old): new for old, new in zip(region.result, values, strict=False)}
    for old in region.result:
        mask = getattr(old, "_keras_mask", None)
        if mask is not None:
            made[id(old)]._keras_mask = made.get(id(mask), mask)
    for variable, value in zip(region.assigned, values[len(region.result) :], strict=True):
        tracer.assign(variable, value.value)
    for x, count in losses:
        x._loss_tensors[count:] = [made.get(id(loss), loss) for loss in x._loss_tensors[count:]]
    return tree.map_structure(lambda x: made.get(id(x), x), result)


def _names(captures: Sequence[Any]) -> list[str]:
    """Names for a region's inputs: what a weight or an input is called, the operator that makes another value."""
    taken: dict[str, int] = {}
    names = []
    for value in captures:
        name = getattr(value.op, "label", value.op.name)
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}_{taken[name] - 1}")
    return names


def _size(x: SymbolicTensor, batch: int) -> int:
    """Numbers in a tensor; free sizes other than the batch's count as 1."""
    dims = x.type.shape
    sizes = {s: batch if s == "N" else 1 for d in dims if isinstance(d, Dim) for s in d.symbols()}
    return math.prod(evaluate(d, sizes) for d in dims)


def _checkpointed(layer: Any, function: Callable[[], Any]) -> Any:
    """An eager call. Computed again, it finds variables as they were and leaves them alone."""
    variables = layer.non_trainable_variables
    before = [v.numpy() for v in variables]
    calls = itertools.count()

    def run() -> Any:
        again = next(calls) > 0
        with stateless(variables, before) if again else contextlib.nullcontext():
            return function()

    return backend.engine().checkpoint(run)

"""Core functions of `keras.ops`: tensors, shapes, indexing, control flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.errors import TraceError
from kcompile.ir import dtype as to_dtype
from kcompile.keras import backend, tree
from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import op, rank_of, run, shape_of, tensor
from kcompile.operators import control
from kcompile.operators.gradient import StopGradient
from kcompile.operators.shape import Slice
from kcompile.tracing.regions import Region, merged_captures
from kcompile.tracing.scope import current_tracer, located
from kcompile.tracing.tensor import SymbolicTensor, lift, record

BOOL = to_dtype("bool")


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """x as a tensor, in ``dtype`` where given."""
    if sparse or ragged:
        raise ValueError("convert_to_tensor: sparse and ragged tensors are not supported")
    return backend.convert_to_tensor(x, dtype)


def convert_to_numpy(x: Any) -> Any:
    """A concrete tensor as a numpy array; TraceError for a symbolic one."""
    return backend.convert_to_numpy(x)


def is_tensor(x: Any) -> bool:
    """True for symbolic and for torch tensors."""
    return backend.is_tensor(x)


def shape(x: Any) -> tuple[Any, ...]:
    """The shape as a tuple of ints and symbolic sizes, which other ops take as sizes."""
    return shape_of(x)


def ndim(x: Any) -> int:
    """Number of axes."""
    return rank_of(x)


def size(x: Any) -> Any:
    """Number of elements."""
    from kcompile.ir.dims import product

    return product(shape_of(x))


@op
def stop_gradient(variable: Any) -> Any:
    """The value, through which no gradient flows."""
    return run(StopGradient(), variable)


@op
def getitem(x: Any, key: Any) -> Any:
    """numpy indexing: integers, slices, ``...``, None, and one tensor or list of indices."""
    keys = key if isinstance(key, tuple) else (key,)
    x = tensor(x)
    sizes = shape_of(x)
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > len(sizes):
        raise IndexError(located(f"too many indices for a tensor of shape {sizes}: {used}"))
    if not any(k is Ellipsis for k in keys):
        keys = (*keys, Ellipsis)
    filled: list[Any] = []
    for k in keys:
        filled += [slice(None)] * (len(sizes) - used) if k is Ellipsis else [k]
    if any(backend.is_array_like(k) or isinstance(k, list) for k in filled):
        return _gather_index(x, filled)
    starts, stops, steps, drop, new = [], [], [], [], []
    place = axis = 0
    for k in filled:
        if k is None:
            new.append(place)
            place += 1
            continue
        dim = sizes[axis]
        if isinstance(k, slice):
            start, stop, step = _slice_bounds(k, dim)
            place += 1
        else:
            start = _index(k, dim, axis, sizes)
            stop, step = start + 1, 1
            drop.append(axis)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        axis += 1
    if any(s != 0 or t != d or p != 1 for s, t, p, d in zip(starts, stops, steps, sizes, strict=True)):
        x = run(Slice(tuple(starts), tuple(stops), tuple(steps)), x)
    x = arrays.squeeze(x, tuple(drop)) if drop else x
    return arrays.expand_dims(x, tuple(new)) if new else x


def _slice_bounds(key: slice, dim: Any) -> tuple[Any, Any, int]:
    step = 1 if key.step is None else int(key.step)
    if step == 0:
        raise ValueError(located("slice step cannot be zero"))
    if step < 0:
        start = None if key.start is None else key.start
        return (
            (dim - 1 if start is None else _from_end(start, dim)),
            (None if key.stop is None else _from_end(key.stop, dim)),
            step,
        )
    start = 0 if key.start is None else _from_end(key.start, dim)
    stop = dim if key.stop is None else _from_end(key.stop, dim)
    return start, stop, step


def _from_end(bound: Any, dim: Any) -> Any:
    """A slice bound as a size within [0, dim]."""
    from kcompile.ir.dims import maximum, minimum

    if isinstance(bound, SymbolicTensor):
        raise TraceError(located("a slice bound that is a tensor gives a size that depends on data; use ops.slice"))
    if isinstance(bound, int):
        return maximum(dim + bound, 0) if bound < 0 else minimum(bound, dim)
    return bound


def _index(key: Any, dim: Any, axis: int, sizes: tuple[Any, ...]) -> Any:
    if isinstance(key, bool) or not hasattr(key, "__index__"):
        raise TraceError(located(f"{type(key).__name__} is not an index that can be followed"))
    if isinstance(key, int) and isinstance(dim, int) and not -dim <= key < dim:
        raise IndexError(located(f"index {key} is out of bounds for axis {axis} of a tensor of shape {sizes}"))
    return dim + key if isinstance(key, int) and key < 0 else key


def _gather_index(x: Any, keys: list[Any]) -> Any:
    tensors = [i for i, k in enumerate(keys) if backend.is_array_like(k) or isinstance(k, list)]
    if len(tensors) > 1:
        raise TraceError(located("indexing with several tensors; use ops.take_along_axis or ops.take"))
    at = tensors[0]
    indices = tensor(keys[at])
    if backend.dtype_of(indices).is_bool:
        raise TraceError(located("a boolean mask as index gives a size that depends on data; use ops.where"))
    axis = sum(k is not None for k in keys[:at])
    rest = [slice(None) if i == at else k for i, k in enumerate(keys)]
    if any(isinstance(k, int) for k in keys[:at]):
        raise TraceError(located("an integer index before a tensor index; index in two steps"))
    x = arrays.take(x, indices, axis)
    rest[at : at + 1] = [slice(None)] * rank_of(indices)
    return getitem(x, tuple(rest))


# ---- control flow


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """true_fn() where pred holds, else false_fn(); both give the same structure of tensors."""
    if current_tracer() is None and not isinstance(pred, SymbolicTensor):
        return true_fn() if bool(pred) else false_fn()
    then, orelse = Region("then", true_fn), Region("orelse", false_fn)
    if not then.outputs:
        return then.result
    captures = merged_captures(then, orelse)
    results = record(control.Cond(then.graph(captures), orelse.graph(captures)), lift(pred, BOOL), *captures)
    return _packed(then.result, results)


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """Runs body while cond holds; loop variables keep their shapes and dtypes."""
    single = not isinstance(loop_vars, (tuple, list))
    state = [loop_vars] if single else list(loop_vars)
    if current_tracer() is None and not any(isinstance(v, SymbolicTensor) for v in tree.leaves(state)):
        return _eager_while(cond, body, loop_vars, maximum_iterations, single)
    if maximum_iterations is not None:
        inner_cond, inner_body = cond, body
        counted = while_loop(
            lambda i, *vs: elementwise.logical_and(elementwise.less(i, maximum_iterations), inner_cond(*vs)),
            lambda i, *vs: (elementwise.add(i, 1), *_as_list(inner_body(*vs))),
            [tensor(0, "int32"), *state],
        )
        return counted[1] if single else type(loop_vars)(counted[1:])
    values = [lift(v) for v in tree.flatten(state)]
    test = Region("condition", _on(cond, state), values)
    step = Region("body", _on(lambda *vs: _as_list(body(*vs)), state), values)
    captures = merged_captures(test, step)
    loop = control.WhileLoop(test.graph(captures), step.graph(captures))
    packed = _packed(state, record(loop, *values, *captures))
    return packed[0] if single else type(loop_vars)(packed)


def _eager_while(cond: Any, body: Any, loop_vars: Any, maximum: int | None, single: bool) -> Any:
    state = [loop_vars] if single else list(loop_vars)
    count = 0
    while bool(cond(*state)) and (maximum is None or count < maximum):
        state = _as_list(body(*state))
        count += 1
    return state[0] if single else type(loop_vars)(state)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """carry, y = f(carry, x) along the first axis of xs: (last carry, stacked ys)."""
    if xs is None:
        xs = arrays.arange(length)
    if current_tracer() is None:
        return _eager_scan(f, init, xs, reverse)
    values = [lift(v) for v in tree.flatten(init)]
    sequences = [lift(v) for v in tree.flatten(xs)]
    region = Region("body", _on(f, [init, xs]), values, [v.type.with_shape(v.type.shape[1:]) for v in sequences])
    captures = merged_captures(region)
    loop = control.Scan(region.graph(captures), len(values), len(sequences), reverse)
    results = record(loop, *values, *sequences, *captures)
    results = results if isinstance(results, tuple) else (results,)
    return _packed(init, results[: len(values)]), _packed(region.result[1], results[len(values) :])


def _eager_scan(f: Any, init: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
    count = shape_of(tree.flatten(xs)[0])[0]
    carry, rows = init, []
    for i in reversed(range(count)) if reverse else range(count):
        carry, y = f(carry, tree.map_structure(lambda x, i=i: x[i], xs))
        rows.append(y)
    rows = rows[::-1] if reverse else rows
    return carry, tree.map_structure(lambda *parts: arrays.stack(parts), rows[0], *rows[1:])


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """body_fun(i, value) for i from lower to upper."""
    flat = tree.flatten(init_val)
    start = tensor(lower, "int32")

    def body(i: Any, *vs: Any) -> Any:
        return (elementwise.add(i, 1), *tree.flatten(body_fun(i, tree.pack_like(init_val, vs))))

    done = while_loop(lambda i, *vs: elementwise.less(i, upper), body, [start, *flat])
    return tree.pack_like(init_val, done[1:])


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _on(function: Callable[..., Any], structure: list[Any]) -> Callable[..., Any]:
    """``function`` taking the flat tensors of its arguments' structure."""
    return lambda *flat: function(*tree.pack_like(structure, flat))


def _packed(structure: Any, results: Any) -> Any:
    values = results if isinstance(results, tuple) else (results,)
    return tree.pack_like(structure, values)


__all__ = [
    "cond", "convert_to_numpy", "convert_to_tensor", "fori_loop", "getitem", "is_tensor", "ndim", "scan", "shape",
    "size", "stop_gradient", "while_loop",
]  # fmt: skip

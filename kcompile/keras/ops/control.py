"""Functions of `keras.ops` that call functions: over slices, over branches."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from kcompile.ir import Dim
from kcompile.ir.dims import product
from kcompile.ir.shapes import broadcast
from kcompile.keras import tree
from kcompile.keras.ops import arrays, core
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import normal_axis, rank_of, shape_of, tensor
from kcompile.tracing.scope import current_tracer
from kcompile.tracing.tensor import SymbolicTensor


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """f on each slice along the first axis of xs, its results stacked. ONNX Scan."""
    _, results = core.scan(lambda carry, x: (carry, f(x)), [tensor(0, "int32")], xs)
    return results


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """function on each slice along the first axis of elements, its results stacked."""
    return map(function, elements)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """branches[index](*operands), the index held within the branches; all give the same structure of tensors."""
    last = len(branches) - 1
    if current_tracer() is None and not isinstance(index, SymbolicTensor):
        return branches[max(0, min(int(index), last))](*operands)
    chosen = functools.partial(branches[last], *operands)
    for i in range(last - 1, -1, -1):
        chosen = functools.partial(
            core.cond, ew.less_equal(index, i), functools.partial(branches[i], *operands), chosen
        )
    return chosen()


def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Running results of an associative f along an axis: x0, f(x0, x1), f(f(x0, x1), x2), ...

    f gets and gives stretches of elems, so log2(n) calls do (Hillis & Steele 1986).
    """
    first = tree.flatten(elems)[0]
    axis = normal_axis(axis, rank_of(first))
    size = shape_of(first)[axis]
    if isinstance(size, Dim):
        raise ValueError(f"associative_scan: axis {axis} needs a fixed size, got {size}; use ops.scan")

    def part(start: int, stop: int) -> Any:
        return tree.map_structure(lambda x: arrays.slice_axis(x, axis, start, stop), elems)

    elems = tree.map_structure(lambda x: arrays.flip(x, axis) if reverse else tensor(x), elems)
    step = 1
    while step < size:
        joined = f(part(0, size - step), part(step, size))
        elems = tree.map_structure(lambda a, b: arrays.concatenate([a, b], axis), part(0, step), joined)
        step *= 2
    return tree.map_structure(lambda x: arrays.flip(x, axis), elems) if reverse else elems


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Callable[..., Any]:
    """A function of arrays out of one of scalars, as numpy.vectorize; arguments broadcast.

    ``signature`` such as ``"(n),(n,m)->(m)"`` says how many axes the function itself takes of each
    argument; positions in ``excluded`` are passed on as they are.
    """
    kept = set(excluded or ())
    takes = re.findall(r"\(([^)]*)\)", signature.partition("->")[0]) if signature else None

    @functools.wraps(pyfunc)
    def call(*args: Any) -> Any:
        given = [i for i in range(len(args)) if i not in kept]
        inner = [0 if takes is None else len(re.findall(r"\w+", takes[n])) for n in range(len(given))]
        outer: tuple[Any, ...] = ()
        values = [tensor(args[i]) for i in given]
        for x, count in zip(values, inner, strict=True):
            outer = broadcast(outer, shape_of(x)[: rank_of(x) - count])
        flat = []
        for x, count in zip(values, inner, strict=True):
            own = shape_of(x)[rank_of(x) - count :]
            flat.append(arrays.reshape(arrays.broadcast_to(x, (*outer, *own)), (product(outer), *own)))

        def one(row: Any) -> Any:
            whole = list(args)
            for i, x in zip(given, row, strict=True):
                whole[i] = x
            return pyfunc(*whole)

        results = map(one, flat)
        return tree.map_structure(lambda y: arrays.reshape(y, (*outer, *shape_of(y)[1:])), results)

    return call


__all__ = ["associative_scan", "map", "switch", "vectorize", "vectorized_map"]

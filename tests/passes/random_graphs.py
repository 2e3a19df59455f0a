"""Seeded random graphs over most operators: `random_graph(seed)`.

A graph grows from an input by steps drawn from a table; a step that doesn't fit what is there is
passed over. Numbers stay of the order of 1 and away from jumps, so that rounding stays rounding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from kcompile.ir import Graph
from kcompile.ir.dims import evaluate
from tests.passes.growing import Grower
from tests.passes.random_formulas import (
    activate,
    affine,
    bound,
    bounded,
    cast,
    choose,
    combine,
    formula,
    normalise,
    positive,
    share,
    undo,
)
from tests.passes.random_layers import (
    accumulate,
    block,
    conv,
    conv_transpose,
    cut,
    dense,
    embed,
    flatten,
    flip,
    heads,
    join,
    norm,
    ones,
    pad,
    part,
    pool,
    recur,
    reduce,
    repeat,
    reshape,
    resize,
    rows,
    softmax,
    split_conv,
    transpose,
    written_dense,
)

STEPS: tuple[Callable, ...] = (
    activate, activate, positive, bounded, affine, affine, affine, bound, choose, combine, combine, cast, formula,
    normalise, share, dense, dense, written_dense, conv, conv, split_conv, conv_transpose, heads, recur, embed, norm,
    norm, pool, resize, reduce, reduce, softmax, accumulate, transpose, transpose, reshape, reshape, ones, part, rows,
    cut, join, pad, repeat, flip, undo, undo, block, block, block, flatten,
)  # fmt: skip


def random_graph(seed: int) -> Graph:
    g = Grower(seed)
    wanted, tries = int(g.rng.integers(2, 16)), 0
    while len(g.values) < wanted and tries < 60:
        g.grow(STEPS)
        tries += 1
    return g.graph(f"g{seed}")


def feed(graph: Graph, sizes: dict[str, int], seed: int) -> list[np.ndarray]:
    """Random inputs of a graph."""
    arrays = []
    for value in graph.inputs:
        rng = np.random.default_rng([seed, zlib.crc32(value.op.label.encode())])
        shape = [evaluate(d, sizes) for d in value.type.shape]
        if value.type.dtype.is_bool:
            arrays.append(rng.integers(0, 2, shape).astype(bool))
        elif value.type.dtype.is_integer:
            arrays.append(rng.integers(0, 5, shape))
        else:
            arrays.append(rng.normal(0, 1, shape).astype(np.float32))
    return arrays

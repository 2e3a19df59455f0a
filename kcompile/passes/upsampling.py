"""Images whose cells are repeated by broadcasting: a nearest resize by whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kcompile.ir import Value
from kcompile.ir.dims import DimLike, floordiv, modulo
from kcompile.operators.image import Resize
from kcompile.operators.shape import Expand, Reshape, Squeeze
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, rule


@rule("repeated-cells", like(Reshape, like(Expand, "x")))
def repeated_cells(m: Match) -> Value:
    """Each cell several times behind itself: [N, H, 1, W, C] to [N, H, s, W, C] to [N, s * H, W, C]."""
    m.used_once("expand")
    before, after = m.x.type.shape, m.expand.type.shape
    applies(len(before) == len(after) and m.type.dtype.is_float)
    repeated = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    sizes: list[DimLike] = []
    for i, dim in enumerate(after):
        if i in repeated:
            applies(before[i] == 1 and isinstance(dim, int) and bool(sizes))
            sizes[-1] = sizes[-1] * dim
        else:
            sizes.append(dim)
    applies(len(sizes) == 4 and [d for d in sizes if d != 1] == [d for d in m.type.shape if d != 1])
    x = Squeeze(tuple(repeated))(m.x)
    return Reshape(m.type.shape)(_resized(x, sizes))


@rule("resize-of-resize", like(Resize, like(Resize, "x", mode="nearest", bind="inner"), mode="nearest"))
def resize_of_resize(m: Match) -> Value:
    """Two repetitions by whole numbers are one."""
    m.used_once("inner")
    shapes = m.x.type.shape, m.inner.type.shape, m.type.shape
    applies(all(_whole(a, b) for a, b in pairwise(shapes)))
    return _resized(m.x, m.type.shape)


def _whole(before: Sequence[DimLike], after: Sequence[DimLike]) -> bool:
    """Whether each size is a fixed multiple of what it was."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    return all(a != 0 and modulo(b, a) == 0 and isinstance(floordiv(b, a), int) for a, b in pairs)


def _resized(x: Value, sizes: Sequence[DimLike]) -> Value:
    """An image in another size along two neighbouring axes."""
    changed = {i for i in range(4) if x.type.shape[i] != sizes[i]}
    applies(changed <= {1, 2} or changed <= {2, 3})
    last = changed <= {1, 2}
    size = (sizes[1], sizes[2]) if last else (sizes[2], sizes[3])
    return Resize(size, "nearest", False, "channels_last" if last else "channels_first")(x)

"""Sizes of tensors while a file is written: where each symbol can be read, and shapes made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.errors import UnsupportedError
from kcompile.ir import Type
from kcompile.ir.dims import Dim, DimLike, evaluate, product


class Sizes:
    """What an `Emitter` knows of sizes. Tensors are their names.

    The nodes and constants that it writes (``self.Shape``, ``self.ints``) are the emitter's.
    """

    def __init__(self, parent: Sizes | None):
        # By symbol: a tensor, its axis, and the dim there that the symbol is solved from.
        self._sources: dict[str, tuple[str, int, Dim]] = {} if parent is None else dict(parent._sources)
        # Shapes of the graph's inputs, from which several sizes at once can be read.
        self._shapes: list[tuple[str, tuple[DimLike, ...]]] = [] if parent is None else list(parent._shapes)
        self._sizes: dict[Any, str] = {} if parent is None else dict(parent._sizes)

    def __getattr__(self, name: str) -> Any:
        """Nodes: `Emitter` makes them."""
        raise AttributeError(name)

    def note(self, name: str, type: Type) -> None:
        """Remember a tensor from which sizes can be read."""
        for axis, dim in enumerate(type.shape):
            if isinstance(dim, Dim):
                for symbol in dim.symbols():
                    known = self._sources.get(symbol)
                    better = known is None or (known[2].name is None and dim.name is not None)
                    if better and (dim.name is not None or _linear(dim, symbol)[0]):
                        self._sources[symbol] = (name, axis, dim)

    def note_input(self, name: str, type: Type) -> None:
        """The same for an input of the graph."""
        self.note(name, type)
        self._shapes.append((name, type.shape))

    def size(self, dim: DimLike) -> str:
        """An int64 tensor of shape [1] that holds the dimension."""
        if not isinstance(dim, Dim):
            return self.ints([dim])
        if dim not in self._sizes:
            sizes = {s: _Size(self, self._symbol(s)) for s in dim.symbols()}
            result = evaluate(dim, sizes, _SIZE_FUNCTIONS)
            self._sizes[dim] = result.name
        return self._sizes[dim]

    def _symbol(self, symbol: str) -> str:
        key = ("symbol", symbol)
        if key not in self._sizes:
            if symbol not in self._sources:
                raise UnsupportedError(f"the size {symbol} can't be read from any tensor in reach")
            tensor, axis, dim = self._sources[symbol]
            size = self.Shape(tensor, start=axis, end=axis + 1)
            if dim.name is None:
                scale, offset = _linear(dim, symbol)
                size = self.Div(self.Sub(size, self.ints([offset])), self.ints([scale]))
            self._sizes[key] = size
        return self._sizes[key]

    def shape(self, dims: Sequence[DimLike]) -> str:
        """An int64 tensor of shape [len(dims)]."""
        if not any(isinstance(d, Dim) for d in dims):
            return self.ints([int(d) for d in dims])
        parts: list[str] = []
        run: list[int] = []
        left = list(dims)
        while left:
            tensor, axis, count = self._longest(left)
            if count > 1 or isinstance(left[0], Dim):
                parts += [self.ints(run)] if run else []
                run = []
                together = count > 1
                parts.append(self.Shape(tensor, start=axis, end=axis + count) if together else self.size(left[0]))
                del left[: count if together else 1]
            else:
                run.append(int(left.pop(0)))
        parts += [self.ints(run)] if run else []
        return parts[0] if len(parts) == 1 else self.Concat(*parts, axis=0)

    def _longest(self, dims: Sequence[DimLike]) -> tuple[str, int, int]:
        """The graph input and first axis whose sizes begin ``dims`` for the longest: (name, axis, count)."""
        best = "", 0, 0
        if not isinstance(dims[0], Dim):
            return best
        for name, shape in self._shapes:
            for axis in range(len(shape)):
                count = 0
                while count < len(dims) and shape[axis + count : axis + count + 1] == (dims[count],):
                    count += 1
                # A size that is known is better written as a number.
                while count and not isinstance(dims[count - 1], Dim):
                    count -= 1
                best = max(best, (name, axis, count), key=lambda b: b[2])
        return best

    def reshape(self, x: str, before: Type, dims: Sequence[DimLike]) -> str:
        """``x`` (of type ``before``) in the shape ``dims``; one Reshape with 0 and -1 where that says it."""
        if tuple(dims) == before.shape:
            return x
        target = self._target(before, dims)
        if target is None:
            # A size of 0, now or when the model runs, is meant as such and not as "copy".
            return self.Reshape(x, self.shape(dims), allowzero=1)
        return self.Reshape(x, target)

    def _target(self, before: Type, dims: Sequence[DimLike]) -> str | None:
        """The target with 0 and -1 in it, or None where they can't say it."""
        wanted: list[int | None] = []
        for i, dim in enumerate(dims):
            if not isinstance(dim, Dim):
                # A literal 0 would mean "copy"; only allowed where it copies a 0.
                same = dim != 0 or (i < before.rank and before.shape[i] == 0)
                wanted.append(int(dim) if same else None)
            else:
                wanted.append(0 if i < before.rank and before.shape[i] == dim else None)
        missing = [i for i, w in enumerate(wanted) if w is None]
        if not missing:
            return self.ints([w for w in wanted if w is not None])
        # -1 is read off the rest, which must not have a size 0 in it.
        rest = product(d for i, d in enumerate(dims) if i not in missing)
        if len(missing) == 1 and isinstance(dims[missing[0]], Dim) and rest != 0 and 0 not in before.shape:
            return self.ints([-1 if w is None else w for w in wanted])
        return None


class _Size:
    """An int64 [1] tensor in arithmetic, for `Dim.evaluate`."""

    def __init__(self, emitter: Sizes, name: str):
        self.emitter, self.name = emitter, name

    def _of(self, other: _Size | int) -> str:
        return other.name if isinstance(other, _Size) else self.emitter.ints([other])

    def __add__(self, other: _Size | int) -> _Size:
        return _Size(self.emitter, self.emitter.Add(self.name, self._of(other)))

    def __mul__(self, other: _Size | int) -> _Size:
        return _Size(self.emitter, self.emitter.Mul(self.name, self._of(other)))

    __radd__, __rmul__ = __add__, __mul__


def _size_function(op_type: str) -> Any:
    def apply(a: Any, b: Any) -> _Size:
        emitter = (a if isinstance(a, _Size) else b).emitter
        x, y = (v.name if isinstance(v, _Size) else emitter.ints([v]) for v in (a, b))
        if op_type in ("Div", "Mod") and isinstance(b, _Size):
            # Division by 0 kills the process; the size has no value then, and Reshape will say so.
            y = emitter.Max(y, emitter.ints([1]))
        if op_type == "Div":
            # Div truncates; sizes less a constant may be negative: floor(x / y) = (x - mod(x, y)) / y.
            x = emitter.Sub(x, emitter.Mod(x, y))
        return _Size(emitter, emitter.node(op_type, x, y))

    return apply


_SIZE_FUNCTIONS = {
    "//": _size_function("Div"),
    "%": _size_function("Mod"),
    "max": _size_function("Max"),
    "min": _size_function("Min"),
}


def solvable(dim: DimLike, symbol: str) -> bool:
    """Whether the symbol can be read off a dimension."""
    return isinstance(dim, Dim) and (dim.name == symbol or _linear(dim, symbol)[0] != 0)


def _linear(dim: Dim, symbol: str) -> tuple[int, int]:
    """(a, b) where the dim is ``a*symbol + b``; (0, 0) where it is not of that form."""
    scale = offset = 0
    for monomial, coefficient in dim.terms:
        if monomial == ():
            offset = coefficient
        elif monomial == (("sym", symbol),):
            scale = coefficient
        else:
            return 0, 0
    return scale, offset

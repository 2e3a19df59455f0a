"""Einstein summation."""

from __future__ import annotations

import string
from typing import Any

from kcompile.errors import InferError
from kcompile.ir.dims import DimLike, product
from kcompile.ir.op import Op, Value, constant
from kcompile.ir.shapes import broadcast_dim
from kcompile.ir.types import Type
from kcompile.operators.arithmetic import Multiply
from kcompile.operators.creation import Range
from kcompile.operators.linear import MatMul
from kcompile.operators.logic import Equal, Where
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import ExpandDims, Reshape, Squeeze, Transpose

Labels = tuple[str, ...]


class Einsum(Op, name="einsum"):
    """Sums of products over labelled axes, with numpy's equations: repeated labels, "...", implicit results.

    ONNX: MatMul where two operands share a summed label, Multiply where not; Transpose, Reshape and ReduceSum around.
    """

    equation: str

    def infer(self, *xs: Type) -> Type:
        for x in xs:
            self.require(x.dtype is xs[0].dtype, f"operands must have one dtype, got {xs[0]} and {x}")
            self.require(not x.dtype.is_bool, f"operands must be numbers, got {x}")
        operands, result = self.labels(xs)
        sizes = self.sizes(operands, xs)
        return xs[0].with_shape(sizes[label] for label in result)

    def torch(self, t: Any, *xs: Any) -> Any:
        # torch sums integers in int64.
        return t.einsum(self.equation, *xs).to(t.dtype(t.inputs[0].dtype))

    def decompose(self, *xs: Value) -> Value:
        operands, result = self.labels([x.type for x in xs])
        parts = [_diagonal(x, labels) for x, labels in zip(xs, operands, strict=True)]
        sizes = self.sizes(operands, [x.type for x in xs])
        parts = [_without_ones(x, labels, sizes) for x, labels in parts]
        while len(parts) > 1:
            (a, first), (b, second), *rest = parts
            kept = {*result, *(label for _, labels in rest for label in labels)}
            parts = [_contract(*_summed(a, first, kept | {*second}), *_summed(b, second, kept | {*first}), kept), *rest]
        x, labels = _summed(*parts[0], set(result))
        return _arrange(x, labels, result)

    def labels(self, xs: Any) -> tuple[list[Labels], Labels]:
        """One label an axis, for each operand and for the result; axes under "..." are 0, 1, ... from the right."""
        text = self.equation.replace(" ", "")
        left, arrow, right = text.partition("->")
        terms = left.split(",")
        self.require(len(terms) == len(xs), f"{self.equation!r} has {len(terms)} operands, got {len(xs)}")
        for term in (*terms, right):
            letters = term.replace("...", "", 1)
            self.require(
                all(c in string.ascii_letters for c in letters), f"{self.equation!r} has a character that is no label"
            )
        operands = [self._spread(term, x.rank) for term, x in zip(terms, xs, strict=True)]
        hidden = sorted({label for labels in operands for label in labels if label.isdigit()}, key=int, reverse=True)
        if not arrow:
            once = sorted({c for c in left if c in string.ascii_letters and left.count(c) == 1})
            return operands, (*hidden, *once)
        before, dots, after = right.partition("...")
        result = (*before, *(hidden if dots else ()), *after)
        known = {label for labels in operands for label in labels}
        self.require(len(set(result)) == len(result), f"a label of the result repeats in {self.equation!r}")
        self.require(set(result) <= known, f"{self.equation!r} has a result label that no operand has")
        return operands, result

    def _spread(self, term: str, rank: int) -> Labels:
        before, dots, after = term.partition("...")
        hidden = rank - len(before) - len(after)
        fits = hidden >= 0 if dots else hidden == 0
        self.require(fits, f"{term!r} of {self.equation!r} does not fit an operand of rank {rank}")
        return (*before, *(str(i) for i in reversed(range(hidden))), *after)

    def sizes(self, operands: list[Labels], xs: Any) -> dict[str, DimLike]:
        """The size of each label; sizes 1 broadcast."""
        found: dict[str, DimLike] = {}
        for labels, x in zip(operands, xs, strict=True):
            for label, dim in zip(labels, x.shape, strict=True):
                try:
                    found[label] = broadcast_dim(found.get(label, 1), dim)
                except InferError as error:
                    raise InferError(f"einsum: label {label!r} of {self.equation!r}: {error}") from error
        return found


def _diagonal(x: Value, labels: Labels) -> tuple[Value, Labels]:
    """Each repeated label once: what is off the diagonal becomes 0 and is summed."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            rank, size = len(labels), x.type.shape[i]
            numbers = Range(0, size)()
            rows = ExpandDims(tuple(a for a in range(rank) if a != i))(numbers)
            columns = ExpandDims(tuple(a for a in range(rank) if a != j))(numbers)
            x = Sum((j,))(Where()(Equal()(rows, columns), x, constant(0, x.type.dtype)))
            labels = (*labels[:j], *labels[j + 1 :])
    return x, labels


def _without_ones(x: Value, labels: Labels, sizes: dict[str, DimLike]) -> tuple[Value, Labels]:
    """Without the axes of size 1 whose label has another size elsewhere: they broadcast when absent."""
    ones = [i for i, label in enumerate(labels) if x.type.shape[i] == 1 and sizes[label] != 1]
    if not ones:
        return x, labels
    return Squeeze(tuple(ones))(x), tuple(label for i, label in enumerate(labels) if i not in ones)


def _summed(x: Value, labels: Labels, kept: set[str]) -> tuple[Value, Labels]:
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    return (Sum(axes)(x) if axes else x), tuple(label for label in labels if label in kept)


def _arrange(x: Value, labels: Labels, order: Labels) -> Value:
    perm = tuple(labels.index(label) for label in order)
    return x if perm == tuple(range(len(perm))) else Transpose(perm)(x)


def _merge(x: Value, groups: list[int]) -> Value:
    """Neighbouring axes merged: the result has one axis for each group of that many."""
    shape, start = [], 0
    for count in groups:
        shape.append(product(x.type.shape[start : start + count]))
        start += count
    return x if tuple(shape) == x.type.shape else Reshape(tuple(shape))(x)


def _contract(a: Value, first: Labels, b: Value, second: Labels, kept: set[str]) -> tuple[Value, Labels]:
    """The product of two operands, summed over the labels that both have and nothing needs later."""
    inner = tuple(label for label in first if label in second and label not in kept)
    batch = tuple(label for label in first if label in second and label in kept)
    rows = tuple(label for label in first if label not in second)
    columns = tuple(label for label in second if label not in first)
    if not inner:
        return _multiply(a, first, b, second, (*batch, *rows, *columns))
    left = _arrange(a, first, (*batch, *rows, *inner))
    right = _arrange(b, second, (*batch, *inner, *columns))
    row_sizes, column_sizes = _sizes(a, first, rows), _sizes(b, second, columns)
    batch_sizes = _sizes(a, first, batch)
    # Without batch axes the rows may stay apart: MatMul takes them as leading axes.
    apart = not batch and len(rows) > 1
    left = _merge(left, [1] * len(batch) + ([1] * len(rows) if apart else [len(rows)]) + [len(inner)])
    right = _merge(right, [1] * len(batch) + [len(inner), len(columns)])
    result = MatMul()(left, right)
    wanted = (*batch_sizes, *row_sizes, *column_sizes)
    return (result if result.type.shape == wanted else Reshape(wanted)(result)), (*batch, *rows, *columns)


def _multiply(a: Value, first: Labels, b: Value, second: Labels, order: Labels) -> tuple[Value, Labels]:
    spread = []
    for x, labels in ((a, first), (b, second)):
        own = tuple(label for label in order if label in labels)
        missing = tuple(i for i, label in enumerate(order) if label not in labels)
        x = _arrange(x, labels, own)
        spread.append(ExpandDims(missing)(x) if missing else x)
    return Multiply()(*spread), order


def _sizes(x: Value, labels: Labels, wanted: Labels) -> tuple[DimLike, ...]:
    return tuple(x.type.shape[labels.index(label)] for label in wanted)

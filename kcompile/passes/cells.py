"""One step of a recurrent layer, written out in arithmetic: which layer's it is, and with which weights.

A gate is an activation of sums of products; the products may be one or several, in any order, cut
into gates before or after the sum, with biases anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kcompile.ir import Constant, Op, Value, constant
from kcompile.ir.shapes import normal_axis
from kcompile.operators import activation
from kcompile.operators.arithmetic import Add, Multiply, Negative, Subtract
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import Cast, LogicalNot, Where
from kcompile.operators.math import Tanh
from kcompile.operators.shape import Concat, Reshape, Slice, Split, Transpose

ACTIVATIONS: dict[type, str] = {
    Tanh: "tanh",
    activation.Sigmoid: "sigmoid",
    activation.HardSigmoid: "hard_sigmoid",
    activation.Relu: "relu",
    activation.Softsign: "softsign",
}


@dataclass
class Linear:
    """A sum: products as (operand, kernel), vectors, and what is neither."""

    products: list[tuple[Value, Value]] = field(default_factory=list)
    biases: list[Value] = field(default_factory=list)
    rest: list[Value] = field(default_factory=list)

    def kernel(self, operand: Value) -> Value | None:
        """The kernel of the one product of ``operand``."""
        found = [k for v, k in self.products if v is operand]
        return found[0] if len(found) == 1 else None


@dataclass
class Cell:
    """A step's layer: its gates in Keras's order, and the activations' names.

    ``inner`` is the sum that a GRU's reset gate multiplies, where it comes after the product.
    """

    kind: str
    gates: list[Linear]
    activation: str
    recurrent_activation: str = ""
    inner: Linear | None = None
    reset: Value | None = None


def columns(value: Value, start: int, stop: int) -> Value:
    """Some of the last axis."""
    rank = value.type.rank
    if (start, stop) == (0, value.type.shape[-1]):
        return value
    begin, end = (0,) * (rank - 1), (None,) * (rank - 1)
    return Slice((*begin, start), (*end, stop), (1,) * rank)(value)


def linear(value: Value) -> Linear:
    """``value`` as a sum of products."""
    found = Linear()
    width = value.type.shape[-1] if value.type.rank else 1
    if isinstance(width, int):
        _collect(found, value, 0, width)
    else:
        found.rest.append(value)
    return found


def _collect(found: Linear, value: Value, start: int, stop: int) -> None:
    """Add columns of ``value`` to a sum."""
    op, read = value.op, value.inputs
    width = value.type.shape[-1]
    if isinstance(op, Add) and all(v.type.rank and v.type.shape[-1] == width for v in read):  # type: ignore[union-attr]
        for part in read:
            _collect(found, part, start, stop)  # type: ignore[arg-type]
        return
    if isinstance(op, (Dense, MatMul)) and read[1].type.rank == 2:  # type: ignore[union-attr]
        x, kernel, *bias = read
        found.products += _by_operand(x, columns(kernel, start, stop))  # type: ignore[arg-type]
        found.biases += [columns(b, start, stop) for b in bias if b is not None]
        return
    source = cut(value)
    if source is not None:
        _collect(found, source[0], source[1] + start, source[1] + stop)
    elif value.type.rank == 1 or all(d == 1 for d in value.type.shape[:-1]):
        flat = value if value.type.rank == 1 else Reshape((width,))(value)
        found.biases.append(columns(flat, start, stop))
    elif isinstance(op, (Transpose, Reshape)) and _collect_moved(found, value, start, stop):
        return
    else:
        found.rest.append(columns(value, start, stop))


def _by_operand(x: Value, kernel: Value) -> list[tuple[Value, Value]]:
    """The product, or one for each of the parts that ``x`` joins."""
    if not isinstance(x.op, Concat) or normal_axis(x.op.axis, x.type.rank) != x.type.rank - 1:
        return [(x, kernel)]
    sizes = [v.type.shape[-1] for v in x.inputs]  # type: ignore[union-attr]
    rows = Split(tuple(sizes), 0)(kernel)
    return [pair for part, own in zip(x.inputs, rows, strict=True) for pair in _by_operand(part, own)]  # type: ignore[arg-type]


def cut(value: Value) -> tuple[Value, int] | None:
    """(the tensor whose last axis ``value`` is a part of, where it begins)."""
    op, rank = value.op, value.type.rank
    if isinstance(op, Split) and normal_axis(op.axis, rank) == rank - 1 and all(isinstance(s, int) for s in op.sizes):
        return value.inputs[0], sum(op.sizes[: value.index])  # type: ignore[return-value, arg-type]
    if isinstance(op, Slice) and op.steps[-1] == 1 and isinstance(op.starts[-1], int):
        source: Value = value.inputs[0]  # type: ignore[assignment]
        width = source.type.shape[-1]
        if source.type.shape[:-1] == value.type.shape[:-1] and set(op.steps) == {1} and isinstance(width, int):
            return source, op.starts[-1] % width if op.starts[-1] < 0 else op.starts[-1]
    return None


def _collect_moved(found: Linear, value: Value, start: int, stop: int) -> bool:
    """The same where rows are moved about after the product: move the operand's."""
    below: Value = value.inputs[0]  # type: ignore[assignment]
    if below.type.shape[-1:] != value.type.shape[-1:] or (
        isinstance(value.op, Transpose) and value.op.perm[-1] != value.type.rank - 1
    ):
        return False
    inner = Linear()
    _collect(inner, below, start, stop)
    if inner.rest or any(v.type.rank != below.type.rank for v, _ in inner.products):
        return False
    for x, kernel in inner.products:
        moved = value.op if isinstance(value.op, Transpose) else Reshape((*value.type.shape[:-1], x.type.shape[-1]))
        found.products.append((moved(x), kernel))
    found.biases += inner.biases
    return True


# ---- steps


def factors(value: Value) -> Iterator[tuple[Value, Value]]:
    """The two operands of a product, either first."""
    return _operands(value, Multiply)


def terms(value: Value) -> Iterator[tuple[Value, Value]]:
    """The two operands of a sum, either first."""
    return _operands(value, Add)


def _operands(value: Value, kind: type[Op]) -> Iterator[tuple[Value, Value]]:
    if isinstance(value.op, kind):
        a, b = value.inputs
        assert a is not None and b is not None
        yield a, b
        yield b, a


def _activated(value: Value) -> str:
    return ACTIVATIONS.get(type(value.op), "")


def _sum(value: Value) -> Linear:
    return linear(value.inputs[0])  # type: ignore[arg-type]


def lstm(h_after: Value, c_after: Value, c: Value) -> Cell | None:
    """h' = o * tanh(c'), c' = f * c + i * g."""
    for out, squashed in factors(h_after):
        outer = _activated(squashed)
        if not outer or squashed.inputs[0] is not c_after:
            continue
        for kept, added in terms(c_after):
            forget = next((a for a, b in factors(kept) if b is c), None)
            gate = "" if forget is None else _activated(forget)
            pair = next(((a, b) for a, b in factors(added) if (_activated(a), _activated(b)) == (gate, outer)), None)
            if gate and pair is not None and _activated(out) == gate:
                return Cell("lstm", [_sum(v) for v in (pair[0], forget, pair[1], out)], outer, gate)  # type: ignore[arg-type]
    return None


def gru(after: Value, h: Value) -> Cell | None:
    """h' = z * h + (1 - z) * n, in any of the forms that it is written in."""
    found = _blend(after, h)
    if found is None:
        return None
    update, turned, candidate = found
    outer, gate = _activated(candidate), _activated(update)
    if not outer or not gate or (turned and gate != "sigmoid"):
        return None
    update_sum = _sum(update)
    if turned:
        # 1 - sigmoid(a) is sigmoid(-a).
        update_sum = Linear(
            [(v, Negative()(k)) for v, k in update_sum.products],
            [Negative()(b) for b in update_sum.biases],
            [Negative()(r) for r in update_sum.rest],
        )
    new = _sum(candidate)
    return _reset_after(update_sum, new, outer, gate) or _reset_before(update_sum, new, h, outer, gate)


def _reset_after(update: Linear, new: Linear, outer: str, gate: str) -> Cell | None:
    """n = tanh(x + r * (h U + b))."""
    for i, part in enumerate(new.rest):
        for reset, inner in factors(part):
            if _activated(reset) == gate:
                rest = Linear(new.products, new.biases, [*new.rest[:i], *new.rest[i + 1 :]])
                return Cell("gru", [update, _sum(reset), rest], outer, gate, inner=linear(inner))
    return None


def _reset_before(update: Linear, new: Linear, h: Value, outer: str, gate: str) -> Cell | None:
    """n = tanh(x + (r * h) U)."""
    for i, (operand, kernel) in enumerate(new.products):
        reset = next((a for a, b in factors(operand) if b is h and _activated(a) == gate), None)
        if reset is not None:
            products = [*new.products[:i], (h, kernel), *new.products[i + 1 :]]
            return Cell("gru", [update, _sum(reset), Linear(products, new.biases, new.rest)], outer, gate)
    return None


def _blend(after: Value, h: Value) -> tuple[Value, bool, Value] | None:
    """(the gate, whether it is 1 where the state is new, the new state) of a state between old and new."""
    for kept, added in terms(after):
        for z, old in factors(kept):
            if old is h:
                for other, new in factors(added):
                    if _complement(other) is z:
                        return z, False, new
                    if _complement(z) is other:
                        return other, True, new
        # n + z * (h - n), h + z * (n - h)
        for z, difference in factors(added):
            if isinstance(difference.op, Subtract):
                first, second = difference.inputs
                if first is h and second is kept:
                    return z, False, kept
                if kept is h and second is h and first is not None:
                    return z, True, first
    return None


def _complement(value: Value) -> Value | None:
    """v of 1 - v."""
    read = value.inputs
    if isinstance(value.op, Subtract) and is_number(read[0], 1):
        return read[1]
    for one, other in terms(value):
        if is_number(one, 1) and isinstance(other.op, Negative):
            return other.inputs[0]
    return None


def is_number(value: Value | None, number: float) -> bool:
    """Whether a value is a constant of this number everywhere."""
    return value is not None and isinstance(value.op, Constant) and bool((value.op.value.data == number).all())


def simple(after: Value) -> Cell | None:
    """h' = tanh(x W + h U + b)."""
    return Cell("simple_rnn", [_sum(after)], _activated(after)) if _activated(after) else None


def chosen(value: Value) -> tuple[Value, Value, Value] | None:
    """(condition, x, y) of a value that is x where the condition is true and y elsewhere.

    Also as numbers: mask * x + (1 - mask) * y, which is the same where x and y are finite.
    """
    if isinstance(value.op, Where):
        condition, x, y = value.inputs
        assert condition is not None and x is not None and y is not None
        if isinstance(condition.op, LogicalNot):
            return condition.inputs[0], y, x  # type: ignore[return-value]
        return condition, x, y
    for first, second in terms(value):
        for mask, x in factors(first):
            for unmask, y in factors(second):
                condition = _opposites(mask, unmask)
                if condition is not None:
                    return condition, x, y
    return None


def _opposites(mask: Value, unmask: Value) -> Value | None:
    """The condition c of numbers c and 1 - c."""
    if not isinstance(mask.op, Cast) or not mask.inputs[0].type.dtype.is_bool:  # type: ignore[union-attr]
        return None
    condition: Value = mask.inputs[0]  # type: ignore[assignment]
    if isinstance(condition.op, LogicalNot):
        return None  # found the other way about
    if _complement(unmask) is mask:
        return condition
    if isinstance(unmask.op, Cast):
        opposite = unmask.inputs[0]
        if isinstance(opposite.op, LogicalNot) and opposite.inputs[0] is condition:  # type: ignore[union-attr]
            return condition
    return None


def together(parts: Sequence[Value | None], units: int, like: Value) -> Value | None:
    """Gates' parts side by side, zeros where one has none; None where none has any."""
    if all(p is None for p in parts):
        return None
    kind = like.type.dtype
    rows = [constant([0.0] * units, kind) if p is None else p for p in parts]
    return Concat(-1)(*rows) if len(rows) > 1 else rows[0]


def total(values: Sequence[Value]) -> Value | None:
    """The sum of vectors; None where there are none."""
    result = None
    for value in values:
        result = value if result is None else Add()(result, value)
    return result

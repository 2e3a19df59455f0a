"""LSTM, GRU and RNN, of one direction or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import Value
from kcompile.onnx.reader.reading import Call, reads, require
from kcompile.operators import recurrent
from kcompile.operators.arithmetic import Add
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.creation import Fill
from kcompile.operators.shape import Concat, Expand, ExpandDims, Reshape, Slice, Split, Squeeze, Transpose

_PLAIN = {"tanh", "sigmoid", "relu"}  # activations that mean the same everywhere
_COPYING = (Expand, ExpandDims, Reshape, Squeeze, Slice, Transpose)


def _read(c: Call, op: type[Any], order: Sequence[int], defaults: Sequence[str], **fields: Any) -> Any:
    """(sequence, *states) of the IR's operator, as ONNX gives them."""
    _supported(c)
    states = range(5, 7 if c.op_type == "LSTM" else 6)
    both = c.attr("direction", "forward") == "bidirectional"
    names = [str(n).lower() for n in c.attr("activations", [*defaults] * (2 if both else 1))]
    fits = names[: len(defaults)] * (2 if both else 1) == names and set(names) <= _PLAIN
    require(fits, f"activations {names}")
    fields |= _activations(op, names[: len(defaults)])
    begun = [None if _is_zero(c, i) else c[i] for i in states]
    weights = [_weights(c, order, fields, side) for side in range(1 + both)]
    units = weights[0][1].type.shape[0]
    require(c.attr("hidden_size", units) == units, "hidden_size is not that of the weights")
    if both:
        require(not any(begun), "initial states of two directions")
        made = Bidirectional(op.name, **fields, time_major=True)
        return made(c[0], *weights[0], *weights[1], None)
    made = op(**fields, reverse=c.attr("direction", "forward") == "reverse", time_major=True, aligned=True)
    first = [None if v is None else Squeeze((0,))(v) for v in begun]
    sequence, *finals = made(c[0], *weights[0], *first, None)
    return ExpandDims((1,))(sequence), *(ExpandDims((0,))(f) for f in finals)


def _supported(c: Call) -> None:
    require(all(name not in c.attributes for name in ("clip", "activation_alpha", "activation_beta")), "clipping")
    c.plain(layout=0, input_forget=0)
    require(c.version >= 7 and c.get(4) is None and c.get(7) is None, "lengths, or peepholes")
    require(all(c.get(i) is None or c.content(i) is not None for i in (1, 2, 3)), "weights that are computed")


def _is_zero(c: Call, i: int) -> bool:
    """Whether an initial state is absent, or zeros."""
    return _all_zero(c, c.get(i))


def _all_zero(c: Call, value: Value | None) -> bool:
    while value is not None and isinstance(value.op, _COPYING):
        value = value.inputs[0]
    if value is None:
        return True
    if isinstance(value.op, Fill):
        return value.op.value == 0
    if isinstance(value.op, Concat):
        return all(_all_zero(c, part) for part in value.inputs)
    known = c.known(value)
    return known is not None and not known.any()


def _activations(op: type[Any], names: list[str]) -> dict[str, str]:
    if op is recurrent.SimpleRnn:
        return {"activation": names[0]}
    require(names[-1] == names[1], "different activations of cell and output")
    return {"recurrent_activation": names[0], "activation": names[1]}


def _weights(c: Call, order: Sequence[int], fields: dict[str, Any], side: int) -> list[Any]:
    """Kernel, recurrent kernel and bias of one direction, as the IR has them."""
    kernels = [Transpose((1, 0))(_gates(_side(c[i], side), order)) for i in (1, 2)]
    return [*kernels, None if c.get(3) is None else _bias(_side(c[3], side), order, fields)]


def _side(w: Value, side: int) -> Value:
    """The weights of one direction: the first axis is that of directions."""
    rest = w.type.rank - 1
    if w.type.shape[0] != 1:
        w = Slice((side, *[0] * rest), (side + 1, *[None] * rest), (1,) * (rest + 1))(w)
    return Squeeze((0,))(w)


def _gates(w: Value, order: Sequence[int]) -> Value:
    """The parts of the first axis in another order."""
    count = len(order)
    if list(order) == list(range(count)):
        return w
    size = w.type.shape[0] // count
    parts = Split((size,) * count, 0)(w)
    return Concat(0)(*(parts[i] for i in order))


def _bias(whole: Value, order: Sequence[int], fields: dict[str, Any]) -> Value:
    """The two biases: added, or kept apart where the reset gate comes after the product."""
    half = whole.type.shape[0] // 2
    own, inner = (_gates(part, order) for part in Split((half, half), 0)(whole))
    if not fields.get("reset_after"):
        return Add()(own, inner)
    return Reshape((2, half))(Concat(0)(own, inner))


@reads("LSTM")
def lstm(c: Call) -> Any:
    return _read(c, recurrent.Lstm, (0, 2, 3, 1), ("sigmoid", "tanh", "tanh"))


@reads("GRU")
def gru(c: Call) -> Any:
    after = bool(c.attr("linear_before_reset", 0))
    return _read(c, recurrent.Gru, (0, 1, 2), ("sigmoid", "tanh"), reset_after=after)


@reads("RNN")
def rnn(c: Call) -> Any:
    return _read(c, recurrent.SimpleRnn, (0,), ("tanh",))

"""LSTM, GRU and RNN of one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import Value
from kcompile.onnx.reader.reading import Call, reads, require
from kcompile.operators import recurrent
from kcompile.operators.arithmetic import Add
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Split, Squeeze, Transpose

_PLAIN = {"tanh", "sigmoid", "relu"}  # activations that mean the same everywhere


def _gates(w: Value, order: Sequence[int]) -> Value:
    """The parts of the first axis in another order."""
    count = len(order)
    if list(order) == list(range(count)):
        return w
    size = w.type.shape[0] // count
    parts = Split((size,) * count, 0)(w)
    return Concat(0)(*(parts[i] for i in order))


def _read(c: Call, op: type[Any], order: Sequence[int], defaults: Sequence[str], **fields: Any) -> Any:
    """(sequence, *states) of the IR's operator, as ONNX gives them."""
    states = 2 if c.op_type == "LSTM" else 1
    direction = c.attr("direction", "forward")
    require(direction in ("forward", "reverse"), "two directions in one node")
    require(all(name not in c.attributes for name in ("clip", "activation_alpha", "activation_beta")), "clipping")
    c.plain(layout=0, input_forget=0)
    require(c.version >= 7 and c.get(4) is None and c.get(7) is None, "lengths, or peepholes")
    require(all(c.get(i) is None or c.content(i) is not None for i in (1, 2, 3)), "weights that are computed")
    names = [str(n).lower() for n in c.attr("activations", defaults)]
    require(len(names) == len(defaults) and set(names) <= _PLAIN, f"activations {names}")
    weights = [Transpose((1, 0))(_gates(Squeeze((0,))(c[i]), order)) for i in (1, 2)]
    units = weights[1].type.shape[0]
    require(c.attr("hidden_size", units) == units, "hidden_size is not that of the weights")
    begun = [None if c.get(5 + i) is None else Squeeze((0,))(c[5 + i]) for i in range(states)]
    made = op(**fields, **_activations(op, names), reverse=direction == "reverse", time_major=True, aligned=True)
    sequence, *finals = made(c[0], *weights, _bias(c, order, fields), *begun, None)
    return ExpandDims((1,))(sequence), *(ExpandDims((0,))(f) for f in finals)


def _activations(op: type[Any], names: list[str]) -> dict[str, str]:
    if op is recurrent.SimpleRnn:
        return {"activation": names[0]}
    require(names[-1] == names[1], "different activations of cell and output")
    return {"recurrent_activation": names[0], "activation": names[1]}


def _bias(c: Call, order: Sequence[int], fields: dict[str, Any]) -> Value | None:
    """The two biases: added, or kept apart where the reset gate comes after the product."""
    if c.get(3) is None:
        return None
    whole = Squeeze((0,))(c[3])
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

"""A recurrent layer that runs from both ends at once: one ONNX node for both directions."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type, Value
from kcompile.operators.packing import onnx_unpack
from kcompile.operators.recurrence import Recurrent, onnx_lengths, onnx_total
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from kcompile.operators.shape import Concat, ExpandDims, Transpose

_LAYERS: dict[str, type[Recurrent]] = {"lstm": Lstm, "gru": Gru, "simple_rnn": SimpleRnn}


class Bidirectional(Op, name="bidirectional"):
    """x [T, N, F], kernel, recurrent_kernel and bias of the layer forwards, those of the layer backwards, mask [N, T].

    x is [N, T, F] unless ``time_major``, which is what a mask wants. Gives the sequence [T, 2, N, U] (the outputs of both directions at each step, zeros at masked
    ones) and the final states [2, N, U]. ``layer`` is lstm, gru or simple_rnn, whose weights and
    fields these are (Schuster and Paliwal, 1997). ONNX LSTM, GRU or RNN with direction=bidirectional.
    """

    layer: str
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True
    time_major: bool = True
    front: bool = False

    def one(self, reverse: bool) -> Recurrent:
        """The operator of one direction."""
        cls = _LAYERS[self.layer]
        fields = {k: v for k, v in self.attributes().items() if k in cls.fields}
        return cls(**fields, reverse=reverse, aligned=True, zero_masked=True)

    def _operands(self, operands: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """The operands of each direction behind x."""
        mask = operands[6] if len(operands) > 6 else None
        states = [None] * (2 if self.layer == "lstm" else 1)
        return [*operands[:3], *states, mask], [*operands[3:6], *states, mask]

    def infer(self, x: Type, *operands: Type | None) -> tuple[Type, ...]:
        self.require(self.layer in _LAYERS, f"the layer {self.layer!r} is not one of {', '.join(_LAYERS)}")
        self.require(len(operands) in (6, 7), f"takes x, 6 weights and a mask, got {1 + len(operands)} operands")
        ahead, back = self._operands(operands)
        types = self.one(reverse=False).infer(x, *ahead)
        self.require(types == self.one(reverse=True).infer(x, *back), "both directions must have the same units")
        self.require((ahead[2] is None) == (back[2] is None), "both directions must have a bias, or neither")
        time, batch = x.shape[:2] if self.time_major else x.shape[1::-1]
        units = types[0].shape[2]
        return x.with_shape((time, 2, batch, units)), *(x.with_shape((2, *t.shape)) for t in types[1:])

    def decompose(self, x: Value, *operands: Value | None) -> tuple[Value, ...]:
        ahead, back = self._operands(operands)
        pairs = list(zip(self.one(reverse=False)(x, *ahead), self.one(reverse=True)(x, *back), strict=True))
        both = pairs[0] if self.time_major else [Transpose((1, 0, 2))(s) for s in pairs[0]]
        sequence = Concat(1)(*(ExpandDims((1,))(s) for s in both))
        return sequence, *(Concat(0)(*(ExpandDims((0,))(s) for s in pair)) for pair in pairs[1:])

    def onnx(self, o: Any, x: str, *operands: str | None) -> Any:
        one, types = self.one(reverse=False), o.inputs
        mask = operands[6] if len(operands) > 6 else None
        attributes = one.onnx_attributes()
        for key in ("activations", "activation_alpha", "activation_beta"):
            if attributes.get(key):
                attributes[key] = attributes[key] * 2
        lengths = None
        if mask is None or self.front:
            x = x if self.time_major else o.Transpose(x, perm=[1, 0, 2])
        else:
            x, mask = one.onnx_front(o, x, mask)
        if mask is not None:
            lengths = onnx_lengths(o, mask)
        y, *finals = o.node(
            one.onnx_name, x, *self._onnx_weights(o, one, operands), lengths, outputs=len(o.outputs),
            hidden_size=types[2].shape[0], direction="bidirectional", **attributes,
        )  # fmt: skip
        if mask is None:
            return y, *finals
        some, zero = o.Greater(onnx_total(o, mask), o.ints(0)), o.like(0, types[0].dtype)
        if not self.front:
            y = onnx_unpack(o, o.Transpose(y, perm=[2, 0, 1, 3]), mask, 4, zero_masked=True)
            y = o.Transpose(y, perm=[1, 2, 0, 3])
        return y, *(o.Where(some, f, zero) for f in finals)

    def _onnx_weights(self, o: Any, one: Recurrent, operands: tuple[str | None, ...]) -> list[str | None]:
        types, pairs = o.inputs, []
        for first in (0, 3):
            o.inputs = (types[0], *types[1 + first : 4 + first])
            pairs.append(one.onnx_weights(o, *operands[first : first + 3]))  # type: ignore[arg-type]
        o.inputs = types
        return [
            None if a is None else o.Concat(o.unsqueeze(a, [0]), o.unsqueeze(b, [0]), axis=0)
            for a, b in zip(*pairs, strict=True)
        ]

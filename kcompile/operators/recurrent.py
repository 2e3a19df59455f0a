"""Recurrent layers over a whole sequence: one LSTM, GRU or RNN node in ONNX, torch's fused kernels.

All three take x [N, T, F] ([T, N, F] where ``time_major``), kernels in Keras's layout, initial
states [N, U] or None for zeros, and a mask bool [N, T] or None; the sequence comes out as
[N, T, U] ([T, N, U]) in the order of processing: with ``reverse`` the last step is first, as
Keras's ``go_backwards`` gives it, unless ``aligned``, with which output t belongs to step t. A
step whose mask is False keeps the state, and repeats the output before it (zeros where there is
none yet, or always with ``zero_masked``).

Masks with holes are exact and need no loop: the steps that count are moved to the front, in their
order, the operator runs over them, and each step then reads the output of the last one that
counted up to it. With ``front`` the steps that count stand in front already, and only their number
matters of the mask: the outputs are those of the steps (`aligned`), zeros behind.
"""

from __future__ import annotations

from typing import Any

from kcompile.ir import Type
from kcompile.operators.recurrence import Recurrent, Weights, torch_activation, zero_bias


class Lstm(Recurrent, name="lstm"):
    """x, kernel [F, 4U], recurrent_kernel [U, 4U], bias [4U], h0, c0, mask; gives (sequence, h, c); ONNX LSTM.

    Gates stand in Keras's order: input, forget, cell, output (Hochreiter and Schmidhuber, 1997).
    """

    gates = 4
    onnx_name = "LSTM"
    defaults = ("sigmoid", "tanh", "tanh")

    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reverse: bool = False
    zero_masked: bool = False
    time_major: bool = False
    aligned: bool = False
    front: bool = False

    def infer(
        self,
        x: Type,
        kernel: Type,
        recurrent_kernel: Type,
        bias: Type | None = None,
        h0: Type | None = None,
        c0: Type | None = None,
        mask: Type | None = None,
    ) -> tuple[Type, Type, Type]:
        sequence, state = self._check(x, kernel, recurrent_kernel, (h0, c0), mask)
        if bias is not None:
            self._shape("bias", bias, x.dtype, (kernel.shape[1],))
        return sequence, state, state

    def functions(self) -> tuple[str, ...]:
        return self.recurrent_activation, self.activation, self.activation

    def fused(self) -> bool:
        return (self.activation, self.recurrent_activation) == ("tanh", "sigmoid")

    def torch(
        self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any = None, h0: Any = None, c0: Any = None,
        mask: Any = None,
    ) -> Any:  # fmt: skip
        return self._torch(t, x, kernel, recurrent, bias, [h0, c0], mask)

    def _torch_sequence(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any]) -> Any:
        weights = [kernel.t(), recurrent.t()] + ([] if bias is None else [bias, t.zeros_like(bias)])
        begun = [s[None] for s in states]
        result = t.lstm(x, begun, weights, bias is not None, 1, 0.0, False, False, not self.time_major)
        return result[0], result[1][0], result[2][0]

    def _torch_front(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any], mask: Any) -> Any:
        # The cell state of the last step that counts must come through the rest: one more feature,
        # 1 at the rest, saturates the input gate to exactly 0 and the forget gate to exactly 1.
        far = 3e4
        units = t.inputs[2].shape[0]
        row = t.cat(
            [kernel.new_full((1, units), -far), kernel.new_full((1, units), far), kernel.new_zeros((1, 2 * units))], 1
        )
        x = t.cat([x, t.logical_not(mask)[:, :, None].to(x.dtype)], 2)
        return super()._torch_front(t, x, t.cat([kernel, row], 0), recurrent, bias, states, mask)

    def _torch_step(self, t: Any, projected: Any, recurrent: Any, bias: Any, states: list[Any]) -> list[Any]:
        h, c = states
        z = projected + t.matmul(h, recurrent)
        i, f, g, out = t.chunk(z if bias is None else z + bias, 4, 1)
        gate, cell = self.recurrent_activation, self.activation
        c = torch_activation(t, gate, f) * c + torch_activation(t, gate, i) * torch_activation(t, cell, g)
        return [torch_activation(t, gate, out) * torch_activation(t, cell, c), c]

    def onnx(
        self, o: Any, x: str, kernel: str, recurrent: str, bias: str | None = None, h0: str | None = None,
        c0: str | None = None, mask: str | None = None,
    ) -> Any:  # fmt: skip
        return self._onnx(o, x, self.onnx_weights(o, kernel, recurrent, bias), [h0, c0], mask)

    def onnx_weights(self, o: Any, kernel: str, recurrent: str, bias: str | None) -> Weights:
        def reordered(w: str) -> str:
            i, f, c, out = o.Split(w, o.ints([o.inputs[2].shape[0]] * 4), axis=0, outputs=4)
            return o.Concat(i, out, f, c, axis=0)

        w, r = (reordered(o.Transpose(m, perm=[1, 0])) for m in (kernel, recurrent))
        return w, r, None if bias is None else o.Concat(reordered(bias), zero_bias(o, 4), axis=0)


class Gru(Recurrent, name="gru"):
    """x, kernel [F, 3U], recurrent_kernel [U, 3U], bias, h0, mask; gives (sequence, h); ONNX GRU.

    Gates stand in Keras's order: update, reset, candidate (Cho et al., 2014). The bias is [3U], or
    with ``reset_after`` also [2, 3U]: the input's and the recurrent one.
    """

    gates = 3
    onnx_name = "GRU"
    defaults = ("sigmoid", "tanh")

    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True
    reverse: bool = False
    zero_masked: bool = False
    time_major: bool = False
    aligned: bool = False
    front: bool = False

    def infer(
        self,
        x: Type,
        kernel: Type,
        recurrent_kernel: Type,
        bias: Type | None = None,
        h0: Type | None = None,
        mask: Type | None = None,
    ) -> tuple[Type, Type]:
        if bias is not None:
            two = (2,) if bias.rank == 2 and self.reset_after else ()
            self._shape("bias", bias, x.dtype, (*two, kernel.shape[1]))
        return self._check(x, kernel, recurrent_kernel, (h0,), mask)

    def functions(self) -> tuple[str, ...]:
        return self.recurrent_activation, self.activation

    def fused(self) -> bool:
        return (self.activation, self.recurrent_activation, self.reset_after) == ("tanh", "sigmoid", True)

    def torch(
        self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any = None, h0: Any = None, mask: Any = None
    ) -> Any:
        return self._torch(t, x, kernel, recurrent, self._biases(t, bias), [h0], mask)

    def _biases(self, t: Any, bias: Any) -> Any:
        """[2, 3U]: the input's and the recurrent bias."""
        return bias if bias is None or t.inputs[3].rank == 2 else t.stack([bias, t.zeros_like(bias)])

    def _torch_sequence(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any]) -> Any:
        units = t.inputs[2].shape[0]

        def reordered(w: Any) -> Any:  # torch has the reset gate first
            return t.cat([w[units : 2 * units], w[:units], w[2 * units :]])

        weights = [reordered(kernel.t()), reordered(recurrent.t())]
        weights += [] if bias is None else [reordered(bias[0]), reordered(bias[1])]
        result = t.gru(x, states[0][None], weights, bias is not None, 1, 0.0, False, False, not self.time_major)
        return result[0], result[1][0]

    def _torch_step(self, t: Any, projected: Any, recurrent: Any, bias: Any, states: list[Any]) -> list[Any]:
        h, gate, units = states[0], self.recurrent_activation, states[0].shape[1]
        z, r, n = t.chunk(projected if bias is None else projected + bias[0], 3, 1)
        if self.reset_after:
            inner = t.matmul(h, recurrent)
            hz, hr, hn = t.chunk(inner if bias is None else inner + bias[1], 3, 1)
            r = torch_activation(t, gate, r + hr)
            n = torch_activation(t, self.activation, n + r * hn)
        else:
            hz, hr = t.chunk(t.matmul(h, recurrent[:, : 2 * units]), 2, 1)
            r = torch_activation(t, gate, r + hr)
            n = torch_activation(t, self.activation, n + t.matmul(r * h, recurrent[:, 2 * units :]))
        z = torch_activation(t, gate, z + hz)
        return [z * h + (1 - z) * n]

    def onnx(
        self, o: Any, x: str, kernel: str, recurrent: str, bias: str | None = None, h0: str | None = None,
        mask: str | None = None,
    ) -> Any:  # fmt: skip
        return self._onnx(o, x, self.onnx_weights(o, kernel, recurrent, bias), [h0], mask)

    def onnx_weights(self, o: Any, kernel: str, recurrent: str, bias: str | None) -> Weights:
        if bias is not None:
            two = o.inputs[3].rank == 2
            bias = o.Reshape(bias, o.ints([-1])) if two else o.Concat(bias, zero_bias(o, 3), axis=0)
        return o.Transpose(kernel, perm=[1, 0]), o.Transpose(recurrent, perm=[1, 0]), bias

    def onnx_attributes(self) -> dict[str, Any]:
        return {**super().onnx_attributes(), "linear_before_reset": 1 if self.reset_after else None}


class SimpleRnn(Recurrent, name="simple_rnn"):
    """x, kernel [F, U], recurrent_kernel [U, U], bias [U], h0, mask; gives (sequence, h); ONNX RNN.

    h = activation(x kernel + h recurrent_kernel + bias) (Elman, 1990).
    """

    gates = 1
    onnx_name = "RNN"
    defaults = ("tanh",)

    activation: str = "tanh"
    reverse: bool = False
    zero_masked: bool = False
    time_major: bool = False
    aligned: bool = False
    front: bool = False

    def infer(
        self,
        x: Type,
        kernel: Type,
        recurrent_kernel: Type,
        bias: Type | None = None,
        h0: Type | None = None,
        mask: Type | None = None,
    ) -> tuple[Type, Type]:
        if bias is not None:
            self._shape("bias", bias, x.dtype, (kernel.shape[1],))
        return self._check(x, kernel, recurrent_kernel, (h0,), mask)

    def functions(self) -> tuple[str, ...]:
        return (self.activation,)

    def fused(self) -> bool:
        return self.activation in ("tanh", "relu")

    def torch(
        self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any = None, h0: Any = None, mask: Any = None
    ) -> Any:
        return self._torch(t, x, kernel, recurrent, bias, [h0], mask)

    def _torch_sequence(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any]) -> Any:
        weights = [kernel.t(), recurrent.t()] + ([] if bias is None else [bias, t.zeros_like(bias)])
        run = t.rnn_tanh if self.activation == "tanh" else t.rnn_relu
        result = run(x, states[0][None], weights, bias is not None, 1, 0.0, False, False, not self.time_major)
        return result[0], result[1][0]

    def _torch_step(self, t: Any, projected: Any, recurrent: Any, bias: Any, states: list[Any]) -> list[Any]:
        z = projected + t.matmul(states[0], recurrent)
        return [torch_activation(t, self.activation, z if bias is None else z + bias)]

    def onnx(
        self, o: Any, x: str, kernel: str, recurrent: str, bias: str | None = None, h0: str | None = None,
        mask: str | None = None,
    ) -> Any:  # fmt: skip
        return self._onnx(o, x, self.onnx_weights(o, kernel, recurrent, bias), [h0], mask)

    def onnx_weights(self, o: Any, kernel: str, recurrent: str, bias: str | None) -> Weights:
        b = None if bias is None else o.Concat(bias, zero_bias(o, 1), axis=0)
        return o.Transpose(kernel, perm=[1, 0]), o.Transpose(recurrent, perm=[1, 0]), b

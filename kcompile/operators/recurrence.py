"""What the recurrent operators share: their types, masks, and the one node that each becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcompile.ir import DType, Op, Type
from kcompile.ir.dims import DimLike
from kcompile.ir.shapes import same_dim
from kcompile.ir.types import i32, i64
from kcompile.operators.packing import onnx_pack, onnx_unpack

# Keras's name: ONNX's name, alpha, beta.
_ONNX_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "linear": ("Affine", 1.0, 0.0),
    "leaky_relu": ("LeakyRelu", 0.2, None),
    "elu": ("Elu", 1.0, None),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
}


def torch_activation(t: Any, name: str, x: Any) -> Any:
    """Keras's activation of that name."""
    functional = t.nn.functional
    functions = {
        "tanh": t.tanh,
        "sigmoid": t.sigmoid,
        "relu": t.relu,
        "hard_sigmoid": functional.hardsigmoid,
        "linear": lambda value: value,
        "leaky_relu": lambda value: functional.leaky_relu(value, 0.2),
        "elu": functional.elu,
        "softsign": functional.softsign,
        "softplus": functional.softplus,
    }
    return functions[name](x)


# W [G*U, F], R [G*U, U] and B [2*G*U] or None, as ONNX wants them less the direction axis.
Weights = tuple[str, str, "str | None"]


class Recurrent(Op):
    """What the three share."""

    gates: ClassVar[int]
    onnx_name: ClassVar[str]
    # ONNX's own activations, in the order of `functions`.
    defaults: ClassVar[tuple[str, ...]]

    if TYPE_CHECKING:  # fields of every subclass, which declares them after its activations
        activation: str
        reverse: bool
        zero_masked: bool
        time_major: bool
        aligned: bool
        front: bool

    # ---- types

    def _check(self, x: Type, kernel: Type, recurrent: Type, states: Any, mask: Type | None) -> tuple[Type, Type]:
        """The sequence's and a state's type."""
        for name in self.functions():
            self.require(
                name in _ONNX_ACTIVATIONS,
                f"the activation {name!r} is not one of {', '.join(_ONNX_ACTIVATIONS)}; "
                "use the layer's cell in an RNN layer instead",
            )
        self.require(x.dtype.is_float and x.rank == 3, f"x must be a float tensor of rank 3, got {x}")
        self.require(kernel.rank == 2 and recurrent.rank == 2, f"kernels must be matrices, got {kernel}, {recurrent}")
        units = recurrent.shape[0]
        self.require(isinstance(units, int), f"the recurrent kernel must have a fixed shape, got {recurrent}")
        time, batch = (0, 1) if self.time_major else (1, 0)
        self._shape("kernel", kernel, x.dtype, (x.shape[2], self.gates * units))
        self._shape("recurrent_kernel", recurrent, x.dtype, (units, self.gates * units))
        for state in states:
            if state is not None:
                self._shape("an initial state", state, x.dtype, (x.shape[batch], units))
        if mask is not None:
            self.require(mask.dtype.is_bool and mask.rank == 2, f"mask must be bool [batch, time], got {mask}")
            same_dim(x.shape[batch], mask.shape[0], f"{self.name}, batch of x and mask")
            same_dim(x.shape[time], mask.shape[1], f"{self.name}, length of x and mask")
        return x.with_shape((*x.shape[:2], units)), x.with_shape((x.shape[batch], units))

    def _shape(self, what: str, type: Type, dtype: DType, shape: tuple[DimLike, ...]) -> None:
        self.require(
            type.dtype is dtype and type.rank == len(shape), f"{what} must be {Type(dtype, shape)}, got {type}"
        )
        for a, b in zip(shape, type.shape, strict=True):
            same_dim(a, b, f"{self.name}, {what} {type}")

    def functions(self) -> tuple[str, ...]:
        """Names of the activations, ONNX's order."""
        return (self.activation,)

    def fused(self) -> bool:
        """Whether torch has a kernel for the whole sequence."""
        raise NotImplementedError

    @property
    def torch_opaque(self) -> bool:  # type: ignore[override]
        # Without a fused kernel the facet is a Python loop over the real length.
        return not self.fused()

    # ---- torch

    def _torch(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any], mask: Any) -> Any:
        """(sequence, *final states)."""
        if self.front and mask is not None:
            places = t.arange(mask.shape[1], device=mask.device)
            whole = self.replace(front=False, zero_masked=True, aligned=True)
            return whole._torch(t, x, kernel, recurrent, bias, states, places < t.sum(mask, 1, keepdim=True))
        time = 0 if self.time_major else 1
        units = t.inputs[2].shape[0]
        batch = t.size(t.inputs[0].shape[1 - time])
        states = [x.new_zeros((batch, units)) if s is None else s for s in states]
        if not self.fused():
            results = self._torch_loop(t, x, kernel, recurrent, bias, states, mask)
        elif mask is None:
            x = t.flip(x, [time]) if self.reverse else x
            results = self._torch_sequence(t, x, kernel, recurrent, bias, states)
        else:
            results = self._torch_masked(t, x, kernel, recurrent, bias, states, mask)
        if self.reverse and self.aligned:
            return (t.flip(results[0], [time]), *results[1:])
        return results

    def _torch_sequence(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any]) -> Any:
        """The fused kernel over all steps, without reversal."""
        raise NotImplementedError

    def _torch_masked(
        self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any], mask: Any
    ) -> Any:
        x = x.transpose(0, 1) if self.time_major else x
        if self.reverse:
            x, mask = t.flip(x, [1]), t.flip(mask, [1])
        # A stable sort of "is masked" moves the steps that count to the front.
        order = t.argsort(t.logical_not(mask).to(t.int8), dim=1, stable=True)
        x = t.take_along_dim(x, order[:, :, None], 1)
        counts = t.cumsum(mask, 1)
        result = self._torch_front(t, x, kernel, recurrent, bias, states, t.take_along_dim(mask, order, 1))
        sequence, finals = result[0], list(result[1:])
        y = t.take_along_dim(sequence, t.clamp(counts - 1, min=0)[:, :, None], 1)
        kept = mask if self.zero_masked else counts > 0
        y = t.where(kept[:, :, None], y, t.zeros_like(y))
        total = counts[:, -1:]
        last = t.take_along_dim(sequence, t.clamp(total - 1, min=0)[:, :, None], 1)[:, 0]
        finals[0] = t.where(total > 0, last, states[0])
        return (y.transpose(0, 1) if self.time_major else y, *finals)

    def _torch_front(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any], mask: Any) -> Any:
        """The fused kernel on [N, T, F] with the steps that count in front; the first final state is not used."""
        return self.replace(time_major=False)._torch_sequence(t, x, kernel, recurrent, bias, states)

    def _torch_loop(self, t: Any, x: Any, kernel: Any, recurrent: Any, bias: Any, states: list[Any], mask: Any) -> Any:
        x = x if self.time_major else x.transpose(0, 1)
        projected = t.matmul(x, kernel)
        y = t.zeros_like(states[0])
        steps = range(x.shape[0])
        outputs = []
        for step in reversed(steps) if self.reverse else steps:
            new = self._torch_step(t, projected[step], recurrent, bias, states)
            if mask is None:
                y, states = new[0], new
            else:
                kept = mask[:, step, None]
                before = t.zeros_like(y) if self.zero_masked else y
                y = t.where(kept, new[0], before)
                states = [t.where(kept, a, b) for a, b in zip(new, states, strict=True)]
            outputs.append(y)
        sequence = t.stack(outputs) if outputs else projected[..., : y.shape[-1]]
        return (sequence if self.time_major else sequence.transpose(0, 1), *states)

    def _torch_step(self, t: Any, projected: Any, recurrent: Any, bias: Any, states: list[Any]) -> list[Any]:
        """The new states from x's part [N, gates * U] and the old ones; the first is the output."""
        raise NotImplementedError

    # ---- ONNX

    def onnx_weights(self, o: Any, kernel: str, recurrent: str, bias: str | None) -> Weights:
        """The weights in ONNX's layout and order of gates."""
        raise NotImplementedError

    def _onnx(self, o: Any, x: str, weights: Weights, states: list[Any], mask: str | None) -> Any:
        """(sequence, *final states) of one node."""
        units = o.inputs[2].shape[0]
        kernel, recurrent, bias = (None if w is None else o.unsqueeze(w, [0]) for w in weights)
        begun = [None if s is None else o.unsqueeze(s, [0]) for s in states]
        lengths = None
        reverse = self.reverse
        if mask is not None and not self.front:
            x, mask = self.onnx_front(o, x, mask)
            reverse = False
        elif not self.time_major:
            x = o.Transpose(x, perm=[1, 0, 2])
        if mask is not None:
            lengths = onnx_lengths(o, mask)
        y, *finals = o.node(
            self.onnx_name,
            x,
            kernel,
            recurrent,
            bias,
            lengths,
            *begun,
            outputs=1 + len(states),
            hidden_size=units,
            direction="reverse" if reverse else None,
            **self.onnx_attributes(),
        )
        y = o.squeeze(y, [1])
        finals = [o.squeeze(f, [0]) for f in finals]
        if mask is not None:
            finals = self._onnx_finals(o, finals, states, mask)
        if mask is not None and not self.front:
            return (self._onnx_spread(o, y, mask), *finals)
        if reverse and not (self.aligned or self.front):  # ONNX puts the outputs of a reversed run at their steps
            y = _flipped(o, y, 0)
        return (y if self.time_major else o.Transpose(y, perm=[1, 0, 2]), *finals)

    def onnx_attributes(self) -> dict[str, Any]:
        """Activations, where they are not ONNX's own."""
        names, alphas, betas = [], [], []
        for function in self.functions():
            name, alpha, beta = _ONNX_ACTIVATIONS[function]
            names.append(name)
            alphas += [] if alpha is None else [alpha]
            betas += [] if beta is None else [beta]
        if all(f == d for f, d in zip(self.functions(), self.defaults, strict=True)):
            return {}
        return {"activations": names, "activation_alpha": alphas or None, "activation_beta": betas or None}

    def onnx_front(self, o: Any, x: str, mask: str) -> tuple[str, str]:
        """(x [T, N, F] with the steps that count in front, mask in processing order)."""
        x = o.Transpose(x, perm=[1, 0, 2]) if self.time_major else x
        if self.reverse:
            x, mask = (_flipped(o, v, 1) for v in (x, mask))
        return o.Transpose(onnx_pack(o, x, mask, 3), perm=[1, 0, 2]), mask

    def _onnx_spread(self, o: Any, y: str, mask: str) -> str:
        """Each step's output from the compacted ones."""
        y = onnx_unpack(o, o.Transpose(y, perm=[1, 0, 2]), mask, 3, self.zero_masked)
        if self.reverse and self.aligned:
            y = _flipped(o, y, 1)
        return o.Transpose(y, perm=[1, 0, 2]) if self.time_major else y

    def _onnx_finals(self, o: Any, finals: list[str], states: list[Any], mask: str) -> list[str]:
        """The final states; those at the beginning where no step counted."""
        zero = o.like(0, o.inputs[0].dtype)
        some = o.Greater(onnx_total(o, mask), o.ints(0))
        return [o.Where(some, f, zero if s is None else s) for f, s in zip(finals, states, strict=True)]


def onnx_total(o: Any, mask: str) -> str:
    """How many steps count in each row, int64 [N, 1]."""
    total: str = o.ReduceSum(o.cast(mask, i64), o.ints([1]))
    return total


def onnx_lengths(o: Any, mask: str) -> str:
    """The rows' lengths as ONNX's sequence_lens, int32 [N]."""
    # ONNX Runtime gives zeros for the whole batch where a single length is 0.
    lengths: str = o.cast(o.squeeze(o.Max(onnx_total(o, mask), o.ints(1)), [1]), i32)
    return lengths


def _flipped(o: Any, x: str, axis: int) -> str:
    """The tensor from its end to its beginning along one axis."""
    return o.Slice(x, o.ints([-1]), o.ints([-(2**31)]), o.ints([axis]), o.ints([-1]))


def zero_bias(o: Any, gates: int) -> str:
    """A bias of zeros."""
    return o.array(np.zeros(gates * o.inputs[2].shape[0]), "zeros", o.inputs[0].dtype)

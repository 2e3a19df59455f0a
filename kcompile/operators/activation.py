"""Activations, element by element or along one axis."""

from __future__ import annotations

import math
from typing import Any

from kcompile.ir import Op, Type
from kcompile.ir.dims import Dim
from kcompile.ir.shapes import normal_axis


class _Activation(Op):
    """One float tensor in, the same type out."""

    def infer(self, x: Type) -> Type:
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
        return x


class _AlongAxis(_Activation):
    """An activation that normalises over one axis."""

    axis: int = -1

    def infer(self, x: Type) -> Type:
        normal_axis(self.axis, x.rank)
        return super().infer(x)


def _number(o: Any, value: float) -> str:
    """A scalar of the dtype of the first operand."""
    return o.like(value, o.inputs[0].dtype)


class Relu(_Activation, name="relu"):
    """max(x, 0) of a float tensor; ONNX Relu."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.relu(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Relu(x)


class LeakyRelu(_Activation, name="leaky_relu"):
    """x where x > 0, else negative_slope * x; ONNX LeakyRelu."""

    negative_slope: float = 0.2

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.leaky_relu(x, self.negative_slope)

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].dtype.name == "f64":  # ONNX Runtime's LeakyRelu has no double kernel
            zero = _number(o, 0)
            return o.Add(o.Max(x, zero), o.Mul(o.Min(x, zero), _number(o, self.negative_slope)))
        return o.LeakyRelu(x, alpha=float(self.negative_slope))


def _elu(o: Any, x: str, alpha: float, scale: float = 1.0, divisor: float = 1.0) -> str:
    """scale * (x if x > 0 else alpha * (exp(x / divisor) - 1)): 0.4 of the time of ONNX Runtime's Elu."""
    low = o.Min(x, _number(o, 0))
    if divisor != 1:
        low = o.Mul(low, _number(o, 1 / divisor))
    low = o.Sub(o.Exp(low), _number(o, 1))
    high = o.Relu(x)
    if scale != 1:
        high = o.Mul(high, _number(o, scale))
    if alpha * scale != 1:
        low = o.Mul(low, _number(o, alpha * scale))
    return o.Add(high, low)


class Elu(_Activation, name="elu"):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2015)."""

    alpha: float = 1.0

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.elu(x, self.alpha)

    def onnx(self, o: Any, x: str) -> str:
        return _elu(o, x, self.alpha)


class Selu(_Activation, name="selu"):
    """Elu with the fixed scale and alpha of self-normalising networks (Klambauer et al., 2017)."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.selu(x)

    def onnx(self, o: Any, x: str) -> str:
        return _elu(o, x, alpha=1.6732632423543772, scale=1.0507009873554805)


class Celu(_Activation, name="celu"):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)) (Barron, 2017)."""

    alpha: float = 1.0

    def torch(self, t: Any, x: Any) -> Any:
        return t.celu(x, self.alpha)

    def onnx(self, o: Any, x: str) -> str:
        return _elu(o, x, self.alpha, divisor=self.alpha)


class Gelu(_Activation, name="gelu"):
    """x times the normal distribution function of x, or its tanh approximation; ONNX Gelu since opset 20."""

    approximate: bool = False

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.gelu(x, approximate="tanh" if self.approximate else "none")

    def onnx(self, o: Any, x: str) -> str:
        if o.has("Gelu") and o.inputs[0].dtype.name != "f64":  # the double kernel is missing
            return o.Gelu(x, approximate="tanh" if self.approximate else None)
        one, half = _number(o, 1), _number(o, 0.5)
        if self.approximate:
            cube = o.Mul(o.Mul(o.Mul(x, x), x), _number(o, 0.044715))
            inner = o.Tanh(o.Mul(o.Add(x, cube), _number(o, math.sqrt(2 / math.pi))))
        else:
            # The order in which ONNX Runtime recognises, and fuses, a Gelu.
            inner = o.Erf(o.Div(x, _number(o, math.sqrt(2))))
        return o.Mul(o.Mul(x, o.Add(inner, one)), half)


class Sigmoid(_Activation, name="sigmoid"):
    """1 / (1 + exp(-x)); ONNX Sigmoid."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.sigmoid(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Sigmoid(x)


class Silu(_Activation, name="silu"):
    """x * sigmoid(x); ONNX Mul and Sigmoid, half the time of Swish; QuickGelu where the target has it."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.silu(x)

    def onnx(self, o: Any, x: str) -> str:
        if o.has("QuickGelu") and o.inputs[0].dtype.name == "f32":
            return o.vendor("QuickGelu", x, alpha=1.0)
        return o.Mul(x, o.Sigmoid(x))


def _softplus_of_minus_abs(o: Any, x: str) -> str:
    """log(1 + exp(-|x|)): never overflows, and ONNX Runtime's Softplus takes five times as long."""
    return o.Log(o.Add(o.Exp(o.Neg(o.Abs(x))), _number(o, 1)))


class Softplus(_Activation, name="softplus"):
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)) in ONNX."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.softplus(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Add(o.Relu(x), _softplus_of_minus_abs(o, x))


class LogSigmoid(_Activation, name="log_sigmoid"):
    """log(sigmoid(x)) = -softplus(-x), as min(x, 0) - log(1 + exp(-|x|)) in ONNX."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.logsigmoid(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Sub(o.Min(x, _number(o, 0)), _softplus_of_minus_abs(o, x))


class _LinearSigmoid(_Activation):
    """slope * x + 0.5 clipped to [0, 1]; ONNX HardSigmoid."""

    def onnx(self, o: Any, x: str) -> str:
        slope = self.slope  # type: ignore[attr-defined]
        if o.inputs[0].dtype.name == "f64":
            inner = o.Add(o.Mul(x, _number(o, slope)), _number(o, 0.5))
            return o.Clip(inner, _number(o, 0), _number(o, 1))
        return o.HardSigmoid(x, alpha=slope, beta=0.5)


class HardSigmoid(_LinearSigmoid, name="hard_sigmoid"):
    """x / 6 + 0.5 clipped to [0, 1]; ONNX HardSigmoid."""

    slope = 1 / 6

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.hardsigmoid(x)


class SparseSigmoid(_LinearSigmoid, name="sparse_sigmoid"):
    """x / 2 + 0.5 clipped to [0, 1], the derivative of SparsePlus; ONNX HardSigmoid."""

    slope = 0.5

    def torch(self, t: Any, x: Any) -> Any:
        return t.clamp(x * 0.5 + 0.5, 0, 1)


class HardSilu(_Activation, name="hard_silu"):
    """x * hard_sigmoid(x) (MobileNetV3); ONNX HardSwish."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.hardswish(x)

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].dtype.name == "f64":
            return o.Mul(x, HardSigmoid().onnx(o, x))
        return o.HardSwish(x)


class HardTanh(_Activation, name="hard_tanh"):
    """x clipped to [-1, 1]; ONNX Clip."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.hardtanh(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Clip(x, _number(o, -1), _number(o, 1))


class Softsign(_Activation, name="softsign"):
    """x / (1 + |x|); ONNX Softsign."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.softsign(x)

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].dtype.name == "f64":
            return o.Div(x, o.Add(o.Abs(x), _number(o, 1)))
        return o.Softsign(x)


class Mish(_Activation, name="mish"):
    """x * tanh(softplus(x)) (Misra, 2019), as x * n / (n + 2) with n = e^x (e^x + 2) in ONNX."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.mish(x)

    def onnx(self, o: Any, x: str) -> str:
        # tanh(softplus(x)) has reached 1 in the dtype's digits at the limit, and n has not overflowed.
        limit = 5.0 if o.inputs[0].dtype.name == "f16" else 20.0
        two = _number(o, 2)
        e = o.Exp(o.Min(x, _number(o, limit)))
        n = o.Mul(e, o.Add(e, two))
        return o.Mul(x, o.Div(n, o.Add(n, two)))


class Threshold(_Activation, name="threshold"):
    """x where x > threshold, else default_value."""

    threshold: float
    default_value: float = 0.0

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.threshold(x, self.threshold, self.default_value)

    def onnx(self, o: Any, x: str) -> str:
        return o.Where(o.Greater(x, _number(o, self.threshold)), x, _number(o, self.default_value))


class HardShrink(_Activation, name="hard_shrink"):
    """x where |x| > threshold, else 0; ONNX Shrink."""

    threshold: float = 0.5

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.hardshrink(x, self.threshold)

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].dtype.name == "f64":  # ONNX Runtime's Shrink rounds doubles to float32
            return o.Where(o.Greater(o.Abs(x), _number(o, self.threshold)), x, _number(o, 0))
        return o.Shrink(x, lambd=float(self.threshold), bias=0.0)


class SoftShrink(_Activation, name="soft_shrink"):
    """x moved towards 0 by threshold, 0 within it; ONNX Shrink."""

    threshold: float = 0.5

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.softshrink(x, self.threshold)

    def onnx(self, o: Any, x: str) -> str:
        if o.inputs[0].dtype.name == "f64":
            return o.Sub(x, o.Clip(x, _number(o, -self.threshold), _number(o, self.threshold)))
        return o.Shrink(x, lambd=float(self.threshold), bias=float(self.threshold))


class TanhShrink(_Activation, name="tanh_shrink"):
    """x - tanh(x)."""

    def torch(self, t: Any, x: Any) -> Any:
        return x - t.tanh(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Sub(x, o.Tanh(x))


class Squareplus(_Activation, name="squareplus"):
    """(x + sqrt(x^2 + b)) / 2 (Barron, 2021)."""

    b: float = 4.0

    def torch(self, t: Any, x: Any) -> Any:
        return (x + t.sqrt(x * x + self.b)) * 0.5

    def onnx(self, o: Any, x: str) -> str:
        root = o.Sqrt(o.Add(o.Mul(x, x), _number(o, self.b)))
        return o.Mul(o.Add(x, root), _number(o, 0.5))


class SparsePlus(_Activation, name="sparse_plus"):
    """0 below -1, x above 1, (x + 1)^2 / 4 between."""

    def torch(self, t: Any, x: Any) -> Any:
        inner = t.clamp(x, -1, 1) + 1
        return inner * inner * 0.25 + t.relu(x - 1)

    def onnx(self, o: Any, x: str) -> str:
        one = _number(o, 1)
        inner = o.Add(o.Clip(x, _number(o, -1), one), one)
        return o.Add(o.Mul(o.Mul(inner, inner), _number(o, 0.25)), o.Relu(o.Sub(x, one)))


class Softmax(_AlongAxis, name="softmax"):
    """exp(x) over its sum along the axis; ONNX Softmax."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.softmax(x, self.axis)

    def onnx(self, o: Any, x: str) -> str:
        return o.Softmax(x, axis=self.axis)


class LogSoftmax(_AlongAxis, name="log_softmax"):
    """The logarithm of Softmax; ONNX LogSoftmax."""

    def torch(self, t: Any, x: Any) -> Any:
        return t.log_softmax(x, self.axis)

    def onnx(self, o: Any, x: str) -> str:
        return o.LogSoftmax(x, axis=self.axis)


class Glu(_AlongAxis, name="glu"):
    """The first half of the axis times the sigmoid of the second (Dauphin et al., 2017)."""

    def infer(self, x: Type) -> Type:
        axis = normal_axis(self.axis, super().infer(x).rank)
        size = x.shape[axis]
        self.require(isinstance(size, Dim) or size % 2 == 0, f"axis {self.axis} of {x} must have an even size")
        return x.with_shape((*x.shape[:axis], size // 2, *x.shape[axis + 1 :]))

    def torch(self, t: Any, x: Any) -> Any:
        return t.nn.functional.glu(x, self.axis)

    def onnx(self, o: Any, x: str) -> str:
        several = {"num_outputs": 2} if o.opset >= 18 else {}
        value, gate = o.Split(x, axis=self.axis, outputs=2, **several)
        return o.Mul(value, o.Sigmoid(gate))


class Sparsemax(_AlongAxis, name="sparsemax"):
    """The Euclidean projection onto the probability simplex along the axis (Martins and Astudillo, 2016).

    The paper's formula: the results sum to 1, which those of Keras 3.15 don't.
    """

    def torch(self, t: Any, x: Any) -> Any:
        axis = self.axis % len(t.inputs[0].shape)
        ordered = t.sort(x, dim=axis, descending=True)[0]
        ones = t.ones_like(ordered)
        support = 1 + t.cumsum(ones, axis) * ordered > t.cumsum(ordered, axis)
        kept = t.where(support, ordered, t.zeros_like(ordered))
        size = t.sum(t.where(support, ones, t.zeros_like(ones)), axis, True)
        return t.relu(x - (t.sum(kept, axis, True) - 1) / size)

    def onnx(self, o: Any, x: str) -> str:
        axis = normal_axis(self.axis, o.inputs[0].rank)
        one, zero, place = _number(o, 1), _number(o, 0), o.array(axis, "axis")
        ordered, _ = o.TopK(x, o.size(o.inputs[0].shape[axis]), axis=axis, outputs=2)
        ones = o.Add(o.Mul(ordered, zero), one)
        support = o.Greater(o.Add(o.Mul(o.CumSum(ones, place), ordered), one), o.CumSum(ordered, place))
        kept = o.ReduceSum(o.Where(support, ordered, zero), o.ints([axis]))
        size = o.ReduceSum(o.Where(support, one, zero), o.ints([axis]))
        return o.Relu(o.Sub(x, o.Div(o.Sub(kept, one), size)))

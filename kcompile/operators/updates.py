"""Rules by which optimizers change a variable, kept whole because torch has one kernel for each."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type, Value, constant
from kcompile.ir.shapes import same_dim
from kcompile.operators.arithmetic import Add, Divide, Multiply, Square, Subtract
from kcompile.operators.math import Sqrt


class AdamStep(Op, name="adam_step"):
    """One step of Adam (Kingma and Ba, 2014): (variable, mean, square) anew of all of one shape, and a rank-0 rate.

    mean += (1 - beta_1) (gradient - mean); square += (1 - beta_2) (gradient^2 - square);
    variable -= rate * mean / (sqrt(square) + epsilon). The rate holds the correction of the moments' bias.
    """

    # A call that only changes its operands would be dead code in a recording.
    torch_opaque = True

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def infer(self, variable: Type, gradient: Type, mean: Type, square: Type, rate: Type) -> tuple[Type, Type, Type]:
        self.require(variable.dtype.is_float, f"the variable must be a float tensor, got {variable}")
        for name, type in (("gradient", gradient), ("mean", mean), ("square", square)):
            fits = type.dtype is variable.dtype and type.rank == variable.rank
            self.require(fits, f"{name} must be of the variable's type {variable}, got {type}")
            for a, b in zip(variable.shape, type.shape, strict=True):
                same_dim(a, b, f"{self.name}, {name} {type} against the variable {variable}")
        self.require(rate.shape == () and rate.dtype.is_float, f"the rate must be one float, got {rate}")
        return variable, variable, variable

    def torch(self, t: Any, variable: Any, gradient: Any, mean: Any, square: Any, rate: Any) -> Any:
        changed = [x.clone() for x in (variable, mean, square)]
        # torch corrects the bias itself, by the number of steps: after infinitely many there is none.
        steps = t.full((), t.inf, device=variable.device)
        t._fused_adam_(
            [changed[0]], [gradient.contiguous()], [changed[1]], [changed[2]], [], [steps], lr=rate, beta1=self.beta_1,
            beta2=self.beta_2, weight_decay=0.0, eps=self.epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip
        return tuple(changed)

    def decompose(self, variable: Value, gradient: Value, mean: Value, square: Value, rate: Value) -> Any:
        dtype = variable.type.dtype

        def moved(old: Value, new: Value, beta: float) -> Value:
            return Add()(old, Multiply()(Subtract()(new, old), constant(1 - beta, dtype)))

        mean = moved(mean, gradient, self.beta_1)
        square = moved(square, Square()(gradient), self.beta_2)
        root = Add()(Sqrt()(square), constant(self.epsilon, dtype))
        return Subtract()(variable, Divide()(Multiply()(mean, rate), root)), mean, square

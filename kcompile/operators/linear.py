"""Matrix products."""

from __future__ import annotations

from typing import Any

from kcompile.ir.op import Op
from kcompile.ir.shapes import broadcast, same_dim
from kcompile.ir.types import Type
from kcompile.operators.kernels import compute, torch_compute


class MatMul(Op, name="mat_mul"):
    """The product of matrices [..., M, K] and [..., K, N] -> [..., M, N], leading axes broadcast. ONNX MatMul.

    A vector [K] counts as one row on the left, as one column on the right, and that axis is dropped (numpy's rule).
    """

    def infer(self, a: Type, b: Type) -> Type:
        self.require(a.dtype is b.dtype, f"operands must have one dtype, got {a} and {b}")
        self.require(not a.dtype.is_bool, f"operands must be numbers, got {a}")
        self.require(a.rank > 0 and b.rank > 0, f"operands must have an axis, got {a} and {b}")
        inner = b.shape[-2] if b.rank > 1 else b.shape[0]
        same_dim(a.shape[-1], inner, f"mat_mul: the inner sizes of {a} and {b}")
        batch = broadcast(a.shape[:-2], b.shape[:-2])
        rows = a.shape[-2:-1]
        columns = b.shape[-1:] if b.rank > 1 else ()
        return Type(a.dtype, (*batch, *rows, *columns))

    def torch(self, t: Any, a: Any, b: Any) -> Any:
        return torch_compute(t, t.matmul, a, b)

    def onnx(self, o: Any, a: str, b: str) -> str:
        return compute(o, "MatMul", a, b)


class Dense(Op, name="dense"):
    """x [..., K] times kernel [K, U], plus bias [U] or None -> [..., U]. ONNX Gemm for rank 2, else MatMul and Add."""

    def infer(self, x: Type, kernel: Type, bias: Type | None) -> Type:
        for operand in (x, kernel, bias):
            if operand is not None:
                self.require(operand.dtype.is_float, f"operands must be float tensors, got {operand}")
                self.require(operand.dtype is x.dtype, f"operands must have one dtype, got {x} and {operand}")
        self.require(x.rank >= 1, "x must have an axis, got a scalar")
        self.require(kernel.rank == 2, f"the kernel must be a matrix, got {kernel}")
        same_dim(x.shape[-1], kernel.shape[0], f"dense: the last axis of {x} and the first of the kernel {kernel}")
        if bias is not None:
            self.require(bias.rank == 1, f"the bias must be a vector, got {bias}")
            same_dim(bias.shape[0], kernel.shape[1], f"dense: the bias {bias} and the last axis of the kernel {kernel}")
        return x.with_shape((*x.shape[:-1], kernel.shape[1]))

    def torch(self, t: Any, x: Any, kernel: Any, bias: Any) -> Any:
        return t.products.linear(x, kernel, bias)

    def onnx(self, o: Any, x: str, kernel: str, bias: str | None) -> str:
        if bias is not None and o.inputs[0].rank == 2 and o.inputs[0].dtype.name != "bf16":
            return o.Gemm(x, kernel, bias)
        product = compute(o, "MatMul", x, kernel)
        return product if bias is None else compute(o, "Add", product, bias)

"""Factorisations of matrices, the last two axes of tensors, and what follows from them. ONNX has Det alone."""

from __future__ import annotations

from typing import Any

from kcompile.ir.dims import DimLike, minimum
from kcompile.ir.op import Op, unsupported
from kcompile.ir.shapes import broadcast, same_dim
from kcompile.ir.types import Type, i32

_NONE = unsupported("ONNX has no such operator; compute it outside of the model, or keep its result as a weight")


class _Matrix(Op):
    """What operators on matrices of floats share."""

    def _check(self, x: Type, square: bool = False) -> tuple[DimLike, DimLike]:
        """(rows, columns) of a float tensor of matrices."""
        self.require(x.dtype.name in ("f32", "f64") and x.rank >= 2, f"x must be float32 or float64 matrices, got {x}")
        rows, columns = x.shape[-2:]
        if square:
            same_dim(rows, columns, f"{self.name}: {x} must hold square matrices")
        return rows, columns


class Determinant(_Matrix, name="determinant"):
    """The determinants [...] of matrices [..., N, N]. ONNX Det."""

    def infer(self, x: Type) -> Type:
        self._check(x, square=True)
        return x.with_shape(x.shape[:-2])

    def torch(self, t: Any, x: Any) -> Any:
        return t.linalg.det(x)

    def onnx(self, o: Any, x: str) -> str:
        return o.Det(x)


class LogDeterminant(_Matrix, name="log_determinant"):
    """(sign, logarithm of the size) of the determinants of matrices [..., N, N]. ONNX Det, which may overflow."""

    def infer(self, x: Type) -> tuple[Type, Type]:
        self._check(x, square=True)
        result = x.with_shape(x.shape[:-2])
        return result, result

    def torch(self, t: Any, x: Any) -> Any:
        sign, size = t.linalg.slogdet(x)
        return sign, size

    def onnx(self, o: Any, x: str) -> tuple[str, str]:
        found = o.Det(x)
        return o.Sign(found), o.Log(o.Abs(found))


class Cholesky(_Matrix, name="cholesky"):
    """The triangular factor of positive definite matrices [..., N, N]: lower L with L L^T = x, or its transpose."""

    upper: bool = False

    def infer(self, x: Type) -> Type:
        self._check(x, square=True)
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return t.linalg.cholesky(x, upper=self.upper)

    onnx = _NONE


class Solve(_Matrix, name="solve"):
    """y [..., N, K] with a y = b for square a [..., N, N] and b [..., N, K]."""

    def infer(self, a: Type, b: Type) -> Type:
        _, columns = self._check(a, square=True)
        self.require(b.dtype is a.dtype and b.rank >= 2, f"b must be matrices of a's dtype, got {b}")
        same_dim(columns, b.shape[-2], f"{self.name}: rows of {b}")
        return b.with_shape((*broadcast(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]))

    def torch(self, t: Any, a: Any, b: Any) -> Any:
        return t.linalg.solve(a, b)

    onnx = _NONE


class SolveTriangular(Solve, name="solve_triangular"):
    """`Solve` for a triangular a, of which only that half is read."""

    lower: bool = False

    def torch(self, t: Any, a: Any, b: Any) -> Any:
        return t.linalg.solve_triangular(a, b, upper=not self.lower)


class Qr(_Matrix, name="qr"):
    """(Q, R) of matrices [..., M, N]: Q R = x, Q orthogonal, R upper triangular; ``complete`` Q is [..., M, M]."""

    complete: bool = False

    def infer(self, x: Type) -> tuple[Type, Type]:
        rows, columns = self._check(x)
        inner = rows if self.complete else minimum(rows, columns)
        return x.with_shape((*x.shape[:-1], inner)), x.with_shape((*x.shape[:-2], inner, columns))

    def torch(self, t: Any, x: Any) -> Any:
        q, r = t.linalg.qr(x, mode="complete" if self.complete else "reduced")
        return q, r

    onnx = _NONE


class Svd(_Matrix, name="svd"):
    """(U, S, V^T) of matrices [..., M, N]: U S V^T = x, S descending; ``full`` makes U and V square."""

    full: bool = False

    def infer(self, x: Type) -> tuple[Type, Type, Type]:
        rows, columns = self._check(x)
        inner, outer = minimum(rows, columns), x.shape[:-2]
        left, right = (rows, columns) if self.full else (inner, inner)
        return (
            x.with_shape((*outer, rows, left)),
            x.with_shape((*outer, inner)),
            x.with_shape((*outer, right, columns)),
        )

    def torch(self, t: Any, x: Any) -> Any:
        u, s, v = t.linalg.svd(x, full_matrices=self.full)
        return u, s, v

    onnx = _NONE


class SymmetricEigen(_Matrix, name="symmetric_eigen"):
    """(eigenvalues [..., N] ascending, eigenvectors [..., N, N] as columns) of symmetric matrices."""

    def infer(self, x: Type) -> tuple[Type, Type]:
        self._check(x, square=True)
        return x.with_shape(x.shape[:-1]), x

    def torch(self, t: Any, x: Any) -> Any:
        values, vectors = t.linalg.eigh(x)
        return values, vectors

    onnx = _NONE


class LuFactor(_Matrix, name="lu_factor"):
    """(L below and U on and above the diagonal, int32 pivots from 1) of matrices [..., M, N]."""

    def infer(self, x: Type) -> tuple[Type, Type]:
        rows, columns = self._check(x)
        return x, Type(i32, (*x.shape[:-2], minimum(rows, columns)))

    def torch(self, t: Any, x: Any) -> Any:
        factors, pivots = t.linalg.lu_factor(x)
        return factors, pivots

    onnx = _NONE

"""Linear algebra of `keras.ops`: on matrices, the last two axes of tensors. ONNX has the determinant alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras.ops import arrays, grids, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import axes_tuple, float_dtype, kind, normal_axis, op, rank_of, run, shape_of, tensor
from kcompile.operators import linalg
from kcompile.tracing.tensor import promoted


def _float(x: Any) -> Any:
    return tensor(x, float_dtype(kind(x)))


def _transposed(x: Any) -> Any:
    return arrays.swapaxes(x, -1, -2)


# ---- determinants


@op
def det(x: Any) -> Any:
    """Determinants of square matrices."""
    return run(linalg.Determinant(), _float(x))


@op
def slogdet(x: Any) -> tuple[Any, Any]:
    """(signs, logarithms of the sizes) of determinants."""
    return run(linalg.LogDeterminant(), _float(x))


@op
def logdet(x: Any) -> Any:
    """Logarithms of determinants; NaN where one is negative."""
    sign, size = slogdet(x)
    return ew.where(ew.less(sign, 0.0), math.nan, size)


# ---- factors


@op
def cholesky(x: Any, upper: bool = False) -> Any:
    """The triangular factors of symmetric positive definite matrices."""
    return run(linalg.Cholesky(upper), _float(x))


@op
def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """The inverses of the matrices whose Cholesky factors these are."""
    x = _float(x)
    half = solve_triangular(x, _identity_like(x), lower=not upper)
    return arrays.matmul(half, _transposed(half)) if upper else arrays.matmul(_transposed(half), half)


@op
def qr(x: Any, mode: str = "reduced") -> tuple[Any, Any]:
    """(Q, R): an orthogonal and an upper triangular factor; mode is reduced or complete."""
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"`mode` argument value not supported. Expected one of {{'reduced', 'complete'}}. Received: mode={mode}"
        )
    return run(linalg.Qr(mode == "complete"), _float(x))


@op
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V^T), the singular values descending; S alone without ``compute_uv``."""
    u, s, v = run(linalg.Svd(full_matrices and compute_uv), _float(x))
    return (u, s, v) if compute_uv else s


@op
def eigh(x: Any) -> tuple[Any, Any]:
    """(eigenvalues ascending, eigenvectors as columns) of symmetric matrices."""
    return run(linalg.SymmetricEigen(), _float(x))


@op
def lu_factor(x: Any) -> tuple[Any, Any]:
    """(L and U in one matrix, pivots): the rows, from 0, that were exchanged in each step."""
    factors, pivots = run(linalg.LuFactor(), _float(x))
    return factors, ew.subtract(pivots, 1)


# ---- equations


def _identity_like(x: Any) -> Any:
    *outer, rows, _ = shape_of(x)
    return arrays.broadcast_to(grids.eye(rows, dtype=kind(x)), (*outer, rows, rows))


@op
def inv(x: Any) -> Any:
    """Inverses of square matrices."""
    x = _float(x)
    return run(linalg.Solve(), x, _identity_like(x))


@op
def solve(a: Any, b: Any) -> Any:
    """y with a y = b; b holds vectors where it has one axis less than a."""
    return _solve(linalg.Solve(), a, b)


@op
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """`solve` for a triangular a."""
    return _solve(linalg.SolveTriangular(lower=lower), a, b)


def _solve(operator: Any, a: Any, b: Any) -> Any:
    target = float_dtype(promoted(a, b))
    a, b = tensor(a, target), tensor(b, target)
    if rank_of(b) == rank_of(a) - 1:
        return arrays.squeeze(run(operator, a, arrays.expand_dims(b, -1)), -1)
    return run(operator, a, b)


@op
def pinv(x: Any, rcond: float | None = None) -> Any:
    """Pseudo-inverses; singular values at most ``rcond`` times the largest count as 0."""
    u, s, v = svd(x, full_matrices=False)
    cut = max(shape_of(x)[-2:]) * _precision(s) if rcond is None else rcond
    zero = ew.less_equal(s, ew.multiply(reductions.max(s, -1, True), cut))
    inverse = ew.where(zero, 0.0, ew.divide(1.0, ew.where(zero, 1.0, s)))
    return arrays.matmul(ew.multiply(_transposed(v), arrays.expand_dims(inverse, -2)), _transposed(u))


@op
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """The shortest y that makes |a y - b| least; b is a vector or a matrix."""
    target = float_dtype(promoted(a, b))
    a, b = tensor(a, target), tensor(b, target)
    return arrays.matmul(pinv(a, rcond), b)


@op
def matrix_rank(x: Any, tol: float | None = None) -> Any:
    """How many singular values are above ``tol``, by default the largest times the size times the precision."""
    s = svd(x, compute_uv=False)
    if tol is None:
        least = ew.multiply(reductions.max(s, -1, True), max(shape_of(x)[-2:]) * _precision(s))
    else:
        least = tensor(tol, kind(s))
    return reductions.sum(tensor(ew.greater(s, least), "int32"), -1)


def _precision(x: Any) -> float:
    return float(np.finfo(kind(x).numpy).eps)


# ---- norms


@op
def norm(x: Any, ord: Any = None, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """Norms of vectors along one axis or of matrices along two, as numpy.linalg.norm; of all elements by default."""
    x = _float(x)
    axes = axes_tuple(axis)
    if axes is None and (ord is None or rank_of(x) > 2):
        if ord is not None:
            raise ValueError(f"norm: give the axes of ord={ord!r} for a tensor of shape {shape_of(x)}")
        return ew.sqrt(reductions.sum(ew.square(x), None, keepdims))
    axes = tuple(normal_axis(a, rank_of(x)) for a in (axes or tuple(range(rank_of(x)))))
    if len(axes) == 1 or ord is None:
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError(f"norm: ord={ord!r} is of vectors or matrices, got the axes {axes}")
    return _matrix_norm(x, ord, (axes[0], axes[1]), keepdims)


def _vector_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is of matrices; give two axes")
    size = ew.absolute(x)
    if ord in (math.inf, -math.inf):
        return (reductions.max if ord > 0 else reductions.min)(size, axes, keepdims)
    if ord == 0:
        return reductions.sum(tensor(ew.not_equal(x, 0.0), kind(x)), axes, keepdims)
    if ord == 1:
        return reductions.sum(size, axes, keepdims)
    if ord == 2:
        return ew.sqrt(reductions.sum(ew.square(x), axes, keepdims))
    return ew.power(reductions.sum(ew.power(size, float(ord)), axes, keepdims), 1.0 / ord)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    if ord == "fro":
        return _vector_norm(x, 2, axes, keepdims)
    x = arrays.moveaxis(x, axes, (-2, -1))
    if ord in (2, -2, "nuc"):
        s = svd(x, compute_uv=False)
        found = {2: reductions.max, -2: reductions.min, "nuc": reductions.sum}[ord](s, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = reductions.sum(ew.absolute(x), -2 if abs(ord) == 1 else -1)
        found = (reductions.max if ord > 0 else reductions.min)(sums, -1)
    else:
        raise ValueError(f"norm: ord={ord!r} is no norm of matrices")
    return arrays.expand_dims(found, sorted(axes)) if keepdims else found


__all__ = [
    "cholesky", "cholesky_inverse", "det", "eigh", "inv", "logdet", "lstsq", "lu_factor", "matrix_rank", "norm",
    "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
]  # fmt: skip

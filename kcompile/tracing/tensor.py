"""`SymbolicTensor`: what layers and `keras.ops` get while a model is traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.errors import InferError, NoAttributeError, TraceError
from kcompile.ir import Dim, DType, Op, Type, Value, constant, dtype
from kcompile.operators import arithmetic, creation, linear, logic, shape
from kcompile.operators.promotion import result_type
from kcompile.tracing.scope import located


class Operators:
    """Python's operators for symbolic tensors and variables."""

    def __add__(self, other: Any) -> Any:
        return binary(arithmetic.Add(), self, other)

    def __radd__(self, other: Any) -> Any:
        return binary(arithmetic.Add(), other, self)

    def __sub__(self, other: Any) -> Any:
        return binary(arithmetic.Subtract(), self, other)

    def __rsub__(self, other: Any) -> Any:
        return binary(arithmetic.Subtract(), other, self)

    def __mul__(self, other: Any) -> Any:
        return binary(arithmetic.Multiply(), self, other)

    def __rmul__(self, other: Any) -> Any:
        return binary(arithmetic.Multiply(), other, self)

    def __truediv__(self, other: Any) -> Any:
        return binary(arithmetic.Divide(), self, other, to_float=True)

    def __rtruediv__(self, other: Any) -> Any:
        return binary(arithmetic.Divide(), other, self, to_float=True)

    def __floordiv__(self, other: Any) -> Any:
        return binary(arithmetic.FloorDivide(), self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return binary(arithmetic.FloorDivide(), other, self)

    def __mod__(self, other: Any) -> Any:
        return binary(arithmetic.Remainder(), self, other)

    def __rmod__(self, other: Any) -> Any:
        return binary(arithmetic.Remainder(), other, self)

    def __pow__(self, other: Any) -> Any:
        return binary(arithmetic.Power(), self, other)

    def __rpow__(self, other: Any) -> Any:
        return binary(arithmetic.Power(), other, self)

    def __matmul__(self, other: Any) -> Any:
        return binary(linear.MatMul(), self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return binary(linear.MatMul(), other, self)

    def __neg__(self) -> Any:
        return unary(arithmetic.Negative(), self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return unary(arithmetic.Absolute(), self)

    def __invert__(self) -> Any:
        is_bool = dtype(self.dtype).is_bool  # type: ignore[attr-defined]
        return unary(logic.LogicalNot() if is_bool else logic.BitwiseNot(), self)

    def __and__(self, other: Any) -> Any:
        return _bits(logic.LogicalAnd(), logic.BitwiseAnd(), self, other)

    def __rand__(self, other: Any) -> Any:
        return _bits(logic.LogicalAnd(), logic.BitwiseAnd(), other, self)

    def __or__(self, other: Any) -> Any:
        return _bits(logic.LogicalOr(), logic.BitwiseOr(), self, other)

    def __ror__(self, other: Any) -> Any:
        return _bits(logic.LogicalOr(), logic.BitwiseOr(), other, self)

    def __xor__(self, other: Any) -> Any:
        return _bits(logic.LogicalXor(), logic.BitwiseXor(), self, other)

    def __rxor__(self, other: Any) -> Any:
        return _bits(logic.LogicalXor(), logic.BitwiseXor(), other, self)

    def __lt__(self, other: Any) -> Any:
        return binary(logic.Less(), self, other)

    def __le__(self, other: Any) -> Any:
        return binary(logic.LessEqual(), self, other)

    def __gt__(self, other: Any) -> Any:
        return binary(logic.Greater(), self, other)

    def __ge__(self, other: Any) -> Any:
        return binary(logic.GreaterEqual(), self, other)

    def __getitem__(self, key: Any) -> Any:
        return DISPATCH.getitem(self, key)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """numpy meets a tensor or a variable: `array + tensor` is followed, any other function is numpy's or refused."""
        names = _NUMPY_OPERATORS.get(function.__name__)
        if names and method == "__call__" and len(inputs) == 2 and not kwargs:
            a, b = inputs
            return getattr(a, names[0])(b) if isinstance(a, Operators) else getattr(b, names[1])(a)
        return getattr(function, method)(*(np.asarray(x) if isinstance(x, Operators) else x for x in inputs), **kwargs)


class SymbolicTensor(Operators):
    """A tensor that is not known yet: an IR value with Python's operators and numpy's indexing.

    ``shape`` holds ints and symbolic dims, ``dtype`` is Keras's name. Comparison with ``==`` and
    ``!=`` is elementwise; using a tensor as a Python truth value or number raises TraceError.
    """

    def __init__(self, value: Value):
        self.value = value

    @property
    def type(self) -> Type:
        return self.value.type

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.value.type.shape

    @property
    def dtype(self) -> str:
        return self.value.type.dtype.keras

    @property
    def ndim(self) -> int:
        return self.value.type.rank

    rank = ndim

    @property
    def T(self) -> SymbolicTensor:
        return SymbolicTensor(shape.Transpose(tuple(range(self.ndim))[::-1])(self.value))

    def astype(self, to: Any) -> SymbolicTensor:
        """Cast."""
        return SymbolicTensor(cast(self.value, dtype(to)))

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        return binary(logic.Equal(), self, other)

    def __ne__(self, other: Any) -> Any:
        return binary(logic.NotEqual(), self, other)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor of rank 0 has no length")
        return int(self.shape[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise NoAttributeError(
            located(
                f"a symbolic tensor ({self.type}) has no {name!r}: it is no torch tensor, and its values are not known "
                "while the model is traced; use keras.ops"
            )
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TraceError(
            located(f"a symbolic tensor ({self.type}) can't be changed in place; use ops.where or ops.slice_update")
        )

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise TraceError(
            located(
                f"`if`, `while`, `and`, `or`, `not` and assert can't follow a symbolic tensor ({self.type}): "
                "its values are not known while the model is traced; use ops.cond, ops.while_loop or ops.where"
            )
        )

    def _number(self) -> Any:
        raise TraceError(
            located(
                f"a symbolic tensor ({self.type}) can't become a Python number: its values are not known while "
                "the model is traced; keep the computation in keras.ops"
            )
        )

    __int__ = __float__ = __index__ = __complex__ = _number

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TraceError(
            located(
                f"numpy can't take a symbolic tensor ({self.type}): its values are not known while the model is "
                "traced; use the function of the same name in keras.ops"
            )
        )

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """torch meets a symbolic tensor: `tensor + symbolic` is followed, any other function refused."""
        name = getattr(function, "__name__", str(function))
        reflected = _TORCH_OPERATORS.get(name.strip("_"))
        if reflected and len(args) == 2 and isinstance(args[1], SymbolicTensor):
            return getattr(args[1], reflected)(args[0])
        raise TraceError(
            located(
                f"torch's {name!r} can't take a symbolic tensor; write it with keras.ops, or fit with "
                "run_eagerly=True (a layer that calls torch itself can't be exported)"
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type}>"


_TORCH_OPERATORS = {
    "add": "__radd__", "sub": "__rsub__", "mul": "__rmul__", "div": "__rtruediv__", "truediv": "__rtruediv__",
    "floor_divide": "__rfloordiv__", "remainder": "__rmod__", "pow": "__rpow__", "matmul": "__rmatmul__",
    "eq": "__eq__", "ne": "__ne__", "lt": "__gt__", "le": "__ge__", "gt": "__lt__", "ge": "__le__",
}  # fmt: skip


_NUMPY_OPERATORS = {
    "add": ("__add__", "__radd__"), "subtract": ("__sub__", "__rsub__"), "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"), "floor_divide": ("__floordiv__", "__rfloordiv__"),
    "remainder": ("__mod__", "__rmod__"), "power": ("__pow__", "__rpow__"), "matmul": ("__matmul__", "__rmatmul__"),
    "equal": ("__eq__", "__eq__"), "not_equal": ("__ne__", "__ne__"), "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"), "greater": ("__gt__", "__lt__"), "greater_equal": ("__ge__", "__le__"),
}  # fmt: skip


class Dispatch:
    """Filled in by the Keras room: how operators on variables and indexing run outside of a trace, and floatx."""

    apply: Any = None
    getitem: Any = None
    floatx: Any = staticmethod(lambda: "float32")


DISPATCH = Dispatch()


def lift(x: Any, to: DType | None = None) -> Value:
    """Anything that a traced function may hold, as an IR value (cast to ``to`` if given)."""
    if isinstance(x, Value):
        value = x
    elif isinstance(x, SymbolicTensor):
        value = x.value
    elif isinstance(x, Dim):
        return creation.SizeOf(x, to or dtype("int64"))()
    elif hasattr(x, "assign") and hasattr(x, "storage"):
        value = lift(x.value)
    else:
        return constant(_array(x, to))
    return value if to is None else cast(value, to)


def _array(x: Any, to: DType | None) -> np.ndarray:
    if hasattr(x, "detach"):
        x = x.detach().cpu().float().numpy() if "bfloat16" in str(x.dtype) else x.detach().cpu().numpy()
    try:
        array = np.asarray(x)
    except TraceError as error:
        raise TraceError(located("a list that holds symbolic tensors; use ops.stack or ops.concatenate")) from error
    if array.dtype == object or array.dtype.kind in "USV":
        raise TraceError(located(f"{type(x).__name__} is not something that a tensor can be made of"))
    if to is not None:
        return array.astype(to.numpy)
    if isinstance(x, (float, list, tuple)) and array.dtype == np.float64:
        return array.astype(np.float32)
    if isinstance(x, (int, list, tuple)) and array.dtype == np.int64:
        return array.astype(np.int32)
    return array


def cast(value: Value, to: DType) -> Value:
    """The value in another dtype; the value itself where it has that already."""
    return value if value.type.dtype is to else logic.Cast(to)(value)


def weak_dtype(x: Any) -> Any:
    """What promotion sees: a Python scalar's type (weak), else a DType."""
    if isinstance(x, (bool, int, float)):
        return type(x)
    if isinstance(x, Dim):
        return int
    if isinstance(x, Value):
        return x.type.dtype
    if hasattr(x, "dtype"):
        return dtype(x.dtype)
    return dtype(_array(x, None).dtype)


def promoted(*xs: Any, to_float: bool = False) -> DType:
    """The dtype in which an operator on these operands computes, as Keras promotes.

    Operands that agree keep their dtype, 64 bits too, as they do in Keras on torch; mixed ones are
    narrowed to 32 bits.
    """
    kinds = [weak_dtype(x) for x in xs]
    strong = {k for k in kinds if isinstance(k, DType)}
    if len(strong) == 1:
        (only,) = strong
        if only.is_float or (only.is_integer and not to_float and float not in kinds):
            return only
    kinds = [*kinds, float] if to_float else kinds
    return result_type(*kinds, floatx=dtype(DISPATCH.floatx()))


def record(op: Op, *values: Value | None) -> Any:
    """Apply an operator to IR values: a SymbolicTensor, or a tuple of them.

    Raises InferError, telling layer and line, where the operator refuses their types.
    """
    try:
        result = op(*values)
    except InferError as error:
        raise InferError(located(str(error))) from error
    return tuple(map(SymbolicTensor, result)) if isinstance(result, tuple) else SymbolicTensor(result)


def binary(op: Op, a: Any, b: Any, to_float: bool = False) -> Any:
    """An operator on two operands of any kind, both cast to their common dtype."""
    common = promoted(a, b, to_float=to_float)
    return DISPATCH.apply(op, (a, b), common)


def unary(op: Op, x: Any) -> Any:
    """An operator on one operand of any kind."""
    return DISPATCH.apply(op, (x,), None)


def _bits(logical: Op, bitwise: Op, a: Any, b: Any) -> Any:
    common = promoted(a, b)
    return DISPATCH.apply(logical if common.is_bool else bitwise, (a, b), common)

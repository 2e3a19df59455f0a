"""Which element types ONNX Runtime computes an ONNX operator in, and casting around the gaps.

Standard ONNX allows most operators for every numeric type, but ONNX Runtime's CPU provider has
kernels for some only. The table lists those of ONNX Runtime 1.17, the oldest that runs the default
opset; newer releases have more, and never fewer. float16 is left out of it: ONNX Runtime inserts
casts to float32 by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kcompile.ir.types import DType, Type, i32, i64
from kcompile.ir.types import dtype as as_dtype

_COMMON = frozenset({"f32", "f64", "i32", "i64"})
_ALL = frozenset({"bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"})
_NUMBERS = _ALL - {"bool"}

KERNELS: dict[str, frozenset[str]] = {
    "Add": _COMMON, "Sub": _COMMON, "Mul": _COMMON, "Div": _COMMON | {"u64"}, "Pow": _COMMON,
    "Mod": _NUMBERS, "Abs": _NUMBERS, "Sign": _NUMBERS, "Neg": _COMMON | {"i8"},
    "Max": _COMMON | {"u32", "u64"}, "Min": _COMMON | {"u32", "u64"},
    "Clip": _COMMON | {"i8", "u8", "u32", "u64"},
    "Equal": _COMMON | {"bool"}, "Less": _COMMON, "LessOrEqual": _COMMON, "Greater": _COMMON,
    "GreaterOrEqual": _COMMON, "Where": _COMMON | {"u8"}, "BitShift": frozenset({"u8", "u32", "u64"}),
    "ReduceSum": _COMMON, "ReduceProd": _COMMON, "ReduceMean": _COMMON, "ReduceLogSumExp": _COMMON,
    "ReduceMax": _COMMON | {"i8", "u8"}, "ReduceMin": _COMMON | {"i8", "u8"},
    "ArgMax": _COMMON | {"i8", "u8"}, "ArgMin": _COMMON | {"i8", "u8"}, "CumSum": _COMMON, "TopK": _COMMON,
    "Range": _COMMON, "Trilu": frozenset({"bool", "f32", "f64", "i64"}), "MatMul": _COMMON | {"u32", "u64"},
    "Pad": _COMMON | {"bool", "i8", "u8", "u32", "u64"}, "Expand": _ALL, "Tile": _ALL,
    "Einsum": _COMMON, "SpaceToDepth": frozenset({"f32", "f64"}), "DepthToSpace": frozenset({"f32", "f64"}),
}  # fmt: skip

_WIDER = {
    "bool": ("u8", "i32", "i64"), "i8": ("i32", "i64"), "i16": ("i32", "i64"), "u8": ("i32", "i64"),
    "u16": ("i32", "i64"), "i32": ("i64",), "u32": ("i64",), "bf16": ("f32",),
}  # fmt: skip

# uint64 wraps exactly as int64 does in these; where order matters nothing is wide enough.
_MODULAR = frozenset({"Add", "Sub", "Mul", "Where", "Equal", "ReduceSum", "ReduceProd", "CumSum"})


def kernel_dtype(op_type: str, wanted: DType) -> DType:
    """The dtype to compute ``op_type`` in: the wanted one, or a wider one that has a kernel."""
    known = KERNELS.get(op_type, _NUMBERS)
    if wanted.name in known or wanted.name == "f16":
        return wanted
    if wanted.name == "u64" and op_type in _MODULAR:
        return i64
    return next((as_dtype(name) for name in _WIDER.get(wanted.name, ()) if name in known), wanted)


def compute(
    o: Any,
    op_type: str,
    *xs: str,
    dtype: DType | None = None,
    form: Callable[..., Any] | None = None,
    back: bool = True,
) -> Any:
    """The ONNX node ``op_type`` on tensors of one dtype (default: that of the last operand that is there).

    Casts them to a dtype with a kernel and, unless ``back`` is False (a result of another dtype, as
    comparisons have), the result to the original. ``form`` writes the node where it takes more than the tensors.
    """
    given = dtype or _last(o.inputs)
    wide = kernel_dtype(op_type, given)
    write = form or partial(o.node, op_type)
    if wide is given:
        return write(*xs)
    result = write(*(o.cast(x, wide) for x in xs))
    return o.cast(result, given) if back else result


def torch_compute(t: Any, form: Callable[..., Any], *xs: Any, back: bool = True) -> Any:
    """``form(*xs)`` in torch, whose uint16 and uint32 have storage but no arithmetic.

    Casts them to a wider signed type and, where ``back``, the result to the original. (torch has
    no wider type for uint64 and refuses it itself.) Python numbers among ``xs`` stay.
    """
    given = _last(t.inputs)
    wide = {"u16": i32, "u32": i64}.get(given.name)
    if wide is None:
        return form(*xs)
    result = form(*(x if isinstance(x, (int, float)) else x.to(t.dtype(wide)) for x in xs))
    return result.to(t.dtype(given)) if back else result


def _last(types: tuple[Type | None, ...]) -> DType:
    return next(type.dtype for type in reversed(types) if type is not None)

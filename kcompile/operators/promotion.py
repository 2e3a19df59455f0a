"""The dtype of an operation on several dtypes: the rules of Keras 3, which are JAX's without 64 bits."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kcompile.ir.types import DType, bf16, bool_, dtype, f16, f32, f64

_NARROWED = {"i64": "i32", "u64": "u32", "f64": "f32"}


def result_type(*dtypes: DType | type | None, floatx: DType = f32) -> DType:
    """The common dtype of tensors' dtypes and of Python's ``int`` and ``float``, which are weak; None is ``floatx``.

    A weak number takes the dtype of the tensors it meets, unless it is a float and they are integers:
    then, as where there are only weak numbers, the result is a float of floatx's width (an integer
    of that width for ``int``). The result is never wider than 32 bits.
    """
    if not dtypes:
        return floatx
    weak = {d for d in dtypes if d is int or d is float}
    strong = {floatx if d is None else dtype(d) for d in dtypes if d not in weak}
    found = _join(strong, weak, floatx)
    return dtype(_NARROWED.get(found.name, found.name))


def _join(strong: set[DType], weak: Collection[object], floatx: DType) -> DType:
    floats = {d for d in strong if d.is_float}
    if floats:
        return _join_floats(floats)
    integers = {d for d in strong if d.is_integer}
    # The width alone counts: bfloat16 as floatx gives float16 here, as in Keras.
    if float in weak:
        return dtype(f"f{floatx.bits}")
    if integers:
        return _join_integers(integers) or dtype(f"f{floatx.bits}")
    return dtype(f"i{floatx.bits}") if int in weak else bool_


def _join_floats(floats: set[DType]) -> DType:
    if f64 in floats:
        return f64
    if f32 in floats or floats == {f16, bf16}:
        return f32
    return next(iter(floats))


def _join_integers(integers: set[DType]) -> DType | None:
    """The smallest integer that holds all; None where none does (uint64 with a signed one)."""
    signed = _widest(d for d in integers if d.kind == "int")
    unsigned = _widest(d for d in integers if d.kind == "uint")
    if not signed:
        return dtype(f"u{unsigned}")
    bits = max(signed, 2 * unsigned)
    return dtype(f"i{bits}") if bits <= 64 else None


def _widest(dtypes: Iterable[DType]) -> int:
    return max((d.bits for d in dtypes), default=0)

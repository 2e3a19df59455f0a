"""Element types and tensor types."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np

from kcompile.errors import InferError, ParseError, did_you_mean
from kcompile.ir.dim_text import parse_dim
from kcompile.ir.dims import Dim, DimLike, product, substitute, symbols_of


class DType:
    """An element type. ``name`` is the IR's (``f32``), ``keras`` the long one (``float32``)."""

    __slots__ = ("bits", "keras", "kind", "name")

    def __init__(self, name: str, keras: str, kind: str, bits: int):
        self.name, self.keras, self.kind, self.bits = name, keras, kind, bits

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Signed or unsigned; bool is not an integer here."""
        return self.kind in ("int", "uint")

    @property
    def is_bool(self) -> bool:
        return self.kind == "bool"

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; bfloat16 comes from ml_dtypes, which onnx installs."""
        if self.name == "bf16":
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        return np.dtype(self.keras)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype, (self.name,)


bool_ = DType("bool", "bool", "bool", 8)
i8, i16, i32, i64 = (DType(f"i{b}", f"int{b}", "int", b) for b in (8, 16, 32, 64))
u8, u16, u32, u64 = (DType(f"u{b}", f"uint{b}", "uint", b) for b in (8, 16, 32, 64))
f16, f32, f64 = (DType(f"f{b}", f"float{b}", "float", b) for b in (16, 32, 64))
bf16 = DType("bf16", "bfloat16", "float", 16)
OPAQUE = DType("opaque", "opaque", "opaque", 0)  # the element type of an OpaqueType; not one of ALL

ALL = (bool_, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64)
_BY_NAME = {d.name: d for d in ALL} | {d.keras: d for d in ALL}


def dtype(like: Any) -> DType:
    """The `DType` for an IR name, a Keras name, a numpy or torch dtype, or a Python type.

    Raises ParseError for anything else.
    """
    if isinstance(like, DType):
        return like
    if like is float:
        return f32
    if like is int:
        return i32
    if like is bool:
        return bool_
    text = like if isinstance(like, str) else str(getattr(like, "name", None) or like)
    text = text.removeprefix("torch.")
    found = _BY_NAME.get(text)
    # np.dtype(None) is float64.
    if found is None and like is not None:
        try:
            found = _BY_NAME.get(np.dtype(like).name)
        except TypeError:
            found = None
    if found is None:
        raise ParseError(f"unknown dtype {text!r}{did_you_mean(text, _BY_NAME)}")
    return found


class Type:
    """A tensor's element type and shape; each dim is an int of at least 0 or a `Dim`, else InferError."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: DType, shape: Iterable[DimLike]):
        self.dtype = dtype
        self.shape = tuple(d if isinstance(d, Dim) else index(d) for d in shape)
        if any(type(d) is int and d < 0 for d in self.shape):
            raise InferError(f"the shape [{', '.join(map(str, self.shape))}] has a negative size")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> DimLike:
        """Number of elements."""
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        """True where no dim is symbolic."""
        return all(isinstance(d, int) for d in self.shape)

    def symbols(self) -> set[str]:
        """Names of the symbols in the shape."""
        return set().union(*(symbols_of(d) for d in self.shape))

    def with_dtype(self, dtype: DType) -> Type:
        return Type(dtype, self.shape)

    def with_shape(self, shape: Iterable[DimLike]) -> Type:
        return Type(self.dtype, shape)

    def substitute(self, sizes: Mapping[str, DimLike]) -> Type:
        """The type with some symbols replaced by sizes."""
        return Type(self.dtype, [substitute(d, sizes) for d in self.shape])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and self.dtype is other.dtype and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((self.dtype.name, self.shape))

    def __repr__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class OpaqueType(Type):
    """What the IR has no type for: a tensor of unknown rank or of strings, a sequence, an optional.

    ``form`` is the owner's description of it as bytes (a serialised ONNX TypeProto; empty: nothing
    is known). Only opaque operators, inputs and outputs have values of such a type.
    """

    __slots__ = ("form",)

    def __init__(self, form: bytes):
        super().__init__(OPAQUE, ())
        self.form = form

    @property
    def is_static(self) -> bool:
        return False

    def substitute(self, sizes: Mapping[str, DimLike]) -> Type:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpaqueType) and self.form == other.form

    def __hash__(self) -> int:
        return hash(self.form)

    def __repr__(self) -> str:
        return f"{OPAQUE}[{base64.b64encode(self.form).decode()}]"


def type_of(array: np.ndarray) -> Type:
    """The type of a numpy array."""
    return Type(dtype(array.dtype), array.shape)


def parse_type(text: str) -> Type:
    """The type that ``repr`` wrote, such as ``f32[N, 2*H+1]``; raises ParseError."""
    name, bracket, rest = text.strip().partition("[")
    if not bracket or not rest.endswith("]"):
        raise ParseError(f"{text!r} is not a type such as f32[N, 4]")
    try:
        if name.strip() == OPAQUE.name:
            return OpaqueType(base64.b64decode(rest[:-1], validate=True))
        return Type(dtype(name.strip()), [parse_dim(d) for d in split_top(rest[:-1])])
    except (InferError, binascii.Error) as error:
        raise ParseError(str(error)) from error


def split_top(text: str, separator: str = ",") -> list[str]:
    """Split at separators outside of brackets and quotes; empty text gives no part."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for i, c in enumerate(text):
        if quote:
            if not escaped and c == quote:
                quote = ""
            escaped = c == "\\" and not escaped
        elif c in "\"'":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if text[start:].strip() or parts:
        parts.append(text[start:])
    return [p.strip() for p in parts]

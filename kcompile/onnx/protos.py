"""ONNX's types and the IR's, each as the other."""

from __future__ import annotations

from collections.abc import Callable

from onnx import TensorProto, TypeProto, helper

from kcompile.ir.dims import DimLike
from kcompile.ir.types import DType, OpaqueType, Type, dtype

ELEMENT_TYPES = {
    "bool": TensorProto.BOOL, "i8": TensorProto.INT8, "i16": TensorProto.INT16, "i32": TensorProto.INT32,
    "i64": TensorProto.INT64, "u8": TensorProto.UINT8, "u16": TensorProto.UINT16, "u32": TensorProto.UINT32,
    "u64": TensorProto.UINT64, "f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "f32": TensorProto.FLOAT,
    "f64": TensorProto.DOUBLE,
}  # fmt: skip
DTYPES: dict[int, DType] = {number: dtype(name) for name, number in ELEMENT_TYPES.items()}


def type_proto(type: Type) -> TypeProto:
    """The ONNX form of a type; symbolic dims by their text."""
    if isinstance(type, OpaqueType):
        return TypeProto.FromString(type.form)
    dims = [d if isinstance(d, int) else str(d) for d in type.shape]
    return helper.make_tensor_type_proto(ELEMENT_TYPES[type.dtype.name], dims)


def type_from(proto: TypeProto, dim: Callable[[TypeProto], DimLike]) -> Type:
    """The IR's type for an ONNX type; ``dim`` reads one of a shape's dimensions (a protobuf message)."""
    tensor = proto.tensor_type
    known = proto.HasField("tensor_type") and tensor.HasField("shape") and tensor.elem_type in DTYPES
    if not known:
        return OpaqueType(proto.SerializeToString(deterministic=True))
    return Type(DTYPES[tensor.elem_type], [dim(d) for d in tensor.shape.dim])

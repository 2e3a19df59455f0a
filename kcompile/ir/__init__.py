"""The intermediate representation: types, operators, values, graphs, their text and their checker."""

from kcompile.ir.dims import Dim, DimLike, symbol
from kcompile.ir.graph import Graph, input_value, is_leaf, weight
from kcompile.ir.op import Array, Constant, Input, Node, Op, Value, Weight, constant, origin, unsupported
from kcompile.ir.text import parse, show
from kcompile.ir.types import DType, Type, dtype, parse_type, type_of
from kcompile.ir.verify import verify

__all__ = [
    "Array", "Constant", "DType", "Dim", "DimLike", "Graph", "Input", "Node", "Op", "Type", "Value", "Weight",
    "constant", "dtype", "input_value", "is_leaf", "origin", "parse", "parse_type", "show", "symbol", "type_of",
    "unsupported", "verify", "weight",
]  # fmt: skip

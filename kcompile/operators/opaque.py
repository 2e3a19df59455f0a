"""ONNX nodes that the IR has no operator for, carried through whole."""

from __future__ import annotations

from typing import Any

from kcompile.ir.op import Array, Op, unsupported
from kcompile.ir.types import Type


class Opaque(Op, name="opaque"):
    """One ONNX node as it stood in a file: operands in, results of the types that the file gives them.

    ``form`` is the bytes of a NodeProto that holds nothing but attributes. The last
    ``captured`` operands are tensors that the node's subgraphs read from outside. Outputs at the
    positions ``left_out`` are not there. ``version`` is the operator set's; ``number`` keeps nodes
    apart that may not be merged (0: two equal ones are one), ``random`` says that it draws.
    """

    op_type: str
    domain: str
    version: int
    form: Array
    types: tuple[Type, ...]
    captured: int = 0
    left_out: tuple[int, ...] = ()
    number: int = 0
    random: bool = False

    def infer(self, *operands: Type | None) -> tuple[Type, ...]:
        return self.types

    torch = unsupported("torch has no such operator; run the ONNX file it came from")

    def onnx(self, o: Any, *operands: str | None) -> tuple[str, ...]:
        return o.opaque(self, operands)

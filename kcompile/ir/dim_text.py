"""Reads a dimension from its text."""

from __future__ import annotations

import ast

from kcompile.errors import ParseError
from kcompile.ir.dims import DimLike, floordiv, maximum, minimum, modulo, symbol


def parse_dim(text: str) -> DimLike:
    """The dimension that ``str(dim)`` wrote; raises ParseError."""
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body, text)
    except ParseError:
        raise
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise ParseError(f"{text[:100]!r} is not a dimension") from error


_BINARY = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: floordiv,
    ast.Mod: modulo,
}


def _from_ast(node: ast.AST, text: str) -> DimLike:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return symbol(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_from_ast(node.operand, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_from_ast(node.left, text), _from_ast(node.right, text))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 2:
        a, b = (_from_ast(x, text) for x in node.args)
        if node.func.id in ("max", "min"):
            return (maximum if node.func.id == "max" else minimum)(a, b)
    raise ParseError(f"{text!r} is not a dimension")

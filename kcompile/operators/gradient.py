"""Operators that only matter to gradients."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type


class StopGradient(Op, name="stop_gradient"):
    """x, through which no gradient flows back (ONNX: Identity, which the deploy pipeline removes)."""

    def infer(self, x: Type) -> Type:
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return x.detach()

    def onnx(self, o: Any, x: Any) -> Any:
        return x

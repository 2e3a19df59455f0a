"""Python's operators and indexing outside of a trace: the ops function of that name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import DType, Op
from kcompile.keras import backend
from kcompile.keras.ops import arrays, core, elementwise
from kcompile.keras.symbolic import call_function
from kcompile.tracing import tensor as trace_tensor

_FUNCTIONS = {**vars(arrays), **vars(elementwise)}
# Operators whose function has another name.
_NAMES = {"divide": "true_divide", "remainder": "mod", "mat_mul": "matmul", "bitwise_not": "bitwise_invert"}


def on_keras_tensors(op: Op, operands: Sequence[Any], common: DType | None) -> Any:
    """An operator on a functional model's tensors: the ops function becomes the node."""
    return call_function(_FUNCTIONS[_NAMES.get(op.name, op.name)], tuple(operands), {})


backend.FUNCTIONAL.operator = on_keras_tensors
trace_tensor.DISPATCH.getitem = core.getitem

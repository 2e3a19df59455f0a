"""How one call of an operator runs: recorded in a trace, as a node of a functional model, or in torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from kcompile.errors import MissingError, ParseError, printable
from kcompile.ir import DType, Op, dtype
from kcompile.keras import config, naming, tree
from kcompile.keras.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from kcompile.operators import promotion
from kcompile.tracing import tensor as trace_tensor
from kcompile.tracing import variable as trace_variable
from kcompile.tracing.scope import current_tracer
from kcompile.tracing.tensor import SymbolicTensor, lift, record
from kcompile.tracing.variable import Variable, to_numpy


def engine() -> ModuleType:
    """The room that runs torch; MissingError where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingError(
            "this needs PyTorch (training, and calling a model on real arrays, run in it): pip install 'kcompile[train]'"
        ) from error
    import kcompile.engine.eager as eager

    if _PENDING_SEED:
        eager.seed(_PENDING_SEED.pop())
    return eager


def devices() -> ModuleType:
    """What the engine knows of devices."""
    engine()
    import kcompile.engine.devices as found

    return found


def distributed() -> tuple[ModuleType, ModuleType]:
    """What the engine knows of other processes, and of variables that are split between them."""
    engine()
    import kcompile.engine.distributed as processes
    import kcompile.engine.shards as shards

    return processes, shards


def checkpoints() -> ModuleType:
    """Checkpoints that several processes write."""
    engine()
    import kcompile.engine.checkpoints as found

    return found


def launching() -> ModuleType:
    """How processes of a run are started, and what they leave."""
    engine()
    import kcompile.engine.launch as found

    return found


_PENDING_SEED: list[int] = []


def seed_engine(seed: int) -> None:
    """Seed torch's generators: now, or when torch is loaded (seeding must not load it)."""
    _PENDING_SEED[:] = [seed]
    if "torch" in sys.modules:
        engine()


def apply(op: Op, operands: Sequence[Any], common: DType | None = None) -> Any:
    """Run ``op`` on operands of any kind, cast to ``common`` first where given; None stays absent."""
    if current_tracer() is not None:
        return record(op, *(None if x is None else lift(x, common) for x in operands))
    if any(isinstance(x, SymbolicTensor) for x in operands):
        return FUNCTIONAL.operator(op, operands, common)
    return engine().apply(op, [_stored(x) for x in operands], common)


class Functional:
    """Filled in by `kcompile.keras.symbolic` and `kcompile.keras.ops`: calls on a functional model's tensors."""

    operator: Any = None


FUNCTIONAL = Functional()


def is_tensor(x: Any) -> bool:
    """True for symbolic tensors and torch tensors."""
    return isinstance(x, SymbolicTensor) or (hasattr(x, "detach") and hasattr(x, "dtype"))


def is_keras_tensor(x: Any) -> bool:
    """True for a tensor of a functional model under construction."""
    return hasattr(x, "_keras_history")


def clear_session(free_memory: bool = True) -> None:
    """Start automatic names anew."""
    naming.reset()


def get_uid(prefix: str = "") -> int:
    """1 the first time, then 2, ...: a count for each prefix, begun anew by `clear_session`."""
    return naming.count(prefix)


def is_array_like(x: Any) -> bool:
    """True for what becomes a tensor when a layer is called with it."""
    return isinstance(x, (SymbolicTensor, Variable, np.ndarray, np.generic)) or is_tensor(x)


def convert_to_tensor(x: Any, to: Any = None) -> Any:
    """``x`` as a tensor of the present mode, in the dtype ``to`` where given."""
    target = None if to is None else dtype(to)
    if isinstance(x, Variable):
        x = x.value
    if isinstance(x, SymbolicTensor) and (target is None or x.type.dtype is target):
        return x
    if current_tracer() is not None:
        mask = getattr(x, "_keras_mask", None)
        made = SymbolicTensor(lift(x, target))
        if mask is not None:
            made._keras_mask = mask  # type: ignore[attr-defined]
        return made
    if isinstance(x, SymbolicTensor):
        return cast_symbolic(x, target)
    eager = engine()
    return eager.to_tensor(x, target or _default(x), eager.asked())


def cast_symbolic(x: SymbolicTensor, target: DType | None) -> Any:
    from kcompile.keras import ops

    return x if target is None or x.type.dtype is target else ops.cast(x, target.keras)


def _default(x: Any) -> DType | None:
    """Python floats are floatx, Python ints int32, as in Keras; arrays keep their dtype."""
    if hasattr(x, "dtype"):
        return None
    kinds = {type(leaf) for leaf in tree.leaves(x)}
    if kinds == {bool}:
        return dtype("bool")
    if float in kinds:
        return dtype(config.floatx())
    return dtype("int32") if kinds == {int} else None


def dtype_of(x: Any) -> DType:
    """The IR dtype of anything that becomes a tensor."""
    if hasattr(x, "dtype"):
        return dtype(x.dtype)
    return _default(x) or dtype(np.asarray(x).dtype)


def shape_of(x: Any) -> tuple[Any, ...]:
    """Shape with ints and symbolic dims."""
    if isinstance(x, SymbolicTensor):
        return x.type.shape
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def convert_to_numpy(x: Any) -> np.ndarray:
    """A concrete tensor as a numpy array."""
    if isinstance(x, SymbolicTensor):
        x.__array__()
    return to_numpy(x)


def _stored(x: Any) -> Any:
    return x.value if isinstance(x, Variable) else x


def _read(variable: Variable, target: DType) -> Any:
    """Outside of a trace a variable reads as a torch tensor where torch is installed, else as numpy."""
    try:
        eager = engine()
    except MissingError:
        return trace_variable.Eager.read_numpy(variable, target)
    return eager.read_variable(variable, target)


def result_type(*dtypes: Any) -> str:
    """The dtype of an operation on these dtypes, Python's ``int`` and ``float``, and None for floatx."""
    kinds = [d if d in (None, int, float) else dtype(d) for d in dtypes]
    return promotion.result_type(*kinds, floatx=dtype(config.floatx())).keras


def standardize_dtype(dtype_name: Any) -> str:
    """A dtype's name: of None floatx, of Python's types, numpy's and torch's. Raises ValueError for an unknown one."""
    python = {bool: "bool", int: "int32", float: "float32", str: "string"}
    try:
        return config.floatx() if dtype_name is None else python.get(dtype_name) or dtype(dtype_name).keras
    except (ParseError, TypeError) as error:
        raise ValueError(f"Invalid dtype: {printable(dtype_name)}") from error


def is_float_dtype(dtype_name: Any) -> bool:
    """True for float16, bfloat16, float32, float64."""
    return dtype(standardize_dtype(dtype_name)).is_float


def is_int_dtype(dtype_name: Any) -> bool:
    """True for integers with and without sign."""
    return dtype(standardize_dtype(dtype_name)).is_integer


__all__ = [
    "Variable", "apply", "backend", "cast_symbolic", "checkpoints", "clear_session", "convert_to_numpy", "convert_to_tensor",
    "devices", "distributed", "dtype_of", "engine", "epsilon", "floatx", "get_uid", "image_data_format", "is_array_like",
    "is_float_dtype", "is_int_dtype", "is_keras_tensor", "is_tensor", "launching", "result_type", "seed_engine", "set_epsilon",
    "set_floatx", "set_image_data_format", "shape_of", "standardize_dtype",
]  # fmt: skip

trace_tensor.DISPATCH.apply = apply
trace_tensor.DISPATCH.floatx = config.floatx
trace_variable.EAGER.read = _read

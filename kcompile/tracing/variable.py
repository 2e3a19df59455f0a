"""`Variable`: a named array with a value that changes, as layers, optimizers and metrics hold it."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.ir import DType, dtype
from kcompile.tracing.scope import current_path, current_tracer
from kcompile.tracing.tensor import Operators, lift

_AUTOCAST: contextvars.ContextVar[DType | None] = contextvars.ContextVar("kcompile_autocast", default=None)
_COUNT = itertools.count()


@contextlib.contextmanager
def autocast(target: DType | None) -> Iterator[None]:
    """Float variables read within appear in this dtype (mixed precision); None switches it off."""
    token = _AUTOCAST.set(target)
    try:
        yield
    finally:
        _AUTOCAST.reset(token)


class Storage:
    """What holds a variable's value where this process has only a part of it; the whole is read array by array."""

    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The whole value."""
        raise NotImplementedError

    def write(self, array: np.ndarray) -> None:
        """Set the whole value."""
        raise NotImplementedError

    def held(self) -> Any:
        """What is here, as generated code uses it."""
        raise NotImplementedError


class Variable(Operators):
    """A mutable array.

    ``storage`` is a numpy array, or a torch tensor once the engine holds it. Inside a trace,
    reading gives a symbolic tensor and `assign` becomes an extra output of the graph.
    """

    def __init__(
        self,
        initializer: Any,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str = "none",
        synchronization: str = "auto",
        name: str | None = None,
    ):
        if isinstance(initializer, str) or (callable(initializer) and shape is None):
            raise UsageError("a Variable made from an initializer needs a shape and a callable initializer")
        wanted = _dtype(dtype if dtype is not None else _default_dtype(initializer))
        if callable(initializer):
            made = initializer(tuple(shape or ()), dtype=wanted.keras)
            # Its own array: not copied, so that zeros stay untouched memory.
            array = np.asarray(made if isinstance(made, np.ndarray) else to_numpy(made), dtype=wanted.numpy)
        else:
            array = np.asarray(to_numpy(initializer), dtype=wanted.numpy)
        if shape is not None and tuple(shape) != array.shape:
            raise UsageError(f"the variable's shape is {tuple(shape)}, its value has {array.shape}")
        self.name = name or f"variable_{next(_COUNT)}"
        scope = current_path()
        self.path = f"{scope}/{self.name}" if scope else self.name
        self._dtype = wanted
        self.storage: Any = array
        self.trainable = self.made_trainable = trainable
        self.autocast = autocast
        self.aggregation, self.synchronization = aggregation, synchronization
        self.regularizer: Any = None
        self.constraint: Any = None
        self.overwrite_with_gradient = False
        # What the host reads at each step (the state of seeds) stays there: reading it off a GPU would wait for it.
        self.on_host = False

    @property
    def dtype(self) -> str:
        """Keras's name of the dtype as layers see it, under autocast the compute dtype."""
        return self._cast_to().keras

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.storage.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _cast_to(self) -> DType:
        target = _AUTOCAST.get()
        return target if target is not None and self.autocast and self._dtype.is_float else self._dtype

    @property
    def value(self) -> Any:
        """The current value: symbolic inside a trace, else a torch tensor (numpy where torch is absent)."""
        tracer = current_tracer()
        if tracer is None:
            return EAGER.read(self, self._cast_to())
        with autocast(None):
            tensor = tracer.read(self)
        return tensor.astype(self._cast_to().keras)

    def numpy(self) -> np.ndarray:
        """A numpy copy of the stored value, as stored."""
        return to_numpy(self.storage)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if current_tracer() is not None:
            # An array would be the value of now, for ever.
            self.value.__array__()
        return np.asarray(self.numpy(), dtype=dtype)

    def __bool__(self) -> bool:
        raise TypeError(
            f"variable {self.path!r} can't be used as a boolean: compare it with None, or its `numpy()` with a number"
        )

    def __int__(self) -> int:
        return int(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def _number(self) -> Any:
        """The one number that it holds; a symbolic tensor, which refuses to be one, inside a trace."""
        if current_tracer() is not None:
            return self.value
        if self.ndim:
            raise TypeError(
                f"only a variable of shape () can become a Python number; {self.path!r} has shape {self.shape}"
            )
        return self.numpy()

    def assign(self, value: Any) -> Any:
        """Set the value (cast to the variable's dtype); returns it."""
        tracer = current_tracer()
        if tracer is not None:
            with autocast(None):
                tracer.assign(self, lift(value, self._dtype))
            return value
        EAGER.write(self, value)
        # Not `value` where it is still numpy: reading would move it to torch, and load torch for that.
        return self.storage if isinstance(self.storage, np.ndarray) else self.value

    def assign_add(self, value: Any) -> Any:
        with autocast(None):
            return self.assign(self + value)

    def assign_sub(self, value: Any) -> Any:
        with autocast(None):
            return self.assign(self - value)

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self._dtype.keras}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        copied = Variable(
            self.numpy(), dtype=self._dtype, trainable=self.trainable, autocast=self.autocast, name=self.name
        )
        copied.path, copied.regularizer, copied.constraint = self.path, self.regularizer, self.constraint
        memo[id(self)] = copied
        return copied


class Eager:
    """How variables are read and written outside of a trace; the Keras room installs torch's way."""

    read: Callable[[Variable, DType], Any]

    @staticmethod
    def read_numpy(variable: Variable, target: DType) -> Any:
        return variable.numpy().astype(target.numpy, copy=False)

    @staticmethod
    def write(variable: Variable, value: Any) -> None:
        """In place, so that whoever shares the storage (a torch module, say) sees the new value."""
        if _STATELESS.get():
            variable.storage = _apart(variable, value)
            return
        # From tensor to tensor as they are: both may be on a GPU.
        tensors = hasattr(value, "detach") and hasattr(variable.storage, "detach")
        array = value.detach() if tensors else to_numpy(value).astype(variable._dtype.numpy, copy=False)
        if tuple(array.shape) != variable.shape:
            raise UsageError(
                f"variable {variable.path!r} has shape {variable.shape}, it can't be assigned {tuple(array.shape)}"
            )
        if tensors:
            variable.storage.detach().copy_(array)
        elif isinstance(variable.storage, np.ndarray):
            variable.storage = np.array(array)
        elif isinstance(variable.storage, Storage):
            variable.storage.write(array)
        else:
            detached = variable.storage.detach()
            detached.copy_(type(detached).new_tensor(detached, array.astype(_torchable(array.dtype))))


EAGER = Eager()
EAGER.read = Eager.read_numpy


_STATELESS: contextvars.ContextVar[bool] = contextvars.ContextVar("kcompile_stateless", default=False)


@contextlib.contextmanager
def stateless(variables: Sequence[Variable], values: Sequence[Any]) -> Iterator[Callable[[], list[Any]]]:
    """Within, variables have these values; yields a function that gives those they have after assignments.

    Nothing is written into ``values`` and variables are as before once it is left. Torch tensors stay what they
    are, so that gradients find their way to them.
    """
    kept = [v.storage for v in variables]
    token = _STATELESS.set(True)
    try:
        for variable, value in zip(variables, values, strict=True):
            variable.storage = _apart(variable, value)
        yield lambda: [v.storage for v in variables]
    finally:
        _STATELESS.reset(token)
        for variable, storage in zip(variables, kept, strict=True):
            variable.storage = storage


def _apart(variable: Variable, value: Any) -> Any:
    """A value as storage of its own for the variable: a torch tensor as it is, others as an array."""
    value = value.storage if isinstance(value, Variable) else value
    found = value if hasattr(value, "detach") else np.array(value, dtype=variable._dtype.numpy)
    if tuple(found.shape) != variable.shape:
        raise UsageError(
            f"variable {variable.path!r} has shape {variable.shape}, it can't be given {tuple(found.shape)}"
        )
    return found


def to_numpy(x: Any) -> np.ndarray:
    """Any concrete array-like (numpy, torch, Variable, lists) as a numpy array that shares nothing."""
    if isinstance(x, Variable):
        x = x.storage
    if isinstance(x, Storage):
        return x.read()
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        if "bfloat16" in str(x.dtype):
            import ml_dtypes

            return x.float().numpy().astype(ml_dtypes.bfloat16)
        return x.numpy().copy()
    return np.array(x)


def _torchable(kind: np.dtype) -> Any:
    return np.float32 if kind.name == "bfloat16" else kind


def _dtype(name: Any) -> DType:
    return dtype(name)


def _default_dtype(value: Any) -> Any:
    if callable(value):
        return "float32"
    array = to_numpy(value)
    return "float32" if array.dtype == np.float64 and not isinstance(value, np.ndarray) else array.dtype

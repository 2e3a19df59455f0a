"""Operators, the nodes and values that they make, and where those came from.

An operator is an immutable value: a subclass of `Op` whose annotated fields are its attributes.
Calling it on values infers the result types and returns the result (a tuple for several)::

    class Elu(Op, name="elu"):
        alpha: float = 1.0

        def infer(self, x): ...

    y = Elu(alpha=0.5)(x)

Nodes are immutable too. Nothing is recorded when a node is made; a `Graph` is built from its
outputs, and building one makes equal nodes the same node (hash-consing).
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import numpy as np

from kcompile.errors import GraphError, InferError, did_you_mean
from kcompile.ir.dims import Dim
from kcompile.ir.types import Type

if TYPE_CHECKING:
    from kcompile.ir.graph import Graph

_SERIAL = itertools.count()
_ORIGIN: contextvars.ContextVar[str] = contextvars.ContextVar("kcompile_origin", default="")


def current_origin() -> str:
    """The layer path that new nodes are given, such as ``encoder/attention``."""
    return _ORIGIN.get()


@contextlib.contextmanager
def origin(path: str) -> Iterator[None]:
    """Nodes made within have this origin; an empty path leaves the outer one."""
    token = _ORIGIN.set(path or _ORIGIN.get())
    try:
        yield
    finally:
        _ORIGIN.reset(token)


class Unsupported:
    """A facet that can't exist; ``reason`` says why, and what to do instead."""

    def __init__(self, reason: str):
        self.reason = reason


def unsupported(reason: str) -> Any:
    """Marks a facet as impossible: ``onnx = unsupported("ONNX has no SVD; ...")``."""
    return Unsupported(reason)


class _Required:
    def __repr__(self) -> str:
        return "<required>"


_REQUIRED: Any = _Required()


@dataclass_transform(frozen_default=True)
class Op:
    """Base of all operators: fields are attributes of the operator, methods are its facets.

    Facets of a subclass: ``infer(self, *types)`` always; then ``torch(self, t, *xs)`` and
    ``onnx(self, o, *xs)``, or ``decompose(self, *values)``, or `unsupported` in their place.
    An operand may be absent: its type, value, tensor and name are then None.
    """

    name: ClassVar[str] = ""
    fields: ClassVar[dict[str, Any]] = {}
    torch: ClassVar[Any] = None
    onnx: ClassVar[Any] = None
    decompose: ClassVar[Any] = None
    # True: the torch facet looks at real sizes or values (a Python loop over time, say), so the
    # lowering calls it at run time instead of recording what it does.
    torch_opaque: ClassVar[bool] = False
    # True: the torch facet takes Python numbers in place of rank-0 constants, which torch runs faster.
    torch_scalars: ClassVar[bool] = False
    # The first opset that has what the onnx facet writes; below it the decomposition is used.
    onnx_since: ClassVar[int] = 0
    _key: ClassVar[Any]  # set for each operator: what equality compares
    _hash: ClassVar[int]

    def __init_subclass__(cls, name: str = "", **kwargs: Any):
        super().__init_subclass__(**kwargs)
        own = {
            key: cls.__dict__.get(key, _REQUIRED)
            for key, kind in inspect.get_annotations(cls).items()
            if "ClassVar" not in str(kind)
        }
        cls.fields = {**cls.fields, **own}
        cls.name = name or cls.name

    def __init__(self, *args: Any, **kwargs: Any):
        if len(args) > len(self.fields):
            raise TypeError(f"{self.name} takes {len(self.fields)} attributes, got {len(args)}")
        given = dict(zip(self.fields, args, strict=False))
        for key, value in kwargs.items():
            if key not in self.fields or key in given:
                hint = did_you_mean(key, self.fields)
                raise TypeError(f"{self.name} has no attribute {key!r}{hint}, or got it twice")
            given[key] = value
        values = []
        for key, default in self.fields.items():
            value = given.get(key, default)
            if value is _REQUIRED:
                raise TypeError(f"{self.name} needs the attribute {key!r}")
            value = freeze(value)
            object.__setattr__(self, key, value)
            values.append(value)
        identity = (type(self), tuple(map(_exact, values)))
        object.__setattr__(self, "_key", identity)
        object.__setattr__(self, "_hash", hash(identity))

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Op) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.attributes())

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.changed().items())
        return f"{self.name}({shown})"

    def attributes(self) -> dict[str, Any]:
        """All fields with their values."""
        return {key: getattr(self, key) for key in self.fields}

    def changed(self) -> dict[str, Any]:
        """Fields whose value is not the default."""
        return {k: v for k, v in self.attributes().items() if _exact(v) != _exact(freeze(self.fields[k]))}

    def runs_opaque(self, operands: Sequence[Any]) -> bool:
        """Whether the torch facet is to run on tensors, not to be recorded, with these operands (None: absent)."""
        return self.torch_opaque

    def fault(self, *operands: Any) -> str:
        """Why these operands (arrays; None: absent or not known) made a run fail, for its message; empty where nothing is seen.

        Of operands that hold no integers only the shape is right.
        """
        return ""

    def replace(self, **changes: Any) -> Any:
        """The same operator with some fields changed."""
        return type(self)(**{**self.attributes(), **changes})

    def require(self, condition: bool, message: str) -> None:
        """Raise InferError with the operator's name unless ``condition``."""
        if not condition:
            raise InferError(f"{self.name}: {message}")

    def infer(self, *types: Any) -> Any:
        """Result type (a tuple for several) from the operands' types; raises InferError."""
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def __call__(self, *inputs: Value | None) -> Any:
        """Apply to values; returns the result Value, or a tuple where the operator has several."""
        types = self.infer(*(None if v is None else v.type for v in inputs))
        several = isinstance(types, tuple)
        node = Node(self, inputs, types if several else (types,), current_origin())
        return node.results if several else node.results[0]


class Node:
    """An operator applied to values. Compared by identity; see `Graph` for hash-consing."""

    __slots__ = ("__weakref__", "inputs", "op", "origin", "results", "serial", "types")

    def __init__(self, op: Op, inputs: tuple[Value | None, ...], types: tuple[Type, ...], origin: str):
        self.op, self.inputs, self.types, self.origin = op, tuple(inputs), types, origin
        self.results = tuple(Value(self, i) for i in range(len(types)))
        # Grows with every node made: tells what a region computes itself from what it captures.
        self.serial = next(_SERIAL)

    def __repr__(self) -> str:
        return f"<{self.op!r} : {', '.join(map(repr, self.types))}  # {self.origin}>"


class Value:
    """One result of a node."""

    __slots__ = ("__weakref__", "index", "node")

    def __init__(self, node: Node, index: int):
        self.node, self.index = node, index

    @property
    def op(self) -> Op:
        return self.node.op

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        return self.node.inputs

    @property
    def origin(self) -> str:
        return self.node.origin

    @property
    def type(self) -> Type:
        return self.node.types[self.index]

    def __repr__(self) -> str:
        return repr(self.node) if len(self.node.types) == 1 else f"{self.node!r}[{self.index}]"


class Array:
    """A numpy array as an attribute: equal by dtype, shape and bytes."""

    __slots__ = ("_hash", "data")

    def __init__(self, data: Any):
        array = np.asarray(data)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        # A read-only view is no promise: what it looks at may still change.
        if array.flags.writeable or not array.flags.owndata:
            array = np.array(array, order="C", copy=True)
            array.flags.writeable = False
        self.data = array
        self._hash = hash((str(array.dtype), array.shape, array.tobytes()))

    def __eq__(self, other: object) -> bool:
        # Bytes, not values: NaN equals itself and 0.0 is not -0.0.
        return isinstance(other, Array) and (
            self._hash == other._hash
            and self.data.dtype == other.data.dtype
            and self.data.shape == other.data.shape
            and self.data.tobytes() == other.data.tobytes()
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # Hashes of text differ from process to process, so the hash does not travel.
        return Array, (self.data,)

    def __repr__(self) -> str:
        return f"Array({self.data.dtype}{list(self.data.shape)})"


class Input(Op, name="input"):
    """A graph's input."""

    label: str
    type: Type

    def infer(self) -> Type:
        return self.type


class Weight(Op, name="weight"):
    """A named array that training may change; the graph holds its content beside the text."""

    label: str
    type: Type

    def infer(self) -> Type:
        return self.type


class Constant(Op, name="constant"):
    """An array known when the graph is made."""

    value: Array

    def infer(self) -> Type:
        from kcompile.ir.types import type_of

        return type_of(self.value.data)


def constant(data: Any, dtype: Any = None) -> Value:
    """A constant value from an array, a number or a nested list."""
    return Constant(Array(np.asarray(data, dtype=None if dtype is None else dtype.numpy)))()


def freeze(value: Any) -> Any:
    """``value`` as a hashable attribute: lists become tuples, arrays `Array`, numpy numbers Python's."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(v) for v in value)
    if isinstance(value, np.ndarray):
        return Array(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def _exact(value: Any) -> Any:
    """What stands for an attribute in comparisons: 1, 1.0 and True differ, so do 0.0 and -0.0; NaN equals NaN."""
    if isinstance(value, tuple):
        return tuple(map(_exact, value))
    if isinstance(value, float):
        return float, value.hex()
    return type(value), value


def _rebuild(kind: type[Op], attributes: dict[str, Any]) -> Op:
    return kind(**attributes)


def sub_graphs(op: Op) -> list[Graph]:
    """The graphs among an operator's attributes (its regions)."""
    from kcompile.ir.graph import Graph

    return [v for v in op.attributes().values() if isinstance(v, Graph)]


def single(value: Any) -> Value:
    """The value itself; raises GraphError where an operator gave several."""
    if not isinstance(value, Value):
        raise GraphError(f"expected one value, got {value!r}")
    return value


def symbols_in(attribute: Any) -> set[str]:
    """Names of the symbolic sizes in an operator's attribute (or in a whole operator)."""
    if isinstance(attribute, Op):
        return set().union(*map(symbols_in, attribute.attributes().values()))
    if isinstance(attribute, Dim):
        return attribute.symbols()
    if isinstance(attribute, Type):
        return attribute.symbols()
    if isinstance(attribute, tuple):
        return set().union(*map(symbols_in, attribute))
    return set()

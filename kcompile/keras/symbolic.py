"""The tensors and nodes of functional models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from kcompile.ir import Dim, Type, input_value
from kcompile.ir.dims import substitute, symbol
from kcompile.ir.shapes import known
from kcompile.keras import naming, tree
from kcompile.tracing.tensor import SymbolicTensor
from kcompile.tracing.tracer import Tracer

_COUNT = itertools.count()


class KerasTensor(SymbolicTensor):
    """A tensor of a functional model under construction; knows the node that makes it.

    ``shape`` shows None for sizes that are not known, as Keras does; `ops.shape` gives symbols.
    """

    def __init__(self, type: Type, name: str | None = None):
        number = next(_COUNT)
        super().__init__(input_value(f"keras_tensor_{number}", type))
        self.name = name or f"keras_tensor_{number}"
        self._keras_history: tuple[FunctionalNode, int] | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        return user_shape(self.type)

    def astype(self, to: Any) -> Any:
        from kcompile.keras import ops

        return ops.cast(self, to)

    @property
    def T(self) -> Any:
        from kcompile.keras import ops

        return ops.transpose(self)

    def __iter__(self) -> Any:
        # Of a known number too: Keras has it so.
        raise NotImplementedError("Iterating over a symbolic KerasTensor is not supported.")

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


def user_shape(type: Type) -> tuple[int | None, ...]:
    """A shape as Keras shows it: None for a symbolic dim."""
    return known(type.shape)


class FunctionalNode:
    """One call of a layer or an ops function in a functional model: ``operation(*args, **kwargs)``."""

    def __init__(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any):
        self.operation, self.args, self.kwargs, self.outputs = operation, args, kwargs, outputs
        for i, tensor in enumerate(tree.leaves(outputs)):
            tensor._keras_history = (self, i)

    @property
    def input_tensors(self) -> list[KerasTensor]:
        """KerasTensors among the arguments, in order."""
        return [x for x in tree.leaves((self.args, self.kwargs)) if isinstance(x, KerasTensor)]

    @property
    def parents(self) -> list[FunctionalNode]:
        """The nodes that make this node's inputs."""
        return [t._keras_history[0] for t in self.input_tensors if t._keras_history is not None]


class OpCall:
    """An ops function as the operation of a node; ``name`` is unique, ``function`` is what to call."""

    def __init__(self, function: Callable[..., Any], name: str | None = None):
        self.function = function
        known = {"getitem": "get_item"}.get(function.__name__, function.__name__)
        self.name = name or naming.auto_name(naming.to_snake_case(known))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def symbolic_outputs(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call would give, as new KerasTensors: the call is traced once for its types."""
    with Tracer().scope():
        plain = tree.map_structure(_plain, (args, kwargs))
        result = function(*plain[0], **plain[1])
    return tree.map_structure(_fresh, result)


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An ops function called on a functional model's tensors."""
    outputs = symbolic_outputs(function, args, kwargs)
    FunctionalNode(OpCall(function), args, kwargs, outputs)
    return outputs


def has_keras_tensor(*structures: Any) -> bool:
    """True where any leaf is a KerasTensor."""
    return any(isinstance(x, KerasTensor) for x in tree.leaves(structures))


def dims_between(before: Sequence[Type], after: Sequence[Type]) -> dict[str, Any]:
    """What the symbols of ``before`` are in ``after``, dim by dim."""
    sizes: dict[str, Any] = {}
    for a, b in zip(before, after, strict=True):
        for x, y in zip(a.shape, b.shape, strict=False):
            if isinstance(x, Dim) and x.name is not None:
                sizes.setdefault(x.name, y)
    return sizes


def replay(structure: Any, tensors: dict[int, Any], sizes: dict[str, Any]) -> Any:
    """Arguments of a node with KerasTensors replaced by ``tensors`` (by id) and sizes by the present ones."""

    def change(x: Any) -> Any:
        if isinstance(x, KerasTensor):
            return tensors[id(x)]
        return substitute(x, sizes) if isinstance(x, Dim) else x

    return tree.map_structure(change, structure)


def new_symbol(letter: str, taken: set[str]) -> Dim:
    """A size called ``letter``, or ``letter1``, ... where that is taken."""
    name, count = letter, 0
    while name in taken:
        count += 1
        name = f"{letter}{count}"
    taken.add(name)
    return symbol(name)


def fresh_symbol(letter: str) -> Dim:
    """A size that no other tensor shares."""
    return symbol(f"{letter}_{next(_COUNT)}")


def dim_letters(rank: int) -> list[str]:
    """Names of the axes of an input of this rank, from the second on: T for sequences, H and W for images."""
    named = {2: ["T"], 3: ["T", "C"], 4: ["H", "W", "C"], 5: ["D", "H", "W", "C"]}
    return named.get(rank, [f"D{i}" for i in range(1, max(rank, 1))])


def _plain(x: Any) -> Any:
    if isinstance(x, KerasTensor):
        made = SymbolicTensor(x.value)
        mask = getattr(x, "_keras_mask", None)
        if mask is not None:
            made._keras_mask = SymbolicTensor(mask.value)  # type: ignore[attr-defined]
        return made
    return x


def _fresh(x: Any) -> Any:
    if not isinstance(x, SymbolicTensor):
        return x
    made = KerasTensor(x.type)
    mask = getattr(x, "_keras_mask", None)
    if mask is not None:
        made._keras_mask = KerasTensor(mask.type)  # type: ignore[attr-defined]
    return made

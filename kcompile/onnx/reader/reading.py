"""What a function that reads one ONNX operator gets, and how it says no."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from kcompile.ir import DType, Type, Value, constant
from kcompile.onnx.protos import DTYPES
from kcompile.operators.kernels import KERNELS, kernel_dtype
from kcompile.operators.shape import Transpose
from kcompile.operators.windows import to_first, to_last


class Decline(Exception):  # noqa: N818 - not an error: the node is carried through whole
    """Raised by a reader for a form of its operator that the IR has not; says why."""


def decline(reason: str) -> NoReturn:
    """Raise `Decline`."""
    raise Decline(reason)


def require(condition: bool, reason: str) -> None:
    """Decline with the reason unless ``condition``."""
    if not condition:
        raise Decline(reason)


class Call:
    """One node: operands, attributes, and what is known of the operands' contents.

    ``version`` is the operator set's. ``call[i]`` is an operand, which has to be there; ``get(i)``
    is None where it is absent.
    """

    def __init__(
        self,
        op_type: str,
        version: int,
        operands: Sequence[Value | None],
        attributes: Mapping[str, Any],
        wanted: Sequence[bool],
        contents: Callable[[Value], np.ndarray | None],
        sizes: Callable[[Value], np.ndarray | None],
        turned: bool = False,
    ):
        self.op_type, self.version, self.operands = op_type, version, tuple(operands)
        self.attributes, self.wanted = attributes, tuple(wanted)
        self._contents, self._sizes = contents, sizes
        self._asked: set[str] = set()
        self._turned = turned

    def __getitem__(self, i: int) -> Value:
        value = self.get(i)
        return decline(f"operand {i} is absent") if value is None else value

    def get(self, i: int) -> Value | None:
        """Operand ``i`` or None."""
        return self.operands[i] if i < len(self.operands) else None

    def type(self, i: int) -> Type:
        """The type of an operand that has to be there."""
        return self[i].type

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute: a number, text, a list of them, an array."""
        self._asked.add(name)
        return self.attributes.get(name, default)

    def ignore(self, *names: str) -> None:
        """These attributes make no difference to the results that are used."""
        self._asked.update(names)

    def finish(self) -> None:
        """Decline where the node has an attribute that the reader did not ask for."""
        for name in self.attributes:
            require(name in self._asked, f"the attribute {name}")

    def plain(self, **defaults: Any) -> None:
        """Decline unless these attributes have these values or are absent."""
        for name, value in defaults.items():
            require(self.attr(name, value) == value, f"{name} is {self.attr(name)}")

    def content(self, i: int) -> np.ndarray | None:
        """What operand ``i`` holds where that is known."""
        value = self.get(i)
        return None if value is None else self.known(value)

    def known(self, value: Value) -> np.ndarray | None:
        """What any value holds where that is known."""
        return self._contents(value)

    def held(self, value: Value) -> np.ndarray | None:
        """The sizes that any tensor of integers holds where they are known."""
        return self._sizes(value)

    def array(self, i: int, what: str = "") -> np.ndarray:
        """The content of an operand, which has to be known."""
        found = self.content(i)
        return decline(f"{what or f'operand {i}'} is not known before the model runs") if found is None else found

    def ints(self, i: int, what: str = "") -> list[int]:
        """The integers that an operand holds, which have to be known."""
        return [int(v) for v in self.array(i, what).reshape(-1)]

    def sizes(self, i: int, what: str = "") -> list[Any]:
        """The integers that an operand holds, as sizes of the IR: ints or symbolic."""
        value = self[i]
        found = self._sizes(value)
        return decline(f"{what or f'operand {i}'} is computed") if found is None else found.reshape(-1).tolist()

    def dtype(self, number: int) -> DType:
        """The element type of that number, which has to be one of the IR's."""
        return DTYPES[number] if number in DTYPES else decline("the IR has no such element type")

    def on_image(self, op: Callable[[str], Any], *others: Value | None) -> Value:
        """``op(data_format)`` on the image that is operand 0, and on ``others``.

        In a file whose convolutions stand between Transposes it is read as channels_last between
        Transposes of its own, which meet those of the file and cancel; the layout pass then decides.
        """
        x = self[0]
        if not self._turned or x.type.rank < 3:
            return op("channels_first")(x, *others)
        turned = Transpose(to_last(x.type.rank))(x)
        return Transpose(to_first(x.type.rank))(op("channels_last")(turned, *others))

    def single(self) -> None:
        """Decline where more than the first result is used."""
        require(not any(self.wanted[1:]), "more than its first result is used")


def same_kernel(op_type: str, type: Type) -> None:
    """Decline where the IR would compute the operator in a wider dtype, with casts around it."""
    if op_type in KERNELS and kernel_dtype(op_type, type.dtype) is not type.dtype:
        decline(f"{op_type} of {type.dtype} would be computed in a wider type")
    require(type.dtype.name != "bf16", "bfloat16 would be computed in a wider type")


def like(number: float, value: Value) -> Value:
    """A scalar of the dtype of ``value``."""
    return constant(number, value.type.dtype)


Function = Callable[[Call], "Value | tuple[Value | None, ...]"]


@dataclass(frozen=True)
class Reading:
    """A function that reads ONNX operators of the names ``op_types``."""

    op_types: tuple[str, ...]
    function: Function


def reads(*op_types: str) -> Callable[[Function], Reading]:
    """Makes a `Reading` of a function of a `Call`."""
    return lambda function: Reading(op_types, function)

"""Element types, tensor types and shape rules."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest

from kcompile.errors import InferError, ParseError
from kcompile.ir import Type, dtype, parse_type, symbol, type_of
from kcompile.ir.shapes import broadcast, normal_axes, normal_axis, same_dim
from kcompile.ir.types import ALL, split_top

N, T = symbol("N"), symbol("T")
F32 = dtype("f32")


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_every_dtype_by_all_its_names(kind: object) -> None:
    names = [kind, kind.name, kind.keras, kind.numpy, np.zeros((), kind.numpy).dtype, f"torch.{kind.keras}"]  # type: ignore[attr-defined]
    assert all(dtype(n) is kind for n in names)
    assert kind.numpy.itemsize * 8 == kind.bits  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert [kind.is_float, kind.is_integer, kind.is_bool].count(True) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("like", "name"),
    [(float, "f32"), (int, "i32"), (bool, "bool"), (np.float16, "f16"), (ml_dtypes.bfloat16, "bf16"), (">f4", "f32")],
)
def test_dtype_of_python_and_numpy_types(like: object, name: str) -> None:
    assert dtype(like).name == name


@pytest.mark.parametrize("like", ["float23", "complex64", "str", "", None, object(), np.complex64, "f 32"])
def test_unknown_dtype(like: object) -> None:
    with pytest.raises(ParseError, match="unknown dtype"):
        dtype(like)


def test_unknown_dtype_names_the_closest() -> None:
    with pytest.raises(ParseError, match="did you mean 'float32'"):
        dtype("floot32")


@pytest.mark.parametrize(
    "type", [Type(F32, ()), Type(F32, (3, 0)), Type(dtype("bf16"), (N, 2 * T + 1, (N - 1) // 2)), Type(F32, (N // T,))]
)
def test_type_reads_back_and_pickles(type: Type) -> None:
    assert parse_type(str(type)) == type == pickle.loads(pickle.dumps(type))
    assert hash(parse_type(str(type))) == hash(type)


@pytest.mark.parametrize("text", ["f32", "f32[", "f32[N", "f33[2]", "[2]", "f32[a b]", "f32[-3]", "f32[2.5]", ""])
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(ParseError):
        parse_type(text)


def test_sizes_are_integers_of_at_least_zero() -> None:
    with pytest.raises(InferError, match=r"\[2, -1\] has a negative size"):
        Type(F32, (2, -1))
    with pytest.raises(TypeError):
        Type(F32, (2.5,))  # type: ignore[arg-type]
    assert Type(F32, (np.int64(3),)).shape == (3,) and type(Type(F32, (np.int64(3),)).shape[0]) is int


def test_type_helpers() -> None:
    type = Type(F32, (N, 2, T))
    assert (type.rank, type.size, type.is_static, type.symbols()) == (3, 2 * N * T, False, {"N", "T"})
    assert type.substitute({"N": 3}) == Type(F32, (3, 2, T))
    assert type.with_dtype(dtype("i8")).with_shape([1]) == Type(dtype("i8"), (1,))
    assert type_of(np.zeros((2, 0), np.uint8)) == Type(dtype("u8"), (2, 0))


@pytest.mark.parametrize(
    ("shapes", "result"),
    [
        (((), ()), ()), (((3,), ()), (3,)), (((2, 1), (1, 3)), (2, 3)), (((0,), (1,)), (0,)), (((N, 1), (T,)), (N, T)),
        (((N,), (4,)), (4,)), (((N,), (1,)), (N,)), (((2, N), (2, N), (N,)), (2, N)), (((5,), (2, 1, 1)), (2, 1, 5)),
    ],
)  # fmt: skip
def test_broadcast(shapes: tuple, result: tuple) -> None:
    assert broadcast(*shapes) == result


def test_broadcast_of_two_sizes_is_the_larger() -> None:
    assert str(broadcast((N,), (T,))[0]) == "max(N, T)"


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((0,), (2,)), ((N, 2), (N, 3))])
def test_no_broadcast(shapes: tuple) -> None:
    with pytest.raises(InferError, match=r"shapes \(.*\), \(.*\) don't broadcast"):
        broadcast(*shapes)


def test_same_dim() -> None:
    assert [same_dim(3, 3, "x"), same_dim(N, 3, "x"), same_dim(3, N, "x"), same_dim(N, T + 1, "x")] == [3, 3, 3, N]
    with pytest.raises(InferError, match="inner: sizes 3 and 4 differ"):
        same_dim(3, 4, "inner")


def test_axes() -> None:
    assert (
        normal_axis(-1, 3) == 2
        and normal_axes(None, 2) == (0, 1)
        and normal_axes((-1, 0), 3) == (0, 2)
        and normal_axes(1, 2) == (1,)
    )
    for wrong in (3, -4):
        with pytest.raises(InferError, match=f"axis {wrong} is outside"):
            normal_axis(wrong, 3)
    with pytest.raises(InferError, match="repeat"):
        normal_axes((0, -3), 3)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ("f(a, b), [c, d]", ["f(a, b)", "[c, d]"]),
        ('"x, \\" y", z', ['"x, \\" y"', "z"]),
    ],
)
def test_split_top(text: str, parts: list[str]) -> None:
    assert split_top(text) == parts

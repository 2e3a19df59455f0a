"""Operators as values: attributes, equality, immutability."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import Array, Op, Type, constant, dtype, input_value, origin, symbol
from kcompile.ir.op import current_origin, single, symbols_in
from kcompile.operators.activation import Elu, Relu
from kcompile.operators.creation import Fill
from kcompile.operators.shape import Transpose
from tests.ir.strategies import Mixed

F32 = dtype("f32")
N = symbol("N")


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True, np.float32(0.1), float(np.float32(0.1)) + 1e-9),
        (0, False, 0.0, -0.0, None),
        ((1, 2), (1.0, 2), (True, 2), ((1, 2),), ()),
        ("1", 1, N, N + 1, F32, Type(F32, ())),
        (float("nan"), float("inf"), -float("inf")),
        (np.zeros(2), -np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.array([np.nan, 0])),
    ],
)
def test_different_attributes_are_different_operators(values: tuple) -> None:
    ops = [Mixed(v) for v in values]
    assert len(set(ops)) == len(ops)


@pytest.mark.parametrize(
    "value", [1, -0.0, float("nan"), (1, (2.0, None)), [1, [2]], "x", N, F32, np.arange(3), np.float32(2)]
)
def test_equal_attributes_are_equal_operators(value: object) -> None:
    copy = pickle.loads(pickle.dumps(Mixed(value)))
    assert Mixed(value) == copy and hash(Mixed(value)) == hash(copy)
    assert len({Mixed(value), Mixed(value)}) == 1


def test_attributes_positions_names_defaults() -> None:
    assert Elu(0.5) == Elu(alpha=0.5) != Elu()
    assert Elu(0.5).replace(alpha=1.0) == Elu()
    assert Elu(1.0).changed() == {} and Elu(0.5).changed() == {"alpha": 0.5} and Elu(0.5).attributes() == {"alpha": 0.5}
    assert Mixed(-0.0).changed() == {"value": -0.0} and repr(Elu(0.5)) == "elu(alpha=0.5)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Elu(alpa=1.0), "elu has no attribute 'alpa' .did you mean 'alpha'.*"),
        (lambda: Elu(1.0, alpha=1.0), "or got it twice"),
        (lambda: Elu(1.0, 2.0), "takes 1 attributes, got 2"),
        (lambda: Transpose(), "transpose needs the attribute 'perm'"),
    ],
)
def test_wrong_attributes(make: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()  # type: ignore[operator]


def test_operators_are_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Elu().alpha = 2.0  # type: ignore[misc]


def test_call_infers_and_keeps_the_origin() -> None:
    x = input_value("x", Type(F32, (N, 2)))
    with origin("outer"), origin(""), origin("inner"):
        y = Relu()(x)
    assert (y.type, y.origin, y.inputs, y.op, current_origin()) == (x.type, "inner", (x,), Relu(), "")
    with pytest.raises(InferError, match="relu: "):
        Relu()(constant(np.zeros(2, bool)))


def test_several_results_are_a_tuple() -> None:
    a, b = Mixed()()
    assert a.node is b.node and (a.index, b.index) == (0, 1) and repr(b).endswith("[1]")
    assert single(a) is a
    with pytest.raises(ValueError, match="expected one value"):
        single((a, b))


def test_arrays_can_not_change() -> None:
    data = np.arange(3.0)
    array, view = Array(data), Array(np.broadcast_to(data, (2, 3)))
    data[:] = 7
    assert array.data.tolist() == [0, 1, 2] and view.data.tolist() == [[0, 1, 2]] * 2
    with pytest.raises(ValueError, match="read-only"):
        array.data[0] = 1
    assert Array(np.arange(3, dtype=">f4")) == Array(np.arange(3, dtype="<f4"))
    assert Array(array.data).data is array.data, "what is safe is not copied"


def test_symbols_in_attributes() -> None:
    assert symbols_in(Fill((N, 2 * symbol("T")), 0.0, F32)) == {"N", "T"}
    assert symbols_in(Mixed(Type(F32, (N,)))) == {"N"} and symbols_in(Mixed((1, "x", None))) == set()


def test_annotations_that_are_class_variables_are_no_fields() -> None:
    assert set(Op.fields) == set() and set(Elu.fields) == {"alpha"}

"""What holds for every operator: facets, documentation, a place in a test table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kcompile.ir import Constant, Input, Weight
from kcompile.ir.op import Op, Unsupported
from kcompile.operators.registry import FAMILIES, OPERATORS, operators_of

COMPUTING = [cls for cls in OPERATORS.values() if cls not in (Input, Weight, Constant)]
every = pytest.mark.parametrize("operator", COMPUTING, ids=[cls.name for cls in COMPUTING])


@every
def test_an_operator_has_both_facets_or_a_decomposition_or_says_why_not(operator):
    assert operator.infer is not Op.infer
    for facet in ("torch", "onnx"):
        given = getattr(operator, facet)
        refused = isinstance(given, Unsupported) and len(given.reason) > 20
        assert callable(given) or callable(operator.decompose) or refused, f"{operator.name} has no {facet} facet"


@every
def test_an_operator_is_documented_in_a_sentence(operator):
    own = operator.__dict__.get("__doc__") or ""
    assert own.strip().partition("\n")[0].rstrip().endswith((".", ":")), f"{operator.name}: {own!r}"


@every
def test_a_lower_opset_has_a_decomposition(operator):
    assert not operator.onnx_since or callable(operator.decompose)


def test_names_are_unique_and_those_of_the_classes():
    classes = [cls for module in FAMILIES for cls in operators_of(module)]
    assert len(classes) == len({cls.name for cls in classes})
    wrong = [cls.__name__ for cls in classes if cls.__name__.lower() != cls.name.replace("_", "")]
    assert not wrong


def test_every_operator_is_called_in_a_test_table():
    called = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        called |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        called |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert not sorted(cls.__name__ for cls in COMPUTING if cls.__name__ not in called)

"""The text form: `show` and `parse` are inverse, and an error names its line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from kcompile.errors import ParseError
from kcompile.ir import Graph, Type, constant, dtype, input_value, origin, parse, show, symbol, weight
from kcompile.operators.activation import LeakyRelu
from kcompile.operators.linear import Dense
from kcompile.operators.registry import OPERATORS as ALL_OPERATORS
from tests.ir.strategies import OPERATORS, Mixed, graphs

F32 = dtype("f32")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_parse_is_the_inverse_of_show(graph: Graph) -> None:
    text = show(graph)
    back = parse(text, OPERATORS)
    assert back == graph and show(back) == text
    assert back.name == graph.name and [n.origin for n in back.nodes] == [n.origin for n in graph.nodes]
    assert all(c == "\n" or c.isprintable() for c in text)


def test_what_it_looks_like() -> None:
    x = input_value("x", Type(F32, (symbol("N"), 4)))
    kernel = weight("d/kernel", Type(F32, (4, 3)))
    with origin("d"):
        y = Dense()(x, kernel, None)
    with origin("my layer"):
        z = LeakyRelu(0.1)(y)
    i = input_value("i", Type(F32, ()))
    with origin(""):
        a, b = Mixed((1, -0.0, "s", None, F32, symbol("N") + 1), Graph("r", [i], [i]))(None, z)
    c = constant(np.array([[1, -2]], np.int8))
    graph = Graph("head", [x], [z, a], ["y", "odd name"], [("n", b), ("c", c)])
    assert (
        show(graph)
        == """\
graph head(%x: f32[N, 4]) {
  %0 = weight "d/kernel" : f32[4, 3]
  %1 = dense(%x, %0, _) : f32[N, 3]  # d
  %2 = leaky_relu(%1, negative_slope=0.1) : f32[N, 3]  # "my layer"
  %3, %4 = mixed(_, %2, value=(1, -0.0, "s", None, <f32>, `N+1`), region=graph r(%i: f32[]) {
      return output=%i
    }) : f32[2, N], i64[]
  %5 = constant [[1, -2]] : i8[1, 2]
  return y=%2, "odd name"=%3
  update "n" = %4
  update "c" = %5
}"""
    )
    assert parse(show(graph), {**ALL_OPERATORS, **OPERATORS}) == graph


def test_blanks_and_line_breaks_do_not_matter() -> None:
    text = "\n\n graph g ( %x : f32[2], ) {\n\n %0,%1=mixed( %x,\n value = ( 1, ), ) : f32[2, N],\n i64[] # a\n"
    text += " return y = %0 }\n\n"
    x = input_value("x", Type(F32, (2,)))
    assert parse(text, OPERATORS) == Graph("g", [x], [Mixed((1,))(x)[0]], ["y"])


def test_an_input_called_like_a_value() -> None:
    x = input_value("0", Type(F32, ()))
    graph = Graph("g", [x], [constant(np.float32(1)), x], ["a", "b"])
    assert show(graph).splitlines()[0] == 'graph g(%"0": f32[]) {' and parse(show(graph), {}) == graph


def test_large_constants_are_elided_on_request_only() -> None:
    graph = Graph("g", [], [constant(np.arange(20.0))])
    assert '"20 elements"' in show(graph, elide=True)
    with pytest.raises(ParseError, match="line 2: "):
        parse(show(graph, elide=True), {})
    assert parse(show(graph), {}) == graph


HEAD = "graph g(%x: f32[2]) {\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "expected 'graph', got the end"),
        ("grph g() {}", 1, "expected 'graph', got 'grph g() {}'"),
        ("graph g(%x) {\n return\n}", 1, "expected ':'"),
        ("graph g(%x: f33[2]) {\n return\n}", 1, "unknown dtype 'f33'"),
        ("graph g(%x: f32[2]", 1, "expected ','"),
        (HEAD + "  return output=%x", 2, "expected 'update', got the end"),
        (HEAD + "  return output=%y\n}", 2, "%y is used before it is defined"),
        (HEAD + "\n  %1 = rleu(%x) : f32[2]\n  return\n}", 3, "unknown operator 'rleu' (did you mean 'relu'?)"),
        (HEAD + "  %0 = relu(%x)\n  return\n}", 3, "expected ':'"),
        (HEAD + "  %0 = relu(%x, a=1) : f32[2]\n  return\n}", 2, "relu has no attribute 'a'"),
        (HEAD + "  %0 = elu(%x, alpha=1.0, alpha=2.0) : f32[2]\n  return\n}", 2, "'alpha' stands twice"),
        (HEAD + "  %0 = elu(%x, alpha=what) : f32[2]\n  return\n}", 2, "expected a value, got 'what) : f32[2]'"),
        (HEAD + "  %0 = transpose(%x) : f32[2]\n  return\n}", 2, "transpose needs the attribute 'perm'"),
        (HEAD + "  %0, %1 = relu(%x) : f32[2]\n  return\n}", 2, "2 results, 1 types"),
        (HEAD + "  %0 = relu(%x) : f32[2]\n  %0 = relu(%x) : f32[2]\n  return\n}", 3, "%0 is defined twice"),
        (HEAD + "  %0 = constant [1, 2] : f32[3]\n  return\n}", 2, "cannot reshape"),
        (HEAD + "  %0 = constant [1, [2]] : f32[3]\n  return\n}", 2, ""),
        (HEAD + "  %0 = constant [300] : u8[1]\n  return\n}", 2, ""),
        (HEAD + '  %0 = constant "AAA" : f32[1]\n  return\n}', 2, "padding"),
        (HEAD + "  %0 = fill(shape=(`N+`,)) : f32[2]\n  return\n}", 2, "not a dimension"),
        (HEAD + "  return a=%x, a=%x\n}", 3, "output names repeat"),
        (HEAD + "  return a=%x\n}\nmore", 4, "text after the graph's end"),
        (HEAD + "  return\n  update w = %x\n}", 3, "expected a text in quotes"),
        ("graph g(%x: f32[2], %x: f32[3]) {\n return\n}", 3, "input names repeat"),
        (HEAD + "  %0 = elu(%x, alpha=" + "(" * 5000 + ") : f32[2]\n  return\n}", 2, "recursion"),
        (HEAD + "  %0 = constant " + "[" * 5000 + " : f32[2]\n  return\n}", 2, "recursion"),
        (HEAD + "  %\x1b[31m = relu(%x) : f32[2]\n}", 2, r"expected an operator, return or update, got '%\x1b[31m"),
    ],
)  # fmt: skip
def test_errors_name_the_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text, ALL_OPERATORS)
    assert str(caught.value).startswith(f"line {line}: ") and message in str(caught.value)


def test_every_cut_of_a_text_is_a_parse_error() -> None:
    x = input_value("x", Type(F32, (2,)))
    a, b = Mixed((1.5, "a"), Graph("r", [x], [x]))(x, None, constant(np.ones(3)))
    text = show(Graph("g", [x], [a, b], ["a", "b"], [("w", a)]))
    for end in range(len(text)):
        with pytest.raises(ParseError, match=r"^line \d+: "):
            parse(text[:end], OPERATORS)

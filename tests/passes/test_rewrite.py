"""The pattern language and the driver, with rules made here."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import KcompileError
from kcompile.ir import Graph, Type, Value, constant, input_value, origin, weight
from kcompile.ir.types import f32
from kcompile.operators.activation import Relu, Sigmoid
from kcompile.operators.arithmetic import Add, Multiply, Negative, Square, Subtract
from kcompile.operators.linear import Dense
from kcompile.operators.logic import Clip
from kcompile.operators.math import Exp
from kcompile.operators.shape import Slice, Split
from kcompile.passes.patterns import Pattern, like
from kcompile.passes.rewrite import Log, Match, Rule, apply_rules, rule, skip

T = Type(f32, (4,))
x, y = input_value("x", T), input_value("y", T)
c = constant(np.ones(4, np.float32))
w = weight("d/w", T)


def _known(value: Value) -> np.ndarray | None:
    return value.op.value.data if value is c else None


MATCHES = {
    # pattern, value -> names bound in each match, or none
    "plain": (like(Relu, "a"), Relu()(x), [{"a": x}]),
    "another operator": (like(Relu, "a"), Exp()(x), []),
    "one of several": (like((Relu, Exp), "a", bind="f"), Exp()(x), [{"a": x}]),
    "nested": (like(Relu, like(Exp, "a")), Relu()(Exp()(x)), [{"a": x}]),
    "nested, not there": (like(Relu, like(Exp, "a")), Relu()(x), []),
    "known": (like(Relu, "=a"), Relu()(c), [{"a": c}]),
    "not known": (like(Relu, "=a"), Relu()(x), []),
    "commutative": (like(Add, "=a", "b"), Add()(x, c), [{"a": c, "b": x}]),
    "both orders": (like(Add, "a", "b"), Add()(x, y), [{"a": x, "b": y}, {"a": y, "b": x}]),
    "not commutative": (like(Subtract, "=a", "b"), Subtract()(x, c), []),
    "same twice": (like(Multiply, "a", "a"), Multiply()(x, x), [{"a": x}]),
    "not the same": (like(Multiply, "a", "a"), Multiply()(x, y), []),
    "attribute": (like(Clip, "a", minimum=0.0), Clip(0.0, 1.0)(x), [{"a": x}]),
    "another attribute": (like(Clip, "a", minimum=0.0), Clip(0.5, 1.0)(x), []),
    "where": (like(Clip, "a", where=lambda op: op.maximum > 3), Clip(0.0, 6.0)(x), [{"a": x}]),
    "where not": (like(Clip, "a", where=lambda op: op.maximum > 3), Clip(0.0, 1.0)(x), []),
    "any operands": (like(Add), Add()(x, y), [{}]),
    "not bound": (like(Subtract, "_", "a"), Subtract()(x, y), [{"a": y}]),
}


@pytest.mark.parametrize("name", MATCHES)
def test_match(name: str) -> None:
    pattern, value, expected = MATCHES[name]
    operators = {"relu", "exp", "f", "add", "subtract", "multiply", "clip"}
    found = [{k: v for k, v in m.bound.items() if k not in operators} for m in pattern.match(value, _known)]
    assert found == expected


ABSENT = {
    # operands of the pattern -> names bound on a dense layer without bias, or None
    ("a", "k", "?b"): {"b": None},
    ("a", "k", "?=b"): {"b": None},
    ("a", "k", "b"): None,
    ("a", "k", "=b"): None,
    ("a", "k"): {},
}


@pytest.mark.parametrize("operands", ABSENT)
def test_absent_operands(operands: tuple[str, ...]) -> None:
    value = Dense()(input_value("x", Type(f32, (2, 4))), weight("k", Type(f32, (4, 3))), None)
    found = [{k: v for k, v in m.bound.items() if k == "b"} for m in like(Dense, *operands).match(value, _known)]
    assert found == ([] if ABSENT[operands] is None else [ABSENT[operands]])


def _graph(*outputs: Value, **kw) -> Graph:
    return Graph("g", [x, y], outputs, **kw)


def _apply(graph: Graph, *rules: Rule, reads_weights: bool = True) -> tuple[Graph, Log]:
    log = Log()
    return apply_rules(graph, rules, reads_weights, log), log


def _rule(pattern: Pattern, function) -> Rule:
    return Rule("r", pattern, function)


TWICE = _rule(like(Exp, like(Exp, "a", bind="inner")), lambda m: Exp()(m.a))


def test_rules_run_to_a_fixed_point_in_one_walk() -> None:
    value = x
    for _ in range(500):
        value = Exp()(value)
    after, log = _apply(_graph(value), TWICE)
    assert [n.op.name for n in after.operators()] == ["exp"]
    assert len(log.fired) == 499


def test_a_graph_that_nothing_matches_is_returned_itself() -> None:
    graph = _graph(Relu()(x))
    assert _apply(graph, TWICE)[0] is graph


@rule("used-once", like(Relu, like(Exp, "a")))
def USED_ONCE(m: Match) -> Value:
    m.used_once("exp")
    return Sigmoid()(m.a)


e = Exp()(x)
USES = {
    "once": ((Relu()(e),), True),
    "an output": ((Relu()(e), e), False),
    "read twice": ((Relu()(e), Square()(e)), False),
    "twice by one": ((Relu()(Add()(e, e)), Relu()(e)), False),
    "equal expressions are one": ((Relu()(Exp()(x)), Square()(Exp()(x))), False),
}


@pytest.mark.parametrize("name", USES)
def test_used_once(name: str) -> None:
    outputs, fires = USES[name]
    _, log = _apply(_graph(*outputs), USED_ONCE)
    assert bool(log.fired) == fires
    assert [s.reason for s in log.skipped] == ([] if fires else [f"exp is used {3 if 'by one' in name else 2} times"])


def test_an_update_is_a_use() -> None:
    _, log = _apply(_graph(Relu()(e), updates=[("state", e)]), USED_ONCE)
    assert not log.fired


def test_uses_fall_when_a_reader_goes() -> None:
    # Negative(e) is rewritten to something that does not read e, after which e has one use.
    away = _rule(like(Negative, like(Exp, "a")), lambda m: Square()(m.a))
    after, log = _apply(_graph(Relu()(e), Negative()(e)), away, USED_ONCE)
    assert sorted(n.op.name for n in after.operators()) == ["sigmoid", "square"]
    assert not log.skipped


def test_rules_can_replace_all_results_of_an_operator() -> None:
    swap = _rule(like(Split, "a"), lambda m: Split((2, 2), 0)(Exp()(m.a)) if not m.bound["a"].inputs else skip("done"))
    after, _ = _apply(_graph(*Split((2, 2), 0)(x)), swap)
    assert [n.op.name for n in after.operators()] == ["exp", "split"]


def test_what_several_operators_made_is_rewritten_one_by_one() -> None:
    # exp(a) goes on to be relu(a); square(-a) beside it has no other reader meanwhile.
    apart = _rule(like(Split, "a"), lambda m: (Exp()(_half(m, 0)), Square()(Negative()(_half(m, 1)))))
    away = _rule(like(Exp, "a"), lambda m: Relu()(m.a))
    after, _ = _apply(_graph(*Split((2, 2), 0)(x)), apart, away)
    assert [n.op.name for n in after.operators()] == ["slice", "relu", "slice", "negative", "square"]


def _half(m: Match, i: int) -> Value:
    return Slice((2 * i,), (2 * i + 2,), (1,))(m.a)


def test_one_result_of_several_can_replace_an_operator() -> None:
    part = _rule(like(Exp, like(Split, "a")), lambda m: m.split)
    other = _rule(like(Split, "a", axis=0), lambda m: Split((2, 2), -1)(m.a))
    after, _ = _apply(_graph(Exp()(Split((2, 2), 0)(x)[0])), part, other)
    assert [n.op.name for n in after.operators()] == ["split"]


def test_origins_go_to_operators_of_their_kind_else_the_root() -> None:
    with origin("first"):
        inner = Exp()(x)
    with origin("second"):
        outer = Relu()(inner)
    change = _rule(like(Relu, like(Exp, "a")), lambda m: Exp()(Square()(m.a)))
    after, log = _apply(_graph(outer), change)
    assert [(n.op.name, n.origin) for n in after.operators()] == [("square", "second"), ("exp", "first")]
    assert [(f.rule, f.origin) for f in log.fired] == [("r", "second")]


def test_new_weights_have_fresh_labels_and_equal_ones_are_shared() -> None:
    def double(m: Match) -> Value:
        return Exp()(Add()(m.a, m.weight(m.w, m.array("w") * 2)))

    graph = _graph(Multiply()(x, w), Multiply()(y, w), weights={"d/w": np.ones(4, np.float32)})
    after, _ = _apply(graph, _rule(like(Multiply, "a", "=w"), double))
    assert list(after.weight_values()) == ["d/w~1"]
    assert after.weights["d/w~1"].dtype == np.float32
    np.testing.assert_array_equal(after.weights["d/w~1"], 2)


def test_a_number_too_large_for_the_dtype_is_not_folded() -> None:
    change = _rule(like(Multiply, "a", "=w"), lambda m: Add()(m.a, m.weight(m.w, m.array("w") * 1e39)))
    graph = _graph(Multiply()(x, c))
    after, log = _apply(graph, change)
    assert after is graph
    assert [s.reason for s in log.skipped] == ["a number overflows f32"]


def test_constants_stay_constants() -> None:
    change = _rule(like(Multiply, "a", "=w"), lambda m: Add()(m.a, m.weight(m.w, m.array("w") / 3)))
    after, _ = _apply(_graph(Multiply()(x, c)), change)
    assert [n.op.name for n in after.nodes if not n.inputs] == ["input", "input", "constant"]


def test_weights_are_unknown_while_training() -> None:
    graph = _graph(Multiply()(x, w), weights={"d/w": np.ones(4, np.float32)})
    change = _rule(like(Multiply, "a", "=w"), lambda m: m.a)
    assert _apply(graph, change, reads_weights=False)[0] is graph
    assert not _apply(graph, change)[0].operators()


WRONG = {
    "changes a type": (lambda m: Split((1, 3), 0)(m.a)[0], r"the rule 'r' replaces .*f32\[1\].*types must stay"),
    "returns itself": (lambda m: Exp()(m.a), "the rule 'r' replaces .* by itself"),
    "grows for ever": (lambda m: Exp()(Negative()(m.a)), "the rule 'r' never settles in graph 'g'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_named(name: str) -> None:
    function, message = WRONG[name]
    with pytest.raises(KcompileError, match=message):
        _apply(_graph(Exp()(x)), _rule(like(Exp, "a"), function))


def test_a_name_that_the_pattern_does_not_bind() -> None:
    with pytest.raises(AttributeError, match="binds no 'b', only"):
        _apply(_graph(Exp()(x)), _rule(like(Exp, "a"), lambda m: m.b))

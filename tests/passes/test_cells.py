"""What is nearly a recurrent layer: golden cases of scan-cell and unrolled with a line or two changed stay as they are."""

from __future__ import annotations

import pytest

from kcompile.ir import parse, verify
from kcompile.operators.registry import OPERATORS
from tests.passes.support import apply, same_values, with_weights
from tests.passes.test_golden import FOLDER


def _cases(name: str) -> dict[str, str]:
    """The graphs of a golden file by title."""
    cases = (case.strip().partition("\n") for case in (FOLDER / f"{name}.txt").read_text().split("\n---\n"))
    return {title.removeprefix("# "): rest.partition("\n=>")[0] for title, _, rest in cases}


CASES = {name: _cases(name) for name in ("scan-cell", "unrolled")}
LSTM, MASKED, PRODUCTS = "LSTM in Keras's order", "a masked LSTM", "the same, chosen by products, as tf2onnx writes it"
EIGHT, ZEROS = "LSTM of eight products, the final states alone", "masked steps give zeros, an initial state"
AFTER, BEFORE = "GRU, the reset after the product", "GRU, the reset before it"
TO_OLD, TO_NEW = "the same, n + z (h - n), no bias there", "h + z (n - h)"
TURNED, SIMPLE = "the gate the other way about, as in the paper", "a simple RNN"

# name: (the golden case, what is replaced in it by what)
NEAR: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "the output gate is no sigmoid": (LSTM, [("%15 = sigmoid", "%15 = tanh")]),
    "the candidate's activation is not the output's": (LSTM, [("%11 = tanh", "%11 = relu")]),
    "the output is not of the new cell": (LSTM, [("tanh(%13)", "tanh(%12)")]),
    "the reset gate is no sigmoid, after": (AFTER, [("%16 = sigmoid", "%16 = tanh")]),
    "the reset gate is no sigmoid, before": (BEFORE, [("%15 = sigmoid", "%15 = tanh")]),
    "two less the gate": (AFTER, [("constant 1.0", "constant 2.0")]),
    "the old state less something else": (TO_OLD, [("subtract(%v0, %13)", "subtract(%v0, %12)")]),
    "the new state goes on growing": (TO_NEW, [("add(%v0, %18)", "add(%16, %18)")]),
    "one less an activation that is not symmetric": (TURNED, [("sigmoid", "relu")]),
    "the other gate, projected before the loop": (TURNED, [
        ('"l/w" : f32[3, 6]\n', '"l/w" : f32[3, 6]\n  %9 = mat_mul(%x, %0) : f32[T, N, 6]\n'), ("scan(%h, %x, %0", "scan(%h, %9"),
        ("%v1: f32[N, 3], %v2: f32[3, 6]", "%v1: f32[N, 6]"), ("%1 = mat_mul(%v1, %v2) : f32[N, 6]\n", ""), ("add(%1, %v4)", "add(%v1, %v4)"),
    ]),
    "double precision": (SIMPLE, [("f32", "f64")]),
    "a mask of one state alone": (MASKED, [("output_1=%18", "output_1=%13")]),
    "masked states change places": (MASKED, [("%16, %v0)", "%16, %v1)"), ("%13, %v1)", "%13, %v0)")]),
    "a mask, backwards": (MASKED, [("sequences=2)", "sequences=2, reverse=True)")]),
    "not all of the rest": (PRODUCTS, [
        ("%19 = logical_not(%v3) : bool[N, 1]", "%19 = constant 1.0 : f32[]"), ("cast(%19, dtype=<f32>) : f32[N, 1]", "subtract(%19, %9) : f32[N, 2]"),
    ]),
    "zeros and states are both stacked": (ZEROS, [
        ("output_2=%20", "output_2=%20, output_3=%17"), ("%3, %4, %5 = scan", "%3, %4, %5, %6 = scan"),
        ("f32[T, N, 2]\n  return", "f32[T, N, 2], f32[T, N, 2]\n  return"), ("output_2=%5\n", "output_2=%5, output_3=%6\n"),
        ("%h, %c, %x, %m, %0", "%x0, %x0, %x, %m, %0"), ("  %0 = weight", "  %x0 = fill(shape=(`N`, 2), value=0.0) : f32[N, 2]\n  %0 = weight"),
    ]),
    "a gate reads another sequence": (EIGHT, [
        ("%x: f32[T, N, 3]", "%x: f32[T, N, 3], %y: f32[T, N, 3]"), ("%c, %x, ", "%c, %x, %y, "), ("%v2: f32[N, 3]", "%v2: f32[N, 3], %y: f32[N, 3]"),
        ("sequences=1", "sequences=2"), ("mat_mul(%v2, %v9)", "mat_mul(%y, %v9)"),
    ]),
    "the candidate reads the state twice": (AFTER, [
        ("%18 = add(%4, %17)", "%22 = add(%4, %8) : f32[N, 2]\n      %18 = add(%22, %17)"),
    ]),
    "a gate reads the state twice": (EIGHT, [
        ("%1 = add(%0, %v14)", "%25 = mat_mul(%v0, %v10) : f32[N, 2]\n      %1 = add(%0, %25)"),
    ]),
    "masked steps give ones": (ZEROS, [("constant 0.0", "constant 1.0")]),
}  # fmt: skip
SLICES, SPLIT = "a simple RNN over slices, the last output", "GRU over a split, time first, from zeros"
UNROLLED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "rows turned round in a step": (SLICES, [
        ("f32[N", "f32[2"), ("starts=(0, 2, 0), stops=(None, 3, None), steps=(1, 1, 1)", "starts=(1, 2, 0), stops=(None, 3, None), steps=(-1, 1, 1)"),
    ]),
    "rows along the last axis": (SLICES, [
        *((f"starts=(0, {i}, 0), stops=(None, {i + 1}, None)", f"starts=(0, 0, {i}), stops=(None, None, {i + 1})") for i in range(3)),
        ("f32[N, 1, 3]", "f32[N, 3, 1]"), ("axes=(1,)", "axes=(2,)"),
    ]),
    "a kernel that is no weight": (SLICES, [("%h: f32[N, 2]", "%h: f32[N, 2], %k: f32[2, 2]"), ('  %10 = weight "l/u" : f32[2, 2]\n', ""), ("%10", "%k")]),
    "kernels that change places": (SLICES, [
        ("[N, 3, 3]", "[N, 3, 2]"), ("[N, 1, 3]", "[N, 1, 2]"), ("[N, 3]", "[N, 2]"), ("[3, 2]", "[2, 2]"),
        ('  %10 = weight "l/u" : f32[2, 2]\n', ""), ("  %2 = weight", '  %10 = weight "l/u" : f32[2, 2]\n  %2 = weight'),
        ("mat_mul(%16, %10)", "mat_mul(%16, %2)"), ("mat_mul(%1, %2)", "mat_mul(%1, %10)"), ("add(%3, %17)", "add(%17, %3)"),
    ]),
    "one first state for all rows": (SLICES, [("%h: f32[N, 2]", "%h: f32[1, 2]"), ("mat_mul(%h, %10) : f32[N, 2]", "mat_mul(%h, %10) : f32[1, 2]")]),
    "all sums are read": (SLICES, [("return output=%19", "return output=%19, output_1=%12, output_2=%15, output_3=%18")]),
    "a mixture with an earlier state": (SPLIT, [("subtract(%47, %62)", "subtract(%27, %62)")]),
}  # fmt: skip
SAME: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "where it is not masked": (MASKED, [
        ("%17 = where(%v3, %16, %v0) : f32[N, 2]\n", "%17 = logical_not(%v3) : bool[N, 1]\n      %19 = where(%17, %v0, %16) : f32[N, 2]\n"),
        ("where(%v3, %13, %v1)", "where(%17, %v1, %13)"), ("=%17, output_1=%18, output_2=%17", "=%19, output_1=%18, output_2=%19"),
    ]),
    "slices from the end": (SLICES, [("starts=(0, 2, 0), stops=(None, 3, None)", "starts=(0, -1, 0), stops=(None, None, None)")]),
}  # fmt: skip


@pytest.mark.parametrize("name", [*NEAR, *UNROLLED, *SAME])
def test_variants(name: str) -> None:
    case, changes = {**NEAR, **UNROLLED, **SAME}[name]
    rule = next(rule for rule, cases in CASES.items() if case in cases)
    text = CASES[rule][case]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    before = with_weights(verify(parse(text, OPERATORS)))
    after, _ = apply(before, rule)
    assert (after is before) == (name not in SAME)
    same_values(before, after)

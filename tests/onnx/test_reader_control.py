"""Loop, Scan and If of other exporters: the same numbers, as the operators that they come down to."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.test_reader import array, model, same

# A GRU as tf2onnx writes it: the loop counts itself, takes rows by number, carries its weights along.
GRU = """
g (float[N, T, 3] x) => (float[N, T, 2] y) {{
  rows = Transpose<perm = [1, 0, 2]>(x)
  shape = Shape(rows)
  length = Gather(shape, zero)
  batch = Slice(shape, one_v, two_v, zero_v)
  states = Concat<axis = 0>(batch, two_v)
  begun = Expand(nought, states)
  small = Cast<to = 6>(zero)
  limit = Cast<to = 1>(length)
  fits = Less(nought, limit)
  i, h, wk, uk, all = Loop(length, fits, small, begun, w, u) <body = body
    (int64 n, bool go, int32 at, float[N, 2] h_in, float[3, 6] w_in, float[2, 6] u_in) =>
    (bool again, int32 next, float[N, 2] h_out, float[3, 6] w_out, float[2, 6] u_out, float[N, 2] row) {{
      w_out = Identity(w_in)
      u_out = Identity(u_in)
      next = Add(at, one_i)
      as_float = Cast<to = 1>(next)
      below = {condition}
      counted = Cast<to = 1>(n)
      too = Less(counted, limit)
      again = And(too, below)
      x_t = Gather(rows, at)
      own = MatMul(x_t, w_in)
      with_bias = Add(own, b)
      inner = MatMul(h_in, u_in)
      xz, xr, xn = Split<axis = 1, num_outputs = 3>(with_bias)
      hz, hr, hn = Split<axis = 1, num_outputs = 3>(inner)
      sz = Add(xz, hz)
      z = Sigmoid(sz)
      sr = Add(hr, xr)
      r = Sigmoid(sr)
      rn = Mul(r, hn)
      sn = Add(rn, xn)
      new = Tanh(sn)
      old = Mul(z, h_in)
      rest = Sub(one_f, z)
      part = Mul(rest, new)
      h_out = Add(old, part)
      row = Identity(h_out)
    }}>
  y = Transpose<perm = [1, 0, 2]>(all)
}}"""
RNG = np.random.default_rng(0)
CONSTANTS = {
    "zero": np.array(0), "zero_v": np.array([0]), "one_v": np.array([1]), "two_v": np.array([2]),
    "nought": np.float32(0), "one_f": np.float32(1), "one_i": np.int32(1), "half": np.float32(0.5),
    "w": RNG.normal(size=(3, 6)).astype(np.float32), "u": RNG.normal(size=(2, 6)).astype(np.float32),
    "b": RNG.normal(size=6).astype(np.float32),
}  # fmt: skip


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (2, 40)])
def test_a_loop_that_is_a_gru(batch: int, length: int) -> None:
    source = model(GRU.format(condition="Less(as_float, limit)"), **CONSTANTS)
    assert same(source, x=array(batch, length, 3)) == ["Transpose", "GRU", "Squeeze", "Transpose"]


@pytest.mark.parametrize("condition", ["LessOrEqual(as_float, half)", "Less(limit, as_float)", "Less(as_float, half)"])
def test_a_loop_that_may_end_before_its_count_stays(condition: str) -> None:
    source = model(GRU.format(condition=condition), **CONSTANTS)
    assert "Loop" in same(source, x=array(3, 1, 3))


BODIES = {
    "a condition that is handed on": ("c2 = Identity(c) t = Add(s, x)", ["Scan"]),
    "nothing but the step's number": ("c2 = Identity(c) k = Cast<to = 1>(n) t = Add(s, k)", ["Scan"]),
    "a condition of the numbers": ("r = ReduceMax<keepdims = 0>(s) c2 = Less(r, ten) t = Add(s, x)", ["Loop"]),
}


@pytest.mark.parametrize("name", BODIES)
def test_loops_of_a_fixed_count(name: str) -> None:
    body, left = BODIES[name]
    text = f"""g (float[M, 3] x) => (float[M, 3] y, float[7, M, 3] all) {{
      y, all = Loop(seven, yes, x) <body = b (int64 n, bool c, float[M, 3] s) => (bool c2, float[M, 3] t, float[M, 3] u)
        {{ {body} u = Neg(t) }}> }}"""
    source = model(text, seven=np.array(7), yes=np.array(True), ten=np.float32(1e6))
    found = same(source, x=array(2, 3))
    assert [n for n in found if n in ("Scan", "Loop")] == left


def test_a_loop_without_a_count() -> None:
    text = """g (float[M, 3] x, float limit) => (float[M, 3] y) {
      y = Loop(, yes, x) <body = b (int64 n, bool c, float[M, 3] s) => (bool c2, float[M, 3] t)
        { r = ReduceMax<keepdims = 0>(s) c2 = Less(r, limit) e = Exp(limit) d = Abs(x) f = Add(d, e) t = Add(s, f) }> }"""
    source = model(text, yes=np.array(True))
    found = same(source, x=array(2, 3), limit=np.array(4, np.float32))
    assert sorted(found) == ["Abs", "Add", "Exp", "Loop"]


@pytest.mark.parametrize("count", [0, 1])
def test_a_loop_of_no_or_one_step_is_its_body(count: int) -> None:
    text = """g (float[M, 3] x) => (float[M, 3] y) {
      y = Loop(count, yes, x) <body = b (int64 n, bool c, float[M, 3] s) => (bool c2, float[M, 3] t)
        { c2 = Identity(c) t = Exp(s) }> }"""
    source = model(text, count=np.array(count), yes=np.array(True))
    assert same(source, x=array(2, 3)) == (["Identity"], ["Exp"])[count]


SCANS = {
    "forwards": "",
    "backwards": ", scan_input_directions = [1], scan_output_directions = [1]",
    "in one way and out the other": ", scan_output_directions = [1]",
    "along the second axis": ", scan_input_axes = [1], scan_output_axes = [-1]",
}


@pytest.mark.parametrize("name", SCANS)
def test_scan(name: str) -> None:
    text = f"""g (float[3, 3] x, float[3] h) => (float[3] last, float[3, 3] y) {{
      last, y = Scan<num_scan_inputs = 1{SCANS[name]}, body = b (float[3] s, float[3] r) => (float[3] t, float[3] u)
        {{ w = Add(s, r) t = Mul(w, h) u = Neg(w) }}>(h, x) }}"""
    assert "Scan" in same(model(text), x=array(3, 3), h=array(3))


@pytest.mark.parametrize("flag", [True, False])
def test_branches_are_optimised(flag: bool) -> None:
    text = """g (float[N, 3] x, bool c) => (float[N, 3] y) {
      a = Exp(x)
      y = If(c) <then_branch = t () => (float[N, 3] p) { q = Neg(a) r = Neg(q) p = Add(r, one_f) },
                 else_branch = e () => (float[N, 3] s) { s = Identity(x) }> }"""
    source = model(text, one_f=np.float32(1))
    assert same(source, x=array(2, 3), c=np.array(flag)) == ["Exp", "If"]


@pytest.mark.parametrize(
    ("lengths", "left"),
    [
        ("s = Shape<start = 0, end = 1>(x) t = Shape<start = 1, end = 2>(x) l = Expand(t, s)", ["Slice"]),
        ("s = Shape<start = 0, end = 1>(x) l = Expand(one_v, s)", ["Shape", "Expand", "ReverseSequence"]),
    ],
)
def test_a_sequence_reversed_over_its_whole_length(lengths: str, left: list[str]) -> None:
    text = f"g (float[N, T, 2] x) => (float[N, T, 2] y) {{ {lengths} y = ReverseSequence<batch_axis = 0, time_axis = 1>(x, l) }}"
    assert same(model(text, one_v=np.array([1])), x=array(3, 5, 2)) == left

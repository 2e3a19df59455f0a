"""Sizes and padding of windows: the definition by counting, and symbolic sizes against integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompile.errors import InferError
from kcompile.ir.dims import evaluate, symbol
from kcompile.operators.windows import output_sizes, resolve_padding

SIZE = st.integers(1, 40)
WINDOW = st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 4))
PADDING = st.one_of(
    st.sampled_from(["valid", "same", "causal"]),
    st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3))),
)


def starts(size: int, covered: int, stride: int, before: int, after: int) -> list[int]:
    """Where windows begin that lie within the padded axis."""
    return list(range(-before, size + after - covered + 1, stride))


@given(size=SIZE, window=WINDOW, padding=PADDING)
def test_sizes_count_the_windows(size, window, padding):
    kernel, stride, dilation = window
    covered = (kernel - 1) * dilation + 1
    arguments = ([kernel], [stride], [dilation])
    ((before, after),) = resolve_padding(padding, [size], *arguments)
    places = starts(size, covered, stride, before, after)
    if not places:
        with pytest.raises(InferError, match="doesn't fit"):
            output_sizes(padding, [size], *arguments)
        return
    assert output_sizes(padding, [size], *arguments) == (len(places),)
    if padding == "same":
        assert len(places) == -(-size // stride)
        assert 0 <= after - before <= 1
    if padding == "causal":
        # The last cell that window i covers is cell i * stride: nothing later is seen.
        assert [p + covered - 1 for p in places] == [i * stride for i in range(len(places))]


@given(size=SIZE, window=WINDOW, padding=PADDING, scale=st.integers(1, 3), offset=st.integers(0, 3))
def test_symbolic_sizes_agree(size, window, padding, scale, offset):
    arguments = tuple([n] for n in window)
    dim, number = symbol("H") * scale + offset, size * scale + offset
    try:
        expected = output_sizes(padding, [number], *arguments)
    except InferError:
        return
    sizes = {"H": size}
    assert tuple(evaluate(d, sizes) for d in output_sizes(padding, [dim], *arguments)) == expected
    ((before, after),) = resolve_padding(padding, [dim], *arguments)
    ((b, a),) = resolve_padding(padding, [number], *arguments)
    assert (evaluate(before, sizes), evaluate(after, sizes)) == (b, a)


def test_unknown_padding():
    with pytest.raises(InferError, match="padding must be 'valid', 'same', 'causal' or pairs"):
        resolve_padding("full", [4], [2], [1], [1])

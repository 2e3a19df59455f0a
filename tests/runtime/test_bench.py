"""Comparing two functions in turns."""

from __future__ import annotations

import time

import pytest

from kcompile.runtime.bench import BLOCKS, compare, in_turns

pytestmark = pytest.mark.torchless


def test_the_ratio_is_that_of_the_second_to_the_first() -> None:
    found = compare(lambda: time.sleep(0.001), lambda: time.sleep(0.004), seconds=0.2)
    assert found.first < found.second and found.low <= found.ratio <= found.high


def test_each_block_begins_with_another_one() -> None:
    calls: list[int] = []
    found = in_turns([lambda i=i: calls.append(i) for i in range(3)], seconds=0)
    assert found.shape == (BLOCKS, 3) and (found > 0).all()
    # One run of each before the blocks; in a block a warm-up and five runs of each in a row.
    blocks = [[calls[3 + 18 * b + 6 * i] for i in range(3)] for b in range(BLOCKS)]
    assert calls[:3] == [0, 1, 2] and blocks[:4] == [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 2]]

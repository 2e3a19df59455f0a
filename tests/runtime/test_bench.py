"""Comparing two functions in turns."""

from __future__ import annotations

import time

import pytest

from kcompile.runtime.bench import compare

pytestmark = pytest.mark.torchless


def test_the_ratio_is_that_of_the_second_to_the_first() -> None:
    found = compare(lambda: time.sleep(0.001), lambda: time.sleep(0.004), seconds=0.2)
    assert found.first < found.second and found.low <= found.ratio <= found.high

"""Fixtures of several folders."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C means what it does in a terminal, here and in processes started here.

    A shell starts what it does not wait for (`&` in a script, nohup) with SIGINT ignored, and that is inherited.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

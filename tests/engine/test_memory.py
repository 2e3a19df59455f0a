"""What training asks of the C library."""

from __future__ import annotations

import ctypes
import platform

import pytest

from kcompile.engine import memory


class Library:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, option: int, size: int) -> int:
        self.asked.append((option, size))
        return 1


@pytest.mark.parametrize(("name", "calls"), [("glibc", 4), ("musl", 0), ("", 0)])
def test_only_glibc_is_asked(monkeypatch: pytest.MonkeyPatch, name: str, calls: int) -> None:
    library = Library()
    monkeypatch.setattr(platform, "libc_ver", lambda: (name, "2"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    with pytest.raises(ZeroDivisionError), memory.kept_memory():
        assert dict(library.asked) == (memory.KEEP if calls else {})
        raise ZeroDivisionError
    assert len(library.asked) == calls and (not calls or dict(library.asked[2:]) == memory.USUAL)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_glibc_takes_the_sizes() -> None:
    library = ctypes.CDLL(None)
    for sizes in (memory.KEEP, memory.USUAL):
        assert [library.mallopt(*item) for item in sizes.items()] == [1, 1]

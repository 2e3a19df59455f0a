"""The memory of a run of many steps."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# glibc's numbers for mallopt, and the sizes that its own adjustment ends at.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20}
# Tensors above 100 MB are few, and kept they would leave holes that none of their size fits into: torch asks for
# addresses that are multiples of 64, and glibc looks for more room for these than it was given back.
KEEP = {TRIM_THRESHOLD: 2**31 - 1, MMAP_THRESHOLD: 100 << 20}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within, memory that a step frees stays for the next step but for the largest tensors; what is freed after it
    goes back to the system.

    Left to itself, glibc gives large tensors back after each step and asks for them anew, and the system
    clears every page of them: a fifth of the time of a convolutional network with 256 images a batch.
    Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    for option, size in KEEP.items():
        library.mallopt(option, size)
    try:
        yield
    finally:
        for option, size in USUAL.items():
            library.mallopt(option, size)

"""Starts ranks of tests on this machine."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def results(folder: Path, count: int, *jobs: str) -> list[dict[str, Any]]:
    """What the jobs of `worker` gave on each of ``count`` ranks."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "KCOMPILE_TIMEOUT": "60"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.distribution.worker", str(folder), *jobs]
    started = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **common, "OMP_NUM_THREADS": "1", "RANK": str(r)})
        for r in range(count)
    ]
    assert [p.wait(timeout=240) for p in started] == [0] * count
    return [pickle.loads((folder / f"rank{r}.pickle").read_bytes()) for r in range(count)]

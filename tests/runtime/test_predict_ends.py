"""What ends a prediction that runs in processes: Ctrl-C and kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime import files

SLOW = """
import kcompile
if __name__ == "__main__":
    kcompile.predict_file("double.onnx", ["x.npy"] * 1000, "out.npy", batch_size=1, workers=2)
"""


def started(folder: Path, what: str = "") -> tuple[Any, list[int]]:
    """A prediction that runs in processes, once they have begun, and these."""
    np.save(folder / "x.npy", np.zeros((5000, 3), np.float32))
    files.double(folder)
    (folder / "slow.py").write_text(SLOW)
    process = subprocess.Popen([sys.executable, "slow.py"], cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        written = [p.stat().st_size for p in folder.glob(".out.npy.*")]
        if written and written[0] > 200:
            break
        time.sleep(0.05)
    return process, children(process.pid)


def children(pid: int) -> list[int]:
    """Processes that the process started and that take part in the work (its tracker of resources does not)."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in found if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_ctrl_c_while_workers_import(ctrl_c: None, tmp_path: Path) -> None:
    """It reaches all processes of a terminal; only the first ends because of it."""
    np.save(tmp_path / "x.npy", np.zeros((5, 3), np.float32))
    files.double(tmp_path)
    script = (
        "import kcompile, os, signal\n"
        "if __name__ == '__main__':\n"
        "    kcompile.predict_file('double.onnx', 'x.npy', 'out.npy', workers=2)\n"
        "else:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    (tmp_path / "early.py").write_text(script)
    done = subprocess.run([sys.executable, "early.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and np.load(tmp_path / "out.npy").shape == (5, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("killed", ["worker", "parent", "interrupted"])
def test_what_is_killed_leaves_no_file_and_no_process(killed: str, ctrl_c: None, tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    assert len(workers) == 2
    target = workers[0] if killed == "worker" else process.pid
    os.kill(target, signal.SIGINT if killed == "interrupted" else signal.SIGKILL)
    err = process.communicate(timeout=30)[1]
    assert process.returncode != 0 and not (tmp_path / "out.npy").exists()
    if killed == "worker":
        assert "UsageError: a worker process ended before it was done" in err
    if killed != "parent":
        assert not list(tmp_path.glob(".out.npy.*"))
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)

"""Processes of a run: what they are told, and how it ends when one of them does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kcompile.engine.launch import Failure, leave_message, run_all

WRITE = """
import json, os, sys
rank = os.environ["RANK"]
kept = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS", "GIVEN")
open(rank, "w").write(json.dumps([sys.argv[1:], {k: os.environ.get(k) for k in kept}]))
"""
# What rank 1 does; the others wait to be ended.
ENDS = """
import os, signal, sys, time
from kcompile.engine.launch import leave_message
if os.environ["RANK"] != "1":
    time.sleep(60)
{}
"""


@pytest.mark.parametrize(("threads", "wanted"), [(None, "1"), ("4", "4")])
def test_what_each_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: str | None, wanted: str) -> None:
    """As torchrun tells it; one thread each where nobody said how many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASTER_ADDR", "elsewhere")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False) if threads is None else monkeypatch.setenv(
        "OMP_NUM_THREADS", threads
    )
    assert run_all(2, ["-c", WRITE, "a", "--b"], {"GIVEN": "this"}) == []
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    port = found[0][1]["MASTER_PORT"]
    assert port.isdigit()
    for rank, told in enumerate(found):
        assert told == [["a", "--b"], {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "OMP_NUM_THREADS": wanted, "GIVEN": "this",
        }]  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ("leave_message('why'); sys.exit(7)", Failure(1, 7, "why")),
        ("sys.exit(7)", Failure(1, 7, "")),
        ("os.kill(os.getpid(), signal.SIGKILL)", Failure(1, -signal.SIGKILL, "")),
    ],
    ids=["said why", "silent", "killed"],
)
def test_one_ends_and_so_do_the_others(ends: str, wanted: Failure) -> None:
    began = time.monotonic()
    failures = run_all(3, ["-c", ENDS.format(ends)], {})
    assert time.monotonic() - began < 40
    assert wanted in failures
    assert all(f.code == -signal.SIGTERM for f in failures if f is not wanted and f != wanted)


def test_no_message_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    leave_message("to nobody")


HEARS = """
import os, signal, time
def hear(number, frame):
    open("heard" + os.environ["RANK"], "w").close()
    raise SystemExit
signal.signal(signal.SIGINT, hear)
with open("ready" + os.environ["RANK"], "w") as file:
    file.write(str(os.getpid()))
time.sleep({})
"""


@pytest.mark.parametrize(("number", "ignored", "heard", "wanted"), [
    (signal.SIGINT, False, True, None),
    (signal.SIGINT, True, False, None),
    (signal.SIGHUP, True, False, None),  # under nohup
    (signal.SIGTERM, False, False, 143),
    (signal.SIGHUP, False, False, 129),
])  # fmt: skip
def test_signals(
    ctrl_c: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    ignored: bool,
    heard: bool,
    wanted: int | None,
) -> None:
    """Ctrl-C goes to all processes, the others end them; what was ignored stays so, and all is as before in the end."""
    monkeypatch.chdir(tmp_path)
    first = signal.getsignal(number)
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, signal.SIG_IGN if ignored else usual)
    before = {n: signal.getsignal(n) for n in signal.valid_signals()}

    def press() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        if wanted is None:
            assert run_all(2, ["-c", HEARS.format(60 if heard else 1)], {}) == []
        else:
            with pytest.raises(SystemExit) as ended:
                run_all(2, ["-c", HEARS.format(60)], {})
            assert ended.value.code == wanted
        assert {n: signal.getsignal(n) for n in signal.valid_signals()} == before
    finally:
        thread.join()
        signal.signal(number, first)
    assert not any(Path(f"/proc/{p.read_text()}").exists() for p in tmp_path.glob("ready*"))
    assert sorted(p.name for p in tmp_path.glob("heard*")) == (["heard0", "heard1"] if heard else [])


def test_in_another_thread() -> None:
    """Where Python lets nobody say what Ctrl-C does."""
    found: list[list[Failure]] = []
    thread = threading.Thread(target=lambda: found.append(run_all(1, ["-c", "raise SystemExit(3)"], {})))
    thread.start()
    thread.join()
    assert found == [[Failure(0, 3, "")]]


def test_a_process_ends_with_its_launcher(tmp_path: Path) -> None:
    child = (
        "import os, time\n"
        "from kcompile.engine.launch import end_with_parent\n"
        "end_with_parent()\n"
        "open('child', 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "child").exists() and (tmp_path / "child").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    number = int((tmp_path / "child").read_text())
    process.kill()
    process.wait()
    while Path(f"/proc/{number}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{number}").exists()

"""Starts the processes of a run on this machine and watches them, with torch's process contexts."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where a process of a run leaves what went wrong
POLL = 0.1  # seconds
_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
# Signals that torch hears; Windows has two of them.
_ENDING = [getattr(signal, n) for n in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, n)]


@dataclass
class Failure:
    """How a process ended: an exit code, negative for a signal's number, and what it left as a message."""

    rank: int
    code: int
    message: str


def run_all(count: int, arguments: Sequence[str], environment: Mapping[str, str]) -> list[Failure]:
    """Run Python with these arguments in ``count`` processes that torch.distributed can join; those that failed.

    As soon as one fails the others are ended. Ctrl-C goes to each of them.
    """
    # Its lines about what failed are for people who wrote the launcher.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    common = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        **environment,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _free_port(),
    }
    ranks = {
        r: {**common, "RANK": str(r), "LOCAL_RANK": str(r), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        for r in range(count)
    }
    with _signals() as pass_on_to, tempfile.TemporaryDirectory() as folder:
        every = {r: tuple(arguments) for r in ranks}
        context = start_processes("kcompile", sys.executable, every, ranks, DefaultLogsSpecs(log_dir=folder))
        try:
            pass_on_to(context)
            result = None
            while result is None:
                result = context.wait(timeout=POLL, period=POLL)
        finally:
            context.close()
        return [Failure(r, f.exitcode, _message(f.error_file)) for r, f in sorted(result.failures.items())]


@contextmanager
def _signals() -> Iterator[Callable[[Any], None]]:
    """Within, torch hears the signals that end a process, and the processes are ended before this one.

    Yields what passes Ctrl-C on to the processes, which have a session of their own. Signals that were ignored
    (under nohup) stay so, which torch does not care for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda context: None
        return
    before = {number: signal.getsignal(number) for number in _ENDING}

    def pass_on_to(context: Any) -> None:
        def pass_on(number: int, frame: Any) -> None:
            for pid in context.pids().values():
                # One that has ended, but was not waited for, takes a signal without an error.
                os.kill(pid, number)

        signal.signal(signal.SIGINT, pass_on)
        for number, handler in before.items():
            if handler is signal.SIG_IGN:
                signal.signal(number, handler)

    try:
        yield pass_on_to
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        # What a shell reports of one that the signal has ended.
        raise SystemExit(128 + error.sigval) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_message(text: str) -> None:
    """In a process of a run: what the launcher is to say about its end."""
    if ERROR_FILE in os.environ:
        file = Path(os.environ[ERROR_FILE])
        # torch fails over one that is half written because its writer was killed.
        whole = file.with_suffix(".whole")
        whole.write_text(json.dumps({"message": text}))
        whole.replace(file)


def _message(file: str) -> str:
    """What `leave_message` left there; nothing where the process was killed before it could."""
    return str(json.loads(Path(file).read_text())["message"]) if Path(file).is_file() else ""


def end_with_parent() -> None:
    """Have this process ended where its launcher is killed (on Linux; elsewhere it goes on alone)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])

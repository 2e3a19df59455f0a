"""Starting the processes of a run, and what each makes of its result or its error; no process is started here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from kcompile.cli import output, train, workers
from kcompile.engine import launch
from kcompile.engine.distributed import LostRankError
from kcompile.engine.launch import Failure
from kcompile.errors import KcompileError, StoppedError, UnsupportedError, UsageError, WorkerError
from kcompile.files import atomic
from kcompile.keras import backend, distribution

Patch = pytest.MonkeyPatch
LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(("distribute", "count", "environment", "wanted"), [
    (None, None, {}, False),
    (None, 2, {}, "--workers: say how they share the work"),
    ("data", 2, {}, True),
    ("data", None, {}, True),
    ("data", None, LAUNCHED, False),
    ("data", 2, LAUNCHED, "--workers: torchrun has started the processes already"),
    ("data", 2, {**LAUNCHED, workers.CHILD: "result"}, False),
])  # fmt: skip
def test_whether_processes_are_to_be_started(
    monkeypatch: Patch, distribute: str | None, count: int | None, environment: dict[str, str], wanted: Any
) -> None:
    for name in (*LAUNCHED, workers.CHILD):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert workers.child() is (workers.CHILD in environment)
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            workers.to_start(distribute, count)
    else:
        assert workers.to_start(distribute, count) is wanted


LINES = [
    ["s.py"],
    ["s.py", "--epochs", "3", "--set", "A=1", "--set", "B=x y", "--resume", "--device=cuda:1", "--distribute", "fsdp"],
    ["s.py", "--workers", "4", "--json", "-o", "m.keras", "--report", "r.html", "--deterministic"],
]


@pytest.mark.parametrize("line", LINES)
def test_each_gets_the_same_command(line: list[str]) -> None:
    context = train.command.make_context("train", list(line))
    again = train.command.make_context("train", workers._arguments(context))
    assert again.params == context.params


def run(monkeypatch: Patch, failures: list[Failure], count: int | None = 3, **written: Any) -> output.Result:
    def run_all(number: int, arguments: list[str], environment: dict[str, str]) -> list[Failure]:
        assert (number, arguments[:4]) == (3, ["-m", "kcompile", "train", "s.py"])
        if written:
            Path(environment[workers.CHILD]).write_text(json.dumps(written))
        return failures

    monkeypatch.setattr(launch, "run_all", run_all)
    context = train.command.make_context("train", ["s.py"])
    return workers.in_processes(context, count, "cpu", True, lambda: "go on")


def test_the_first_ones_result(monkeypatch: Patch) -> None:
    assert run(monkeypatch, [], data={"a": 1}, text="done") == output.Result({"a": 1}, "done", True)
    with pytest.raises(UsageError, match="needs --workers N"):
        run(monkeypatch, [], None)


@pytest.mark.parametrize(("failures", "error", "text"), [
    ([Failure(1, 3, "why")], WorkerError, "rank 1 of 3 failed: why; go on"),
    ([Failure(1, 3, "")], WorkerError, "rank 1 of 3 failed: exit code 3; go on"),
    ([Failure(2, -9, "")], WorkerError, "rank 2 of 3 was killed (SIGKILL) and the others were ended; go on"),
    ([Failure(0, 75, "lost"), Failure(1, -15, ""), Failure(2, -9, "")], WorkerError,
     "rank 2 of 3 was killed (SIGKILL) and the others were ended; go on"),
    ([Failure(0, 75, "lost"), Failure(2, 75, "lost")], WorkerError, "rank 0 of 3 failed: lost; go on"),
    ([Failure(0, 2, "bad"), Failure(1, 2, "bad")], UsageError, "bad"),
    ([Failure(0, 130, "stopped")], StoppedError, "stopped"),
])  # fmt: skip
def test_what_failed(monkeypatch: Patch, failures: list[Failure], error: type[Exception], text: str) -> None:
    """The cause, not what followed from it."""
    with pytest.raises(error) as raised:
        run(monkeypatch, failures)
    assert str(raised.value) == text and type(raised.value) is error


class Processes(SimpleNamespace):
    """The engine's processes, as rank ``number``; ``said`` is what was asked of them in order."""

    def __init__(self, number: int):
        said: list[str] = []
        super().__init__(
            rank=lambda: number, join=lambda device="cpu": said.append(f"join {device}"), own_device=lambda device: f"{device}:5",
            wait=lambda: said.append("wait"), world=lambda: 2, count_of_devices=lambda kind: 2, on_gpus=lambda: False, said=said,
            lost=lambda error: LostRankError("rank 0 lost contact") if "gloo/" in str(error) else None,
        )  # fmt: skip


@pytest.fixture(params=[0, 1])
def processes(request: pytest.FixtureRequest, monkeypatch: Patch) -> Processes:
    made = Processes(request.param)
    monkeypatch.setattr(backend, "distributed", lambda: (made, None))
    monkeypatch.setattr(launch, "end_with_parent", lambda: made.said.append("end with parent"))
    monkeypatch.setattr(launch, "leave_message", lambda text: made.said.append(f"message {text}"))
    monkeypatch.setattr(atomic, "_OTHER_WRITES", [False])
    monkeypatch.setattr(
        distribution.distributions.config, "disable_interactive_logging", lambda: made.said.append("quiet")
    )
    monkeypatch.setenv(workers.CHILD, "result")
    return made


@pytest.mark.parametrize("kind", ["data", "fsdp"])
def test_a_rank(processes: Processes, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """The first alone prints and writes; all wait for each other in the end."""
    rank = processes.rank()
    with workers.as_rank(kind, "cuda", lambda: "go on") as device:
        now = distribution.distribution()
        assert now is not None and now.shards is (kind == "fsdp")
        click.echo("out")
        click.echo("err", err=True)
        processes.said.append("trained")
    assert distribution.distribution() is None and device == "cuda:5"
    found = capsys.readouterr()
    assert (found.out, found.err) == (("out\n", "err\n") if rank == 0 else ("", ""))
    assert atomic.writes() is (rank == 0) and ("quiet" in processes.said) is (rank == 1)
    assert processes.said[:2] == ["end with parent", "join cuda"] and processes.said[-2:] == ["trained", "wait"]


@pytest.mark.parametrize(("error", "code", "message", "waits"), [
    (UsageError("bad"), 2, "bad", False),
    (UnsupportedError("can't"), 3, "can't", False),
    (ValueError("odd"), 1, "ValueError: odd", False),
    (StoppedError("stopped"), 130, "stopped", True),
    (ConnectionError("gloo/pair.cc closed"), 75, "rank 0 lost contact; go on", False),
])  # fmt: skip
@pytest.mark.parametrize("started", [True, False], ids=["by its parent", "by torchrun"])
def test_a_rank_that_fails(
    processes: Processes, monkeypatch: Patch, started: bool, error: Exception, code: int, message: str, waits: bool
) -> None:
    """The parent says the error; under torchrun each says its own."""
    if not started:
        monkeypatch.delenv(workers.CHILD)
    ends = click.exceptions.Exit if started else LostRankError if code == 75 else type(error)
    with pytest.raises(ends) as raised, workers.as_rank("data", "cpu", lambda: "go on"):
        try:
            raise error
        except ConnectionError as cause:
            raise KcompileError("a step failed") from cause  # what is lost may lie deeper
    assert distribution.distribution() is None
    assert ("wait" in processes.said) is waits
    assert [s for s in processes.said if s.startswith("message")] == ([f"message {message}"] if started else [])
    assert getattr(raised.value, "exit_code", 1) == code
    if not started and code == 75:
        assert str(raised.value) == message


@pytest.mark.parametrize(("started", "first", "writes", "shown"), [
    (False, True, False, True), (False, False, False, False), (True, True, True, False), (True, False, False, False),
])  # fmt: skip
def test_a_result_is_shown_once(
    monkeypatch: Patch, tmp_path: Path, started: bool, first: bool, writes: bool, shown: bool
) -> None:
    """By the process itself, or by the parent what the first one leaves."""
    monkeypatch.delenv(workers.CHILD, raising=False)
    if started:
        monkeypatch.setenv(workers.CHILD, str(tmp_path / "result"))
    monkeypatch.setattr(atomic, "_OTHER_WRITES", [not first])
    made = output.Result({"a": 1.5}, "done", True)
    assert workers.handed_on(made) == (made if shown else output.Result(None, "", False))
    assert (tmp_path / "result").is_file() is writes
    if writes:
        assert json.loads((tmp_path / "result").read_text()) == {"data": {"a": 1.5}, "text": "done"}

"""`kcompile train` in several processes: starting them, and what each does besides training."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from kcompile.cli import output
from kcompile.errors import KcompileError, StoppedError, UsageError, WorkerError

LOST_CODE = 75  # of `kcompile.engine.distributed.LostRankError`
CHILD = "KCOMPILE_CHILD"  # where a process that `kcompile train` itself started leaves its result


def child() -> bool:
    """Whether this process is one that `kcompile train` started: its parent says how it ended."""
    return CHILD in os.environ


def to_start(distribute: str | None, count: int | None) -> bool:
    """Whether the processes of the run are still to be started; UsageError for a number that makes no sense."""
    if distribute is None:
        if count is not None:
            raise UsageError("--workers: say how they share the work, with --distribute data or --distribute fsdp")
        return False
    from kcompile.keras import backend

    started: bool = backend.distributed()[0].started()
    if started and count is not None and not child():
        raise UsageError("--workers: torchrun has started the processes already; leave it out")
    return not started


def in_processes(
    context: click.Context, count: int | None, device: str, as_json: bool, after: Callable[[], str]
) -> output.Result:
    """Run the command of ``context`` in several processes; the first one's result.

    Raises what one of them failed with; WorkerError for one that was killed, ``after`` saying how to go on.
    """
    from kcompile.engine.launch import Failure, run_all

    number = count or _one_a_gpu(device)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        arguments = ["-m", "kcompile", context.info_name or "", *_arguments(context)]
        failures: list[Failure] = run_all(number, arguments, {CHILD: str(result)})
        if not failures:
            made = json.loads(result.read_text())
            return output.Result(made["data"], made["text"], as_json)
    # Those that ended for want of another, or were ended because of it, are no cause.
    consequences = (LOST_CODE, -signal.SIGTERM)
    cause = next((f for f in failures if f.code not in consequences), failures[0])
    if cause.code < 0:
        name = signal.Signals(-cause.code).name
        raise WorkerError(f"rank {cause.rank} of {number} was killed ({name}) and the others were ended; {after()}")
    if cause.code in (StoppedError.exit_code, UsageError.exit_code):
        # What all ranks say.
        error: KcompileError = (StoppedError if cause.code == StoppedError.exit_code else UsageError)(cause.message)
    else:
        error = WorkerError(
            f"rank {cause.rank} of {number} failed: {cause.message or f'exit code {cause.code}'}; {after()}"
        )
    raise error


def _arguments(context: click.Context) -> list[str]:
    """The command line that gives these parameters."""
    words: list[str] = []
    for parameter in context.command.params:
        value, option = context.params.get(str(parameter.name)), max(parameter.opts, key=len)
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words += [option] if value else []
        elif parameter.multiple:
            words += [f"{option}={v}" for v in value or ()]
        elif value is not None:
            words.append(f"{option}={value}")
    return words


def _one_a_gpu(device: str) -> int:
    from kcompile.keras import backend

    if device.startswith("cuda"):
        backend.devices().cuda()  # says what is missing where there is none
        return int(backend.distributed()[0].count_of_devices("cuda"))
    raise UsageError("--distribute on a CPU needs --workers N, the number of processes (or start it with torchrun)")


@contextlib.contextmanager
def as_rank(kind: str, device: str, after: Callable[[], str]) -> Iterator[str]:
    """Within, this process is one rank: it has joined the others, and only the first prints. Yields its device.

    A rank that is left alone ends with a line that says so.
    """
    from kcompile.keras import backend, distribution

    processes, _ = backend.distributed()
    if child():
        backend.launching().end_with_parent()
    processes.join(device)
    distribution.set_distribution({"data": distribution.DataParallel, "fsdp": distribution.FullySharded}[kind]())
    try:
        with _quiet(processes.rank() > 0):
            yield processes.own_device(device)
            processes.wait()
    except Exception as error:
        lost = next((e for e in map(processes.lost, _chain(error)) if e is not None), None)
        if isinstance(error, StoppedError) and lost is None:
            # All ranks stop after the same epoch; the first may still write.
            processes.wait()
        ending = _ending(error if lost is None else type(lost)(f"{lost}; {after()}"))
        if ending is error:
            raise
        raise ending from error
    finally:
        distribution.set_distribution(None)


def _ending(error: Exception) -> Exception:
    """What a rank ends with: of one that was started by a parent, the parent says the error, once for all ranks."""
    from kcompile.keras import backend

    if not child():
        return error
    known = isinstance(error, KcompileError)
    backend.launching().leave_message(str(error) if known else f"{type(error).__name__}: {error}")
    return click.exceptions.Exit(getattr(error, "exit_code", 1))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


@contextlib.contextmanager
def _quiet(really: bool) -> Iterator[None]:
    """Nothing that is printed within appears."""
    with contextlib.ExitStack() as stack:
        if really:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def handed_on(result: output.Result) -> output.Result:
    """The result as this process shows it: the parent shows the first one's, other ranks' nobody."""
    from kcompile.files.atomic import writes

    if child() and writes():
        Path(os.environ[CHILD]).write_text(json.dumps({"data": output.plain(result.data), "text": result.text}))
    return output.Result(None, "", False) if child() or not writes() else result

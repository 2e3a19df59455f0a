"""What fit shows: on a terminal, in a file, in CI, with each ``verbose``."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.keras import progress
from kcompile.keras.progress import ProgressBar
from tests.keras.support import keras, real
from tests.keras.test_training import ROWS, X, Y, regressor

STEPS = -(-ROWS // 3)
EPOCH = rf"{STEPS}/{STEPS} - \d+s - \d+[mu]s/step - loss: [\d.]+ - mae: [\d.]+"
VALID = r" - val_loss: [\d.]+ - val_mae: [\d.]+"
CALLS = {
    "fit": (lambda m, v: m.fit(X, Y, epochs=2, batch_size=3, verbose=v, validation_data=(X, Y)), rf"{EPOCH}{VALID}", 2),
    "fit, one epoch": (lambda m, v: m.fit(X, Y, batch_size=3, verbose=v), EPOCH, 1),
    "evaluate": (lambda m, v: m.evaluate(X, Y, batch_size=3, verbose=v), EPOCH, 1),
    "predict": (lambda m, v: m.predict(X, batch_size=3, verbose=v), EPOCH.split(" - loss")[0], 1),
}


class Terminal(io.StringIO):
    """A terminal of 100 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CI": None, "NO_COLOR": None, "TERM": "xterm", "COLUMNS": "100", "LINES": "20"}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)


@pytest.fixture
def to(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends standard output to a stream; within the test, for pytest sends it elsewhere before that."""

    def send(stream: Any) -> Any:
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return send


def compiled(room: Any) -> Any:
    model = regressor(room)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def lines(verbose: Any, call: str, stream: Any) -> list[str]:
    """What a call with ``verbose`` writes, without colours."""
    model, before = compiled(keras), stream.getvalue()
    CALLS[call][0](model, verbose)
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()[len(before) :]).splitlines()


@pytest.mark.parametrize("ci", ["", "true"])
@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
@pytest.mark.parametrize("call", CALLS)
def test_lines_where_there_is_no_terminal(
    call: str, verbose: Any, ci: str, to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    _, line, epochs = CALLS[call]
    titles = [f"Epoch {i}/{epochs}" for i in range(1, epochs + 1)] if epochs > 1 else [""] * epochs
    if ci and verbose == "auto":
        wanted = [f"{title} - {line}" if title else line for title in titles]
    else:
        wanted = [part for title in titles for part in (title, line) if part] if verbose else []
    found = lines(verbose, call, to(io.StringIO()))
    assert len(found) == len(wanted) and all(map(re.fullmatch, wanted, found)), found


@pytest.mark.parametrize("call", CALLS)
def test_verbose_2_is_keras_line(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for room in (keras, real):
        CALLS[call][0](compiled(room), 2)
        # Keras pads no numbers of steps here.
        shown.append([re.sub(r"\d+[mu]?s|[\d.]+e?-?\d*", "0", line) for line in capsys.readouterr().out.splitlines()])
    assert shown[0] == shown[1]


def test_a_terminal_shows_what_runs(to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = to(Terminal())
    clock = iter(np.arange(0, 100, 0.05).tolist())
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    bar = ProgressBar(400, title="Epoch 1/3")
    for step in range(1, 401):
        bar.update(step, {"loss": 1 / step})
    bar.finish(400, {"loss": 0.25, "val_loss": 0.5})
    title, *drawn = re.split(r"\r\x1b\[K|\n", re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()))
    assert title == "Epoch 1/3" and len(drawn) < 220 and drawn[-1] == ""
    assert re.fullmatch(r" \d\d/400 ━{20} \d+s left 1\d steps/s - loss: 0.0\d+", drawn[20]), drawn[20]
    assert re.fullmatch(r"400/400 ━{20} \d+s \d+ms/step - loss: 0.2500 - val_loss: 0.5000", drawn[-2]), drawn[-2]
    assert "\x1b[32m" in terminal.getvalue()


def test_a_terminal_line_is_cut_where_it_would_wrap(to: Any) -> None:
    terminal = to(Terminal())
    bar = ProgressBar(10, interval=0)
    values = {f"a_metric_of_some_length_{i}": float(i) for i in range(9)}
    bar.update(3, values)
    assert len(re.sub(r"\x1b\[[\d;]*[mK]|\r", "", terminal.getvalue())) == 100 and "\n" not in terminal.getvalue()
    bar.finish(10, values)
    assert "a_metric_of_some_length_8: 8.0000" in terminal.getvalue().replace("\n", "")


@pytest.mark.parametrize(("columns", "bar"), [(140, 20), (75, 20), (74, 19), (60, 5), (56, 1), (55, 0), (40, 0)])
def test_the_bar_gives_way_to_numbers(columns: int, bar: int, to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal, clock = to(Terminal()), iter(range(100))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    ProgressBar(100).finish(100, {"loss": 0.25, "val_loss": 0.5})
    shown = re.sub(r"\x1b\[[\d;]*[mK]|\r", "", terminal.getvalue())
    assert shown.count("━") == bar and "val_loss: 0.5000" in shown.replace("\n", "")
    assert columns < 54 or len(shown) <= columns + 1


def test_a_loop_that_is_left_ends_its_line(to: Any) -> None:
    terminal = to(Terminal())
    ProgressBar(10, interval=0).update(3, {})
    ProgressBar.leave()
    ProgressBar.leave()
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().endswith("\n")


def test_the_first_step_does_not_count_for_the_time_left(to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = to(Terminal())
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = ProgressBar(101)
    for step, now[0] in ((1, 60.0), (2, 61.0)):
        bar.update(step, {})
    assert "1:39 left" in terminal.getvalue().split("\r")[-1] and "1s/step" in terminal.getvalue().split("\r")[-1]


def test_long_epochs_leave_lines_in_a_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = ProgressBar(100)
    for step in range(1, 101):
        now[0] += 1.0
        bar.update(step, {"loss": 0.5})
    assert capsys.readouterr().out.splitlines() == [
        " 30/100 - 1:10 left - 1s/step - loss: 0.5000",
        " 60/100 - 40s left - 1s/step - loss: 0.5000",
        " 90/100 - 10s left - 1s/step - loss: 0.5000",
    ]


def test_metrics_are_read_when_they_are_shown(to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = to(Terminal())
    reads: list[int] = []
    model = compiled(keras)
    plain = type(model).get_metrics_result
    monkeypatch.setattr(type(model), "get_metrics_result", lambda self: (reads.append(1), plain(self))[1])
    model.fit(np.tile(X, (40, 1)), np.tile(Y, (40, 1)), batch_size=1, epochs=2)
    drawn = terminal.getvalue().count("\r")
    assert 2 <= len(reads) <= drawn + 2 < 400


def test_rich_is_loaded_for_terminals_only() -> None:
    code = "import sys, numpy as np; from kcompile import keras as k\nm = k.Sequential([k.Input((2,)), k.layers.Dense(1)])\n"
    code += "m.compile('sgd', 'mse'); m.fit(np.ones((4, 2)), np.ones((4, 1)))\nassert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path.cwd())

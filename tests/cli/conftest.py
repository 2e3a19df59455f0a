"""The command line in this process: code, stdout, stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kcompile.cli.main import run

MODEL = """
from kcompile import keras
from kcompile.keras import layers

keras.utils.set_random_seed(1)
model = keras.Sequential(
    [keras.Input((4,), name="x"), layers.Dense(3, activation="relu", name="hidden"), layers.Dense(2, name="y")], name="small"
)


def train(model):
    print("training")
    model.set_weights([w * 0 + 1 for w in model.get_weights()])
"""


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


Run = Callable[..., Done]


@pytest.fixture
def kc(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``kc("export", "model.py")`` in a folder of its own that holds model.py and x.npy; an error is one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(3, 4))

    def call(*argv: str) -> Done:
        capfd.readouterr()
        code = run(list(argv))
        done = Done(code, *capfd.readouterr())
        told = argv[:1] == ("diff",) and code == 4  # a difference is a result, not an error
        if code and argv and "--debug" not in argv and not told:
            last = done.err.splitlines()[-1]
            assert done.out == "" and last.startswith("kcompile: error: ") and "Traceback" not in done.err, done
            assert all(c.isprintable() or c == "\n" for c in done.err), done.err
        return done

    return call


@pytest.fixture
def exported(kc: Run) -> Run:
    """`kc` in a folder that also holds model.onnx."""
    assert kc("export", "model.py").code == 0
    return kc

"""Processes are killed, in an epoch and while they write; the run goes on to the weights of one never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kcompile import keras

# KILL is (rank, epoch, what it is doing); the process ends itself, as an operator's or a kernel's `kill -9` would.
SCRIPT = """
import os, signal
import numpy as np
import keras
import kcompile.cli.fitting

KILL = (-1, -1, "batch")
kcompile.cli.fitting.PAUSE = 0.0
keras.utils.set_random_seed(7)
model = keras.Sequential([
    keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3),
    keras.layers.BatchNormalization(), keras.layers.Dense(1),
])
rank, epoch, doing = KILL

def dies(model, what):
    if (int(os.environ.get("RANK", "0")), what) == (rank, doing) and len(model.history.epoch) == epoch:
        os.kill(os.getpid(), signal.SIGKILL)

class Act(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            dies(self.model, "batch")

written = np.savez

def savez(stream, **arrays):
    stream.write(b"half of it")
    stream.flush()
    dies(model, "save")
    stream.seek(0)
    written(stream, **arrays)

np.savez = savez

def train(model):
    x = np.random.default_rng(0).random((41, 4)).astype("float32")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    slow = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.5)
    model.fit(x, x.sum(1), batch_size=8, epochs=6, validation_data=(x, x.sum(1)), callbacks=[Act(), stop, slow])
"""


def kcompile(folder: Path, *argv: str, launcher: tuple[str, ...] = ("-m",)) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *launcher, "kcompile", "train", "t.py", *argv]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=120)


def state(path: Path) -> list[np.ndarray]:
    model = keras.models.load_model(path)
    return [np.asarray(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]


def assert_same(a: Path, b: Path) -> None:
    for x, y in zip(state(a), state(b), strict=True):
        np.testing.assert_array_equal(x, y)


DATA = ("--distribute", "data", "--workers", "2")
FSDP = ("--distribute", "fsdp", "--workers", "2")
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "kill"),
    [
        pytest.param((), (0, 2, "batch"), id="one-epoch", marks=slow),
        pytest.param((), (0, 3, "save"), id="one-save"),
        pytest.param(DATA, (1, 2, "batch"), id="data-epoch", marks=slow),
        pytest.param(DATA, (0, 3, "save"), id="data-save", marks=slow),
        pytest.param(FSDP, (1, 4, "batch"), id="fsdp-epoch"),
        pytest.param(FSDP, (0, 2, "save"), id="fsdp-save", marks=slow),
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, options: tuple[str, ...], kill: tuple[int, int, str]
) -> None:
    (tmp_path / "t.py").write_text(SCRIPT)
    whole = kcompile(tmp_path, *options, "-o", "whole.keras")
    assert whole.returncode == 0, whole.stderr
    killed = kcompile(tmp_path, *options, "--set", f"KILL={kill!r}")
    if options:
        assert killed.returncode == 6
        errors = [line for line in killed.stderr.splitlines() if "error" in line]
        assert errors == [
            f"kcompile: error: rank {kill[0]} of 2 was killed (SIGKILL) and the others were ended; the checkpoint is in "
            "t.checkpoint, go on with the same command and --resume"
        ]
    else:
        assert killed.returncode == -signal.SIGKILL
    resumed = kcompile(tmp_path, *options, "--resume", "-o", "resumed.keras")
    assert resumed.returncode == 0, resumed.stderr
    assert f"Epoch {kill[1] + 1}/6" in resumed.stderr
    assert f"Epoch {kill[1]}/6" not in resumed.stderr
    assert_same(tmp_path / "whole.keras", tmp_path / "resumed.keras")
    assert not (tmp_path / "t.checkpoint").exists()


STREAM = """
def stream(x):
    while True:
        for i in np.random.permutation(6):
            yield x[8 * i : 8 * i + 8], x[8 * i : 8 * i + 8].sum(1)

def train(model):"""
ARRAYS = "model.fit(x, x.sum(1), batch_size=8,"


@pytest.mark.parametrize(
    ("options", "streamed"),
    [
        pytest.param(DATA, False, id="data-arrays"),
        pytest.param(FSDP, False, id="fsdp-arrays", marks=slow),
        pytest.param(DATA, True, id="data-generator", marks=slow),
        pytest.param(FSDP, True, id="fsdp-generator"),
    ],
)
def test_epochs_that_stop_in_the_midst_of_the_data_go_on_there(
    tmp_path: Path, options: tuple[str, ...], streamed: bool
) -> None:
    """The third of them ends behind four of six batches, a stream is not begun anew at all."""
    script = SCRIPT.replace("epochs=6,", "epochs=6, steps_per_epoch=4,")
    if streamed:
        script = script.replace("\ndef train(model):", STREAM).replace(ARRAYS, "model.fit(stream(x),")
    (tmp_path / "t.py").write_text(script)
    assert kcompile(tmp_path, *options, "-o", "whole.keras").returncode == 0
    assert kcompile(tmp_path, *options, "--set", "KILL=(0, 3, 'save')").returncode == 6
    resumed = kcompile(tmp_path, *options, "--resume", "-o", "resumed.keras")
    assert resumed.returncode == 0, resumed.stderr
    assert "Epoch 4/6" in resumed.stderr and "Epoch 3/6" not in resumed.stderr
    assert_same(tmp_path / "whole.keras", tmp_path / "resumed.keras")


@slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(FSDP, (), id="fsdp-to-one"),
        pytest.param(FSDP, ("--distribute", "fsdp", "--workers", "3"), id="fsdp-to-three"),
        pytest.param((), FSDP, id="one-to-fsdp"),
        pytest.param(DATA, FSDP, id="data-to-fsdp"),
    ],
)
def test_another_number_of_processes_goes_on(tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    (tmp_path / "t.py").write_text(SCRIPT)
    assert kcompile(tmp_path, "-o", "whole.keras").returncode == 0
    assert kcompile(tmp_path, *before, "--set", "KILL=(0, 3, 'batch')").returncode != 0
    resumed = kcompile(tmp_path, *after, "--resume", "-o", "resumed.keras")
    assert resumed.returncode == 0, resumed.stderr
    for x, y in zip(state(tmp_path / "whole.keras"), state(tmp_path / "resumed.keras"), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@slow
def test_ctrl_c_ends_all_after_the_same_epoch(ctrl_c: None, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        SCRIPT.replace("if batch == 2:", "import time; time.sleep(0.2)\n        if batch == 2:")
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "kcompile", "train", "t.py", *FSDP]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE)
    assert running.stderr is not None
    lines = []
    for line in running.stderr:
        lines.append(line)
        if line.startswith("Epoch 2/6"):
            running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    assert lines[-1] == (
        "kcompile: error: stopped after epoch 2 of 6; the checkpoint is in t.checkpoint, go on with the same command and "
        "--resume\n"
    )
    assert "".join(lines).count("ending after this epoch") == 1
    resumed = kcompile(tmp_path, *FSDP, "--resume", "-o", "resumed.keras")
    assert resumed.returncode == 0, resumed.stderr
    assert "Epoch 3/6" in resumed.stderr


@slow
def test_torchrun_starts_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(SCRIPT)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
    whole = kcompile(tmp_path, *DATA, "-o", "whole.keras")
    other = kcompile(tmp_path, "--distribute", "data", "-o", "other.keras", "--json", launcher=torchrun)
    assert (whole.returncode, other.returncode) == (0, 0), other.stderr
    assert other.stdout.count('"source"') == 1
    assert_same(tmp_path / "whole.keras", tmp_path / "other.keras")


def test_damaged_parts_change_nothing(tmp_path: Path) -> None:
    """A checkpoint of parts that is cut short is an error of one line; nothing of it is taken."""
    from kcompile.engine.checkpoints import load
    from kcompile.errors import FileFormatError

    (tmp_path / "shards-1").mkdir()
    for content in (None, b"", b"\x80\x04garbage"):
        if content is not None:
            (tmp_path / "shards-1" / ".metadata").write_bytes(content)
        with pytest.raises(FileFormatError, match="not a sharded checkpoint"):
            load(tmp_path / "shards-1")

"""The scripts that people have: without functions, with arguments, in packages, of several models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kcompile import keras
from kcompile.cli import fitting
from tests.cli.conftest import Run

HEAD = """
import numpy as np
import keras

RATE, (EPOCHS, SIZES) = 0.1, (3, [4, 1])
keras.utils.set_random_seed(2)
x = np.random.default_rng(0).random((40, 4)).astype("float32")
"""
NET = "keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(n) for n in SIZES]])\n"
FIT = """
model.compile(keras.optimizers.SGD(RATE), "mse")
model.fit(x, x.sum(1), epochs=EPOCHS, batch_size=8, verbose=2)
"""
IN_TRAIN = "def train(model):" + FIT.replace("\n", "\n    ") + "\n"
ARGUMENTS = (
    "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--n', default=4)\nparser.parse_args()\n"
)

SCRIPTS: dict[str, dict[str, str]] = {
    "train.py": {"train.py": HEAD + "model = " + NET + IN_TRAIN},
    "notebook.py": {"notebook.py": HEAD + "model = " + NET + FIT},
    "arguments.py": {"arguments.py": ARGUMENTS + HEAD + "model = " + NET + IN_TRAIN},
    "arguments_in_train.py": {
        "arguments_in_train.py": HEAD + "model = " + NET + IN_TRAIN + "    " + ARGUMENTS.replace("\n", "\n    ")
    },
    "outer/inner/relative.py": {
        "outer/__init__.py": "",
        "outer/inner/__init__.py": "",
        "outer/parts.py": "import keras\ndef net(SIZES):\n    return " + NET,
        "outer/inner/relative.py": HEAD + "from ..parts import net\nmodel = net(SIZES)\n" + IN_TRAIN,
    },
}


@pytest.fixture
def scripts(kc: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    for files in SCRIPTS.values():
        for name, text in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
    monkeypatch.setattr(fitting, "PAUSE", 0.0)
    return kc


@pytest.mark.parametrize("script", SCRIPTS)
def test_trains_to_the_same_weights(script: str, scripts: Run) -> None:
    options = ("--epochs", "2", "--set", "RATE=0.02", "--set", "SIZES=[3, 1]")
    found = scripts("train", script, *options, "-o", "a.keras", "--json").json["fits"]
    assert [(f["epochs"], len(f["history"]["loss"])) for f in found] == [(2, 2)]
    scripts("train", "train.py", *options, "-o", "b.keras")
    for a, b in zip(*(keras.models.load_model(p).get_weights() for p in ("a.keras", "b.keras")), strict=True):
        np.testing.assert_array_equal(a, b)
    assert scripts("export", "a.keras", "-o", "a.onnx").code == 0


def test_a_script_without_functions_stops_and_goes_on(scripts: Run) -> None:
    scripts("train", "notebook.py", "-o", "whole.keras")
    stop = "import os, signal\nclass Stop(keras.callbacks.Callback):\n    def on_epoch_begin(self, epoch, logs=None):\n"
    stop += "        if epoch == 1 and not RESUMED: os.kill(os.getpid(), signal.SIGINT)\n"
    text = "RESUMED = False\n" + HEAD + stop + "model = " + NET + FIT.replace("verbose=2", "callbacks=[Stop()]")
    Path("stopped.py").write_text(text + "print('behind it')\n")
    stopped = scripts("train", "stopped.py", "--report", "r.html", "-o", "part.keras")
    assert stopped.code == 130 and "stopped after epoch 2 of 3" in stopped.err and "behind it" not in stopped.err
    assert "Stopped after" in Path("r.html").read_text() and not Path("part.keras").exists()
    resumed = scripts("train", "stopped.py", "--set", "RESUMED=on", "--resume", "-o", "part.keras")
    assert resumed.code == 0 and "behind it" in resumed.err
    for a, b in zip(*(keras.models.load_model(p).get_weights() for p in ("whole.keras", "part.keras")), strict=True):
        np.testing.assert_array_equal(a, b)


CLASS = """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = keras.layers.Dense(4), keras.layers.Dropout(0.3), keras.layers.Dense(1)

    def call(self, x, training=None):
        return self.last(self.drop(self.first(x["a"]), training=training) + x["b"])

model = Net()
x = {"a": x, "b": x[:, :1]}
y = x["a"].sum(1)
"""
OWN = """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dropout(0.3), keras.layers.Dense(1)])

    def train_step(self, data):
        self.zero_grad()
        loss = keras.ops.mean(keras.ops.square(self.inner(data[0], training=True)[:, 0] - data[1]))
        loss.backward()
        self.optimizer.apply([v.value.grad for v in self.trainable_variables], self.trainable_variables)
        return {"loss": loss}

model = Own()
y = x.sum(1)
"""
PLAIN = "model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.3), keras.layers.Dense(1)])\ny = x.sum(1)\n"


@pytest.mark.parametrize("made", [PLAIN, CLASS, OWN], ids=["Sequential", "class", "train_step"])
def test_models_that_are_not_built_go_on(made: str, scripts: Run) -> None:
    """Two have no weights before the first batch, and making them draws from generators whose states are kept."""
    fit = FIT.replace("x.sum(1)", "y") + "np.savez(OUT, *model.get_weights())\n"
    Path("m.py").write_text("OUT = 'none.npz'\n" + HEAD + made + fit)
    assert scripts("train", "m.py", "--epochs", "4", "--set", "OUT=whole.npz").code == 0
    assert scripts("train", "m.py", "--epochs", "2", "--checkpoint-dir", "c").code == 0
    resumed = scripts("train", "m.py", "--epochs", "4", "--checkpoint-dir", "c", "--resume", "--set", "OUT=part.npz")
    assert resumed.code == 0 and "Epoch 3/4" in resumed.err and "Epoch 2/4" not in resumed.err
    whole, part = np.load("whole.npz"), np.load("part.npz")
    assert len(whole.files) >= 4
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], part[name])


def test_says_where_the_model_is(scripts: Run) -> None:
    assert "-o FILE.keras or FILE.onnx writes it" in scripts("train", "train.py", "--epochs", "1").out
    assert "-o FILE" not in scripts("train", "train.py", "--epochs", "1", "-o", "a.keras").out


def test_report_tells_metrics_and_schedules(scripts: Run) -> None:
    schedule = "keras.optimizers.schedules.CosineDecay(RATE, 10)"
    Path("s.py").write_text(
        HEAD
        + "model = "
        + NET
        + FIT.replace("SGD(RATE)", f"SGD({schedule})").replace('"mse")', '"mse", metrics=["mae"])')
    )
    assert scripts("train", "s.py", "--report", "r.html").code == 0
    text = Path("r.html").read_text()
    assert "<td>metrics</td><td>mae</td>" in text and "CosineDecay(initial_learning_rate=0.1, decay_steps=10" in text


def test_several_processes_need_gpus_that_are_there(scripts: Run) -> None:
    done = scripts("train", "train.py", "--distribute", "fsdp", "--device", "cuda")
    assert done.code == 5 and "device 'cuda'" in done.err


def test_predictions_do_not_replace_their_data(scripts: Run) -> None:
    scripts("export", "train.py", "-o", "m.onnx")
    np.save("x.npy", np.ones((3, 4), np.float32))
    for data in ("x.npy", "."):
        done = scripts("predict", "m.onnx", data, "-o", str(Path("x.npy").resolve()))
        assert done.code == 2 and "is one of the files that are read" in done.err
    assert np.load("x.npy").shape == (3, 4)

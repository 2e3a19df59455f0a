"""`kcompile train`: its options, Ctrl-C and resuming to the same weights, the report."""

from __future__ import annotations

import signal
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kcompile import keras
from kcompile.cli import fitting
from kcompile.drawing import curves
from tests.cli.conftest import Run

SCRIPT = """
import os, signal
import numpy as np
import keras

UNITS = 3
rate: float = 0.1
BIAS = True
LABEL = "plain"
WIDTHS = (4, 1)
COMPUTED = UNITS + 1
STOP, AFTER = None, 1
ACTION = "none"
PHASES = 1

keras.utils.set_random_seed(7)
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(UNITS, use_bias=BIAS), keras.layers.Dropout(0.3), keras.layers.Dense(1)],
    name="m<b>",
)

class Act(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if (len(self.model.history.epoch), batch) == (2, 1):
            for _ in range({"ctrl-c": 1, "twice": 2}.get(ACTION, 0)):
                os.kill(os.getpid(), signal.SIGINT)
            if ACTION == "fail":
                raise RuntimeError("no more")

def train(model, times=1, *, size=8):
    x = np.random.default_rng(0).random((20, 4)).astype("float32")
    model.compile(keras.optimizers.Adam(rate), "mse")
    for phase in range(PHASES):
        history = model.fit(x, x.sum(1), batch_size=size, epochs=5 * times, validation_data=(x, x.sum(1)), callbacks=[Act()]).history
    print(LABEL, len(history["loss"]), "epochs in this process")
"""


@pytest.fixture
def train(kc: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``train("--epochs", "2")`` on the script above, with a checkpoint after each epoch."""
    Path("t.py").write_text(SCRIPT)
    monkeypatch.setattr(fitting, "PAUSE", 0.0)
    return lambda *argv: kc("train", "t.py", *argv)


def weights(path: str) -> list[np.ndarray]:
    return keras.models.load_model(path).get_weights()


def assert_same(a: str, b: str) -> None:
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_is_the_scripts_own_training(train: Run) -> None:
    found = train("-o", "a.keras", "--json").json
    namespace: dict[str, object] = {}
    exec(SCRIPT.replace("import keras", "from kcompile import keras"), namespace)
    namespace["train"](namespace["model"])  # type: ignore[operator]
    for x, y in zip(weights("a.keras"), namespace["model"].get_weights(), strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(x, y)
    fit = found["fits"][0]
    assert (fit["model"], fit["epochs"], fit["of"]) == ("m<b>", 5, 5) and found["files"] == ["a.keras"]
    assert set(fit["history"]) == {"loss", "val_loss"} and len(fit["history"]["loss"]) == 5
    assert fit["best"]["value"] == min(fit["history"]["val_loss"])
    assert not Path("t.checkpoint").exists()


def test_options_take_effect(train: Run) -> None:
    done = train("--epochs", "2", "--batch-size", "20", "--set", "UNITS=5", "--set", "rate=0", "--set", "LABEL=a=b",
                 "--set", "BIAS=false", "-o", "a.onnx")  # fmt: skip
    assert done.code == 0 and "a=b 2 epochs" in done.err and "1/1 " in done.err and Path("a.onnx").is_file()
    train("--epochs", "1", "--set", "UNITS=5", "--set", "BIAS=no", "-o", "a.keras")
    assert [w.shape for w in weights("a.keras")] == [(4, 5), (5, 1), (1,)]
    done = train("--set", "times=2", "--set", "size=20")
    assert "10 epochs" in done.err and "1/1 " in done.err


@pytest.mark.parametrize("action", ["ctrl-c", "twice", "fail"])
@pytest.mark.parametrize("phases", [1, 2])
def test_goes_on_to_the_same_weights(train: Run, ctrl_c: None, action: str, phases: int) -> None:
    common = ("--set", f"PHASES={phases}", "--report", "r.html")
    assert train(*common, "-o", "whole.keras").code == 0
    stopped = train(*common, "--set", f"ACTION={action}", "-o", "part.keras")
    kept = 3 if action == "ctrl-c" else 2
    assert stopped.code == (2 if action == "fail" else 130) and not Path("part.keras").exists()
    if action != "fail":
        assert f"stopped after epoch {kept} of 5" in stopped.err and "--resume" in stopped.err.splitlines()[-1]
        assert "Stopped after" in Path("r.html").read_text()
    assert "go on with --resume, or delete it" in train(*common).err
    resumed = train(*common, "--resume", "-o", "part.keras", "--json")
    assert len(resumed.json["fits"]) == phases and f"{5 - kept if phases == 1 else 5} epochs in this" in resumed.err
    assert all(len(f["history"]["loss"]) == 5 for f in resumed.json["fits"])
    assert_same("whole.keras", "part.keras")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_is_ignored(train: Run) -> None:
    """As under nohup: who started the run wanted it to go on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert "5 epochs in this" in train("--set", "ACTION=twice").err
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_named_folder_stays_and_more_epochs_go_on(train: Run) -> None:
    train("--epochs", "4", "-o", "whole.keras")
    assert "no checkpoint in" in train("--epochs", "2", "--checkpoint-dir", "c", "--resume").err
    assert "2 epochs in this" in train("--epochs", "4", "--checkpoint-dir", "c", "--resume", "-o", "part.keras").err
    Path("t.py").write_text(SCRIPT.replace('len(history["loss"])', "len(history)"))  # a fit without epochs has no loss
    assert "epoch 4 of 4" in train("--epochs", "1", "--checkpoint-dir", "c", "--resume").out
    assert_same("whole.keras", "part.keras")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {"src", "href"} & {k for k, _ in attrs}


def test_report(train: Run) -> None:
    train("--report", "r.html", "--set", "LABEL=<script>")
    text = Path("r.html").read_text()
    parser = Tags()
    parser.feed(text)
    assert "svg" in parser.seen and not {"script", "b", "link"} & parser.seen
    wanted = (
        "m&lt;b&gt;",
        "&lt;script&gt;",
        "best epoch",
        "Adam",
        "learning_rate",
        "mse",
        "threads",
        "The seed 7",
    )
    assert not [w for w in wanted if w not in text]


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [1.0, np.nan, 2.0], [np.nan], [3.0, 3.0], [1e308, -1e308, np.inf], [1e300, 1e300], [0.0, 5e-324]],
    ids=str,
)
def test_curves_are_xml(values: list[float]) -> None:
    svg = curves.to_svg("a<b&", list(range(1, len(values) + 1)), {"<i>": values})
    assert "nan" not in svg and "inf" not in svg
    xml.etree.ElementTree.fromstring(svg)


ERRORS = [
    (["--set", "UNIT=3"], 2, "did you mean 'UNITS'"),
    (["--set", "UNITS=many"], 2, "'many' is no int"),
    (["--set", "BIAS=perhaps"], 2, "'perhaps' is no bool"),
    (["--set", "WIDTHS=[1]"], 2, "is no tuple"),
    (["--set", "rate=nan"], 2, "no finite number"),
    (["--set", "COMPUTED=3"], 2, "computes it"),
    (["--set", "UNITS"], 2, "expected key=value"),
    (["--set", "UNITS=1", "--set", "UNITS=2"], 2, "given twice"),
    (["--device", "cuda"], 5, "device 'cuda'"),
    (["--device", "cuda:x"], 2, "use cpu, cuda, cuda:1 or auto"),
    (["-o", "a.txt"], 2, ".keras or .onnx"),
    (["--report", "none/r.html"], 2, "does not exist"),
    (["--epochs", "0"], 2, "--epochs"),
]


@pytest.mark.parametrize(("argv", "code", "words"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_errors(train: Run, argv: list[str], code: int, words: str) -> None:
    done = train(*argv)
    assert done.code == code and words in done.err


def test_what_has_no_train_or_no_fit(kc: Run, train: Run) -> None:
    Path("bare.py").write_text(SCRIPT.partition("def train")[0])
    assert "needs a function train(model)" in kc("train", "bare.py").err
    assert "called no fit" in kc("train", "model.py", "--epochs", "3").err
    Path("t.py").write_text(
        SCRIPT.replace("model.fit(x, x.sum(1), batch_size=size,", "model.fit(iter([(x, x.sum(1))] * 9),")
    )
    assert "--batch-size: the batches" in train("--batch-size", "3").err


def test_tensorboard_has_a_folder_for_each_fit(train: Run) -> None:
    pytest.importorskip("tensorboard")
    assert train("--tensorboard", "tb", "--epochs", "1", "--set", "PHASES=2").code == 0
    assert all(list(Path(folder).glob("events.*")) for folder in ("tb/train", "tb/validation", "tb/fit2/train"))

"""What goes wrong on the command line: one line that says what, and the exit code that fits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kcompile.operators.activation import Relu
from tests.cli.conftest import MODEL, Run

KERAS = "from kcompile import keras\nfrom kcompile.keras import layers\n"
TWO = (
    KERAS
    + "a = keras.Sequential([keras.Input((2,)), layers.Dense(1)])\nb = keras.Sequential([keras.Input((2,)), layers.Dense(1)])\n"
)

# script, arguments, what the error says
SCRIPTS = {
    "syntax": ("x = 1\nif:\n", [], "s.py:2: syntax error: invalid syntax"),
    "exception": ("x = 1\n\nraise ValueError('a\\nb')\n", [], "s.py:3: ValueError: a b"),
    "deep exception": ("def f():\n    return 1 / 0\nf()\n", [], "s.py:2: ZeroDivisionError: division by zero"),
    "no message": ("raise KeyError\n", [], "s.py:1: KeyError: (no message)"),
    "missing module": ("import no_such_module\n", [], "s.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
    "no model": ("x = 1\n", [], "s.py: defines no model; call one `model`, or write a function `build()`"),
    "two models": (TWO, [], "s.py: defines 2 models (a, b); choose one with --name"),
    "unknown name": (TWO, ["--name", "aa"], "s.py: no model is called 'aa' (did you mean 'a'?)"),
    "exit": (
        "import sys\nsys.exit(0)\n",
        [],
        "s.py:2: the script called sys.exit(0); guard it with `if __name__ == '__main__':`",
    ),
    "build returns nothing": ("def build():\n    pass\n", [], "s.py: build() returned NoneType, not a model"),
    "build raises": ("def build():\n    raise OSError('disk')\n", [], "s.py:2: OSError: disk"),
    "build with arguments": ("def build(width):\n    pass\n", [], "missing 1 required positional argument: 'width'"),
    "build exits": ("def build():\n    exit(3)\n", [], "s.py:2: the script called sys.exit(3)"),
    "no train": (TWO, ["--name", "a", "--train"], "--train needs a function train(model), the script defines none"),
    "train raises": (
        MODEL + "def train(model):\n    raise RuntimeError('no data')\n",
        ["--train"],
        "RuntimeError: no data",
    ),
    "train exits": (MODEL + "def train(model):\n    exit()\n", ["--train"], "the script called sys.exit(None)"),
    "our error": (KERAS + "layers.Dense(-1)\n", [], "s.py:3: "),
    "relative import": ("from . import sibling\n", [], "s.py:1: ImportError: attempted relative import"),
    "not utf-8": ("x = '\udcff'\n", [], "s.py:1: syntax error: (unicode error) 'utf-8' codec"),
    "null byte": ("x = 1\0\n", [], "s.py:"),
    "escape": ("raise ValueError('\\x1b[31mred')\n", [], r"ValueError: \x1b[31mred"),
    "a layer that torch only runs": (
        KERAS
        + "class L(layers.Layer):\n    def call(self, x):\n        return x.numpy()\nmodel = keras.Sequential([keras.Input((2,)), L(name='bad')])\n",
        [],
        "",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(kc: Run, name: str) -> None:
    script, arguments, message = SCRIPTS[name]
    Path("s.py").write_bytes(script.encode(errors="surrogateescape"))
    done = kc("export", "s.py", *arguments)
    assert done.code in (2, 3) and message in done.err and not Path("s.onnx").exists()


def test_scripts_that_work(kc: Run) -> None:
    Path("sibling.py").write_text(MODEL)
    Path("lazy.py").write_text("WIDTH = 3\n")
    for script in (
        "from sibling import model\n",
        "import sibling\ndef build():\n    from lazy import WIDTH\n    return sibling.model\n",
        MODEL + "if __name__ == '__main__':\n    raise SystemExit('not run')\n",
        "# -*- coding: latin-1 -*-\n# \udce9\n" + MODEL,
        "\ufeff" + MODEL,
        MODEL + "import dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: 'typing.ClassVar[int]' = 1\n",
        MODEL + "other = model\n",
    ):
        Path("json.py").write_bytes(script.encode(errors="surrogateescape"))
        done = kc("export", "json.py", "--json", "--no-verify")
        assert done.code == 0 and done.json["nodes"] == 3, (script, done)


def test_prints_never_reach_the_result(kc: Run) -> None:
    noise = "import os\nprint('python')\nos.system('echo child')\nos.write(1, b'raw\\n')\n"
    Path("noisy.py").write_text(noise + MODEL + "    print('trained')\n")
    done = kc("export", "noisy.py", "--train", "--json")
    assert done.json["nodes"] == 3
    assert {"python", "child", "raw", "training", "trained"} == set(done.err.split())


CALLS = {
    "no command": (["expotr"], 2, "no command 'expotr' (did you mean 'export'?); see kcompile --help"),
    "no argument": (["export"], 2, "Missing argument 'SCRIPT|FILE.keras'; see kcompile export --help"),
    "no option": (["export", "model.py", "--opsett", "3"], 2, "No such option"),
    "bad number": (["export", "model.py", "--opset", "x"], 2, "'x' is not a valid integer"),
    "bad batch": (["export", "model.py", "--batch", "x"], 2, "'x' is neither a number nor 'dynamic'"),
    "batch zero": (["export", "model.py", "--batch", "0"], 2, "a batch holds at least 1"),
    "opset": (["export", "model.py", "--opset", "3"], 2, "opset 3 is out of range"),
    "missing script": (["export", "no.py"], 2, "no.py: no such file"),
    "empty name": (["export", ""], 2, ""),
    "folder": (["export", "."], 2, ""),
    "other kind": (["export", "x.npy"], 2, "expected a Python script (.py) or a Keras file (.keras)"),
    "target": (["export", "model.py", "-o", "m.txt"], 2, "ends in .onnx"),
    "target folder": (["export", "model.py", "-o", "no/m.onnx"], 2, "the folder no does not exist"),
    "weights": (["export", "model.py", "--weights", "no.weights.h5"], 2, "no.weights.h5"),
    "wrong weights": (["export", "model.py", "--weights", "model.py"], 2, "model.py"),
    "custom": (["export", "model.py", "--custom", "no.py"], 2, "no.py: no such file"),
    "damaged keras": (["export", "bad.keras"], 2, "bad.keras"),
    "info missing": (["info", "no.onnx"], 2, "no.onnx: no such file"),
    "info bad": (["info", "x.npy"], 2, "x.npy: not an ONNX file"),
    "graph bad": (["graph", "bad.onnx"], 2, "bad.onnx: not an ONNX file"),
    "run bad": (["run", "bad.onnx"], 2, "bad.onnx: ONNX Runtime refuses it"),
    "bench missing": (["bench", "no.onnx"], 2, "no such file"),
    "run without": (["run", "model.onnx"], 2, "no value for the model's input(s) ['x']"),
    "run missing": (["run", "model.onnx", "--input", "no.npy"], 2, "--input no.npy: no such file"),
    "run text": (["run", "model.onnx", "--input", "model.py"], 2, "--input model.py: not a .npy array"),
    "run pickle": (["run", "model.onnx", "--input", "pickle.npy"], 2, "pickle.npy: not a .npy array"),
    "run npz": (["run", "model.onnx", "--input", "x.npz"], 2, "holds several arrays"),
    "run shape": (["run", "model.onnx", "--input", "wide.npy"], 2, "wants the shape [N, 4], got [2, 9]"),
    "run target": (
        ["run", "model.onnx", "--input", "x.npy", "-o", "y.txt"],
        2,
        "y.txt: outputs are written as .npy or .npz",
    ),
    "run folder": (["run", "model.onnx", "--input", "x.npy", "-o", "no/y.npy"], 2, "the folder no does not exist"),
    "device": (["run", "model.onnx", "--input", "x.npy", "--device", "tpu"], 2, "unknown device 'tpu'"),
    "no cuda": (["bench", "model.onnx", "--device", "cuda"], 5, "pip install onnxruntime-gpu"),
    "verify pair": (["verify", "model.py", "no.onnx"], 2, "no.onnx: no such file"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(exported: Run, name: str) -> None:
    argv, code, message = CALLS[name]
    Path("bad.keras").write_bytes(b"PK\x03\x04" + bytes(20))
    Path("bad.onnx").write_bytes(b"\x0a\x05\x1b[31m")
    np.save("pickle.npy", np.array([{}], object), allow_pickle=True)
    np.savez("x.npz", a=np.zeros(1), b=np.zeros(1))
    np.save("wide.npy", np.zeros((2, 9), np.float32))
    done = exported(*argv)
    assert done.code == code and message in done.err, done


def test_unsupported_is_3_and_a_failed_check_4_and_neither_leaves_a_file(
    kc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("model.onnx").write_text("older")
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: o.Nonsense(x))
    done = kc("export", "model.py")
    assert done.code == 3 and "operator 'relu' in layer 'hidden'" in done.err
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: o.Neg(x))
    done = kc("export", "model.py")
    assert done.code == 4 and "the first layer that differs is 'hidden'" in done.err
    assert Path("model.onnx").read_text() == "older"
    assert sorted(p.name for p in Path().iterdir() if p.name != "__pycache__") == ["model.onnx", "model.py", "x.npy"]


def test_internal_errors_are_1_and_debug_shows_them(kc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: {}["boom"])
    done = kc("export", "model.py")
    assert (
        done.code == 1 and "internal error: " in done.err and "please report it with the output of --debug" in done.err
    )
    for argv in (("--debug", "export", "model.py"), ("export", "model.py", "--debug")):
        done = kc(*argv)
        assert done.code == 1 and "Traceback (most recent call last)" in done.err and "boom" in done.err
    Path("s.py").write_text("raise ValueError('mine')\n")
    done = kc("export", "s.py", "--debug")
    assert done.code == 2 and "raise ValueError('mine')" in done.err


@pytest.mark.parametrize("where", ["script", "work"])
def test_interrupts(kc: Run, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where == "script":
        Path("model.py").write_text("raise KeyboardInterrupt\n")

    def stop(self: object, o: object, x: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Relu, "onnx", stop)
    done = kc("export", "model.py")
    assert (
        done.code == 130
        and done.err.splitlines()[-1] == "kcompile: error: interrupted"
        and not Path("model.onnx").exists()
    )


def test_control_characters_are_shown_escaped(kc: Run) -> None:
    import onnx

    from tests.runtime import files as made

    node = onnx.helper.make_node("Relu", ["\x1b[31mx"], ["y\x07"], name="\x9bn")
    made.write(Path("odd.onnx"), [node], [made.end("\x1b[31mx", ["\x1b[0m", 4])], [made.end("y\x07", ["\x1b[0m", 4])])
    for argv in (
        ("info", "odd.onnx"),
        ("graph", "odd.onnx"),
        ("run", "odd.onnx", "--input", "x.npy"),
        ("bench", "odd.onnx", "--seconds", "0"),
    ):
        for form in ((), ("--json",)):
            done = kc(*argv, *form)
            assert done.code == 0 and all(c == "\n" or c.isprintable() for c in done.out + done.err), done
    assert r"\x1b[31mx" in kc("info", "odd.onnx").out
    assert kc("run", "odd.onnx", "--input", "\x1b[1m=x.npy").code == 2


def process(*argv: str, cwd: Path, **rest: object) -> subprocess.Popen[str]:
    code = "from kcompile.cli.main import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **rest}
    return subprocess.Popen([sys.executable, "-c", code, *argv], cwd=cwd, text=True, **pipes)  # type: ignore[call-overload]


def test_a_real_process(exported: Run, tmp_path: Path) -> None:
    child = process("run", "model.onnx", "--input", "x.npy", cwd=tmp_path)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "") and out.startswith("y float32[3, 2]")
    child = process("run", "model.onnx", cwd=tmp_path)
    out, err = child.communicate()
    assert child.returncode == 2 and out == "" and len(err.splitlines()) == 1


def test_a_reader_that_left(exported: Run, tmp_path: Path) -> None:
    # `kcompile ... | head` once head has gone: no traceback, not even from Python's last flush.
    reader, writer = os.pipe()
    os.close(reader)
    child = process("run", "model.onnx", "--input", "x.npy", "--json", cwd=tmp_path, stdout=writer)
    os.close(writer)
    _, err = child.communicate()
    assert err == "" and child.returncode == 1


def test_ctrl_c_in_a_real_process(kc: Run, ctrl_c: None, tmp_path: Path) -> None:
    Path("slow.py").write_text("import time\nopen('started', 'w').close()\ntime.sleep(60)\n")
    child = process("export", "slow.py", cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not Path("started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130 and out == "" and err.splitlines()[-1] == "kcompile: error: interrupted"

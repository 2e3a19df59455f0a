"""What the pages show runs: Python blocks in the order of their page, commands as they stand.

A block that begins with ``# name.py`` is that file. `LONG` says what takes its time, `ELSEWHERE` what needs another machine.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kcompile
from kcompile import keras
from kcompile.cli.main import VERBS, run

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONG = ("--workers", "jit_compile=True")
ELSEWHERE = ("torchrun ", "pip ", "keras.device(")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


# What the README shows is in test_readme.py and test_models.py.
LINES = [line for page in PAGES[1:] for block in blocks(page, "bash") for line in block.splitlines()]
COMMANDS = [
    pytest.param(
        line, marks=[pytest.mark.slow] if any(word in line for word in LONG) else [], id=line.partition("  ")[0]
    )
    for line in LINES
    if not line.startswith(ELSEWHERE)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        for block in blocks(page, "python"):
            name = re.match(r"# (\w+\.py)\n", block)
            if name is not None:
                Path(name[1]).write_text(block)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1, name="y")])
    kcompile.export(model, "model.onnx", verify=False)
    model.save("model.keras")
    numbers = np.random.default_rng(0).random((40, 3)).astype("float32")
    np.save("x.npy", numbers)
    names: dict[str, dict[str, Any]] = {
        "data.parquet": {"id": np.arange(40), "x": list(numbers)},
        "folder/a.parquet": dict(zip("abc", numbers.T, strict=True)),
        "more/b.parquet": dict(zip("abc", numbers.T, strict=True)),
        "data/c.parquet": dict(zip(("age", "height", "y"), numbers.T, strict=True)),
        "test.parquet": dict(zip(("age", "height", "y"), numbers.T, strict=True)),
    }
    for name, columns in names.items():
        Path(name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), name)
    return tmp_path


def namespace() -> dict[str, Any]:
    """What the pages' code takes for granted."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).random((64, 2)).astype("float32")
    block = type(
        "TransformerBlock", (keras.layers.Dense,), {"__init__": lambda self: keras.layers.Dense.__init__(self, 2)}
    )
    return {
        "keras": keras,
        "model": model,
        "x": x,
        "y": x.sum(1),
        "TransformerBlock": block,
        "function": keras.ops.tanh,
    }


def test_the_pages_have_blocks() -> None:
    assert len(COMMANDS) >= 10 and sum(len(blocks(page, "python")) for page in PAGES) >= 6


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_python(page: Path, folder: Path) -> None:
    names = namespace()
    for block in blocks(page, "python"):
        if re.match(r"# \w+\.py\n", block) or any(word in block for word in ELSEWHERE):
            continue
        exec(compile("".join(lines_of(block)), page.name, "exec"), names)
        for line in lines_of(block):
            if line.startswith("model.compile("):  # each of them is a choice
                exec(line, names)
                names["model"].fit(names["x"], names["y"], verbose=0)


def lines_of(block: str) -> list[str]:
    return [line for line in block.splitlines(keepends=True) if not any(word in line for word in LONG)]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command, comments=True)
    assert program == "kcompile"
    if "--resume" in arguments:
        folder = Path(arguments[arguments.index("--checkpoint-dir") + 1])
        assert run(["train", "script.py", "--epochs", "3", "--checkpoint-dir", str(folder)]) == 0
    code, told = run(arguments), capfd.readouterr()
    if "cuda" in arguments and not kcompile.keras.backend.devices().has_cuda():
        assert code == 5 and "device 'cuda'" in told.err
    else:
        assert code == 0, told.err
        files = [arguments[i + 1] for i, word in enumerate(arguments) if word in ("-o", "--report")]
        assert all(Path(file).is_file() for file in files)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_options_are_there(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", re.sub("`[^`]*`", "", text)):
        assert (page.parent / link).exists(), link
    for verb, rest in re.findall(r"`kcompile ([a-z]+)([^`]*)`", text):
        assert verb in VERBS, verb
        known = options(verb)
        assert not [o for o in re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", rest) if o not in known], (verb, rest)


def options(verb: str) -> set[str]:
    command = importlib.import_module(f"kcompile.cli.{VERBS[verb]}").command
    return {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}

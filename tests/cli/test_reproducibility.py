"""The same seed gives the same weights in two processes; the report says what could break that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras
from kcompile.cli.fitting import Fit, data_of
from kcompile.cli.reproducibility import statements
from tests.cli.conftest import Run

SCRIPT = """
import numpy as np
import keras

keras.utils.set_random_seed(11)
L = keras.layers
with keras.RematScope("list_of_layers", layer_names=["wide"]):
    model = keras.Sequential([
        keras.Input((6, 6, 1)), L.RandomTranslation(0.2, 0.2), L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(),
        L.Flatten(), L.Dropout(0.4), L.Dense(8, "gelu", name="wide"), L.GaussianNoise(0.1, seed=2), L.Dense(3, "softmax"),
    ])

def train(model):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6, 6, 1), "float32"), rng.integers(0, 3, 40)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, validation_split=0.2)
"""


def test_the_same_weights_in_two_processes(kc: Run) -> None:
    """This one, and one of another seed for the hashes of strings."""
    Path("s.py").write_text(SCRIPT)
    arguments = ["train", "s.py", "--deterministic", "-o"]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    program = (
        f"from kcompile.cli.main import run; assert run({[*arguments, 'there.keras', '--checkpoint-dir', 'c']}) == 0"
    )
    other = subprocess.Popen([sys.executable, "-c", program], env=environment)
    assert kc(*arguments, "here.keras").code == 0 and other.wait(120) == 0
    here, there = (keras.models.load_model(f"{name}.keras").get_weights() for name in ("here", "there"))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


class Rows(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 1


KINDS: list[tuple[Any, str]] = [
    (np.ones(3), "arrays"),
    (None, "arrays"),
    (iter([]), "a list_iterator"),
    (Rows(workers=4), "a Rows with 4 workers"),
    (torch.utils.data.DataLoader([1], num_workers=1), "a DataLoader with 1 worker"),
]


@pytest.mark.parametrize(("x", "kind"), KINDS, ids=["arrays", "none", "iterator", "PyDataset", "DataLoader"])
def test_kinds_of_data(x: Any, kind: str) -> None:
    assert data_of(x) == kind


TOLD: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, ["Sums are split over", "Another processor"], ["cuda", "jit_compile", "The data of"]),
    ({"jit": True}, ["jit_compile"], ["cuda"]),
    ({"data": "a Rows with 4 workers"}, ["came from a Rows with 4 workers"], ["cuda"]),
    ({"device": "cuda:0"}, ["On cuda:0, TensorFloat-32 was on", "atomic additions", "--deterministic"], []),
    ({"device": "cuda:1", "tf32": False}, ["On cuda:1, TensorFloat-32 was off"], []),
    ({"device": "cuda:0", "deterministic": True}, ["only deterministic algorithms"], ["atomic"]),
]


@pytest.mark.parametrize(("run", "told", "not_told"), TOLD, ids=lambda x: str(x))
def test_what_is_told(
    monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], told: list[str], not_told: list[str]
) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=run.get("jit", False))
    monkeypatch.setattr(model, "_device", lambda: run.get("device"), raising=False)
    monkeypatch.setattr(keras.config, "is_tf32_enabled", lambda: run.get("tf32", True))
    monkeypatch.setattr(keras.config, "is_determinism_enabled", lambda: run.get("deterministic", False))
    text = "\n".join(statements([Fit(model, Path(), 1, None, data=run.get("data", "arrays"))]))
    assert all(words in text for words in told) and not any(words in text for words in not_told)


def test_seeds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from kcompile.cli import reproducibility

    for seed, words in ((7, "The seed 7 fixes"), (None, "No seed was set")):
        monkeypatch.setattr(reproducibility, "last_seed", lambda seed=seed: seed)
        assert words in statements([])[0]

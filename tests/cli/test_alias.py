"""An unmodified Keras script: `import keras` in it is kcompile's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from kcompile.cli.main import run

SCRIPT = """
import keras
import numpy as np
from keras import layers, ops
from keras.layers import Dense
from keras.models import Sequential
from keras.optimizers import SGD

model = Sequential()
model.add(Dense(1, input_shape=(1,), name="line"))


def train(model):
    import keras.losses  # an import at run time too

    x = np.linspace(-2, 2, 400)
    model.compile(SGD(0.1), keras.losses.MeanSquaredError())
    model.fit(x, 2 * x + 1, epochs=10, verbose=0)
"""


def test_an_unmodified_script_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, target = tmp_path / "classic.py", tmp_path / "classic.onnx"
    script.write_text(SCRIPT)
    assert run(["export", str(script), "--train", "-o", str(target)]) == 0, capsys.readouterr().err
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(target).graph.initializer}
    np.testing.assert_allclose(sorted(float(w.ravel()[0]) for w in weights.values()), [1, 2], atol=1e-2)


def test_the_real_keras_comes_back(tmp_path: Path) -> None:
    script = tmp_path / "classic.py"
    script.write_text(SCRIPT)
    code = f"""
import os; os.environ["KERAS_BACKEND"] = "torch"
import keras as before, keras.layers
from kcompile.cli.main import run
assert run(["graph", {str(script)!r}]) == 0
import keras
import keras.layers as layers
assert keras is before and keras.__name__ == "keras" and layers.Dense.__module__.startswith("keras.src")
import kcompile.keras
assert kcompile.keras.__name__ == "kcompile.keras" and kcompile.keras.__spec__.name == "kcompile.keras"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "more.py"
    script.write_text("import keras\nfrom keras.distillation import Distiller\n")
    assert run(["graph", str(script)]) == 2
    assert f"{script}:2: ModuleNotFoundError: No module named 'keras.distillation'" in capsys.readouterr().err

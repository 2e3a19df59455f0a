"""Where torch is not installed: everything but training and eager calls; and what an import loads."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.torchless

BLOCK = """
    import sys

    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {blocked!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Blocked())
"""
MODEL = """
    import numpy as np
    import kcompile
    from kcompile import keras
    from kcompile.errors import MissingError

    x = keras.Input((8, 8, 3), name="x")
    y = keras.layers.Conv2D(4, 3, padding="same", name="c")(x)
    y = keras.layers.MaxPooling2D()(keras.layers.BatchNormalization(name="n")(y))
    y = keras.layers.Dropout(0.5)(keras.layers.Flatten()(y))
    y = keras.ops.tanh(y[:, ::2] * 2) + 1
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax", name="d")(y), name="net")
    data = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype("float32")
"""


def run(code: str, tmp_path: Path, blocked: tuple[str, ...] = ("torch",)) -> str:
    """What a fresh process prints; ``blocked`` packages can't be imported in it."""
    source = textwrap.dedent(BLOCK.format(blocked=blocked)) + textwrap.dedent(MODEL) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_is_built_saved_loaded_traced_optimised_exported_and_run(tmp_path: Path) -> None:
    told = run(
        """
        model.save("m.keras")
        model.save_weights("m.weights.h5")
        again = keras.saving.load_model("m.keras")
        again.load_weights("m.weights.h5")
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights()))
        graph = kcompile.trace(again)
        smaller = kcompile.optimize(graph)
        names = [[n.op.name for n in g.operators()] for g in (graph, smaller)]
        assert "batch_norm" in names[0] and "batch_norm" not in names[1]
        report = kcompile.export(again, "m.onnx", latency=False)
        assert report.error is not None
        out = kcompile.load("m.onnx")(data)
        assert out.shape == (4, 3) and np.allclose(out.sum(-1), 1, atol=1e-5)
        again.summary()
        again.set_weights([w * 0 for w in again.get_weights()])
        assert again.count_params() and again.layers[1].kernel.numpy().sum() == 0
        assert "torch" not in sys.modules
        print("done")
        """,
        tmp_path,
    )
    assert "done" in told


def test_recurrent_and_subclassed_models_are_exported(tmp_path: Path) -> None:
    run(
        """
        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.lstm, self.last = keras.layers.LSTM(3, return_sequences=True), keras.layers.Dense(2)

            def call(self, x, training=False):
                total = keras.ops.cond(keras.ops.sum(x) > 0, lambda: x * 2, lambda: x)
                return self.last(self.lstm(total))

        net = Net()
        net.build((None, None, 4))
        kcompile.export(net, "m.onnx", inputs=(None, None, 4), latency=False)
        assert kcompile.load("m.onnx")(np.ones((2, 5, 4), "float32")).shape == (2, 5, 2)
        """,
        tmp_path,
    )


NEEDS_TORCH = [
    "model(data)", "model.predict(data)", "keras.ops.exp(data)", "keras.layers.Dense(3)(data[:, 0, 0])",
    "model.compile('adam', 'mse'); model.fit(data, data[:, 0, 0])", "keras.losses.MeanSquaredError()(data, data)",
    "model.compile('adam', 'mse'); model.evaluate(data, data[:, 0, 0])", "keras.random.normal((3,))",
]  # fmt: skip


def test_what_needs_torch_says_how_to_get_it(tmp_path: Path) -> None:
    told = run(
        f"""
        for line in {NEEDS_TORCH!r}:
            try:
                exec(line)
            except MissingError as error:
                assert "pip install 'kcompile[train]'" in str(error), error
                print("missing")
            else:
                raise AssertionError(line + ": did not need torch")
        """,
        tmp_path,
    )
    assert told.split() == ["missing"] * len(NEEDS_TORCH)


HEAVY = ("torch", "onnx", "onnxruntime", "h5py")


@pytest.mark.parametrize("line", ["import kcompile", "from kcompile import keras", "import kcompile.keras.layers"])
def test_importing_loads_nothing_heavy(line: str) -> None:
    code = f"{line}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr


@pytest.mark.parametrize("code, absent", [
    ("print(model.count_params())", ("torch", "onnx", "onnxruntime", "h5py")),
    ("print(len(kcompile.trace(model).operators()))", ("torch", "onnx", "onnxruntime", "h5py")),
    ("model.save('m.keras'); keras.saving.load_model('m.keras')", ("torch", "onnx", "onnxruntime")),
])  # fmt: skip
def test_building_and_tracing_need_no_more_than_numpy(code: str, absent: tuple[str, ...], tmp_path: Path) -> None:
    run(code, tmp_path, blocked=absent)

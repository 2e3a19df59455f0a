"""Files of other exporters, and our own: the same numbers, and fewer nodes."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kcompile.keras.verification import difference
from kcompile.onnx.signature import node_count
from kcompile.runtime.session import run
from tests.onnx.backend import through

torch = pytest.importorskip("torch")
nn = torch.nn
ROOT = Path(__file__).parents[2]
LIMIT = 1e-5


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.last = nn.Linear(6 * 4 * 4, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Any) -> Any:
        x = torch.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return torch.softmax(self.last(torch.relu(self.second(x)).flatten(1)), -1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        q, k, v = (
            t.view(batch, length, 4, width // 4).transpose(1, 2) for t in self.project(self.norm(x)).split(width, 2)
        )
        weights = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1)
        return x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Recurrent(nn.Module):
    def __init__(self, kind: Any, both: bool) -> None:
        super().__init__()
        self.layers = kind(6, 8, num_layers=2, batch_first=True, bidirectional=both)
        self.last = nn.Linear(16 if both else 8, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.layers(x)[0][:, -1])


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.up, self.turned = nn.Upsample(scale_factor=2, mode="bilinear"), nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.last = nn.Conv2d(24, 1, 1)

    def forward(self, x: Any) -> Any:
        a = torch.relu(self.down(x))
        b = nn.functional.silu(self.inner(a))
        return torch.sigmoid(self.last(torch.cat([a, self.up(b), self.turned(b)], 1)))


# model, shape of its input, its free axes, operators that are left
TORCH = {
    "cnn": (Cnn, (2, 3, 16, 16), 1, ["Conv", "Relu", "MaxPool", "Conv", "Relu", "Reshape", "Gemm", "Softmax"]),
    "attention": (Attention, (2, 5, 16), 2, None),
    "lstm": (
        lambda: Recurrent(nn.LSTM, False), (2, 5, 6), 2,
        ["Transpose", "LSTM", "Squeeze", "LSTM", "Squeeze", "Gemm"],
    ),
    "bidirectional gru": (
        lambda: Recurrent(nn.GRU, True), (2, 5, 6), 2,
        ["Transpose", "GRU", "Transpose", "Reshape", "GRU", "Transpose", "Reshape", "Gather", "Gemm"],
    ),
    "rnn": (
        lambda: Recurrent(nn.RNN, False), (2, 5, 6), 2,
        ["Transpose", "RNN", "Squeeze", "RNN", "Squeeze", "Gemm"],
    ),
    "unet": (UNet, (2, 3, 8, 8), 1, None),
}  # fmt: skip


def exported(model: Any, shape: tuple[int, ...], free: int, dynamo: bool) -> onnx.ModelProto:
    """A torch model as torch.onnx writes it; the first ``free`` axes are dynamic."""
    target = io.BytesIO()
    names = {i: ("batch", "length")[i] for i in range(free)}
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamo": dynamo}
    if dynamo:
        sizes = {i: torch.export.Dim(name) for i, name in names.items()}
        made = torch.onnx.export(model, (torch.randn(shape),), dynamic_shapes=(sizes,), verbose=False, **options)
        return made.model_proto
    axes = {"x": names, "y": {0: "batch"}}
    torch.onnx.export(model, (torch.randn(shape),), target, dynamic_axes=axes, **options)
    return onnx.load_from_string(target.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", TORCH)
def test_torch(name: str, dynamo: bool) -> None:
    if name == "rnn" and dynamo:
        pytest.skip("torch writes it out step by step, for the one length that it has seen")
    torch.manual_seed(0)
    build, shape, free, left = TORCH[name]
    source = exported(build().eval(), shape, free, dynamo)
    made, account = through(source)
    onnx.checker.check_model(made, full_check=True)
    assert not account.whole
    assert node_count(made) <= node_count(source)
    if left is not None:
        assert [n.op_type for n in made.graph.node] == left
    for sizes in ((2, 5), (5, 3)):
        x = np.random.default_rng(1).standard_normal((*sizes[:free], *shape[free:])).astype(np.float32)
        a, b = (run(m.SerializeToString(), {"x": x})[0] for m in (source, made))
        found = difference(a, b)
        assert isinstance(found, float) and found < LIMIT, found


def zoo() -> Any:
    """scripts/zoo.py as a module."""
    spec = importlib.util.spec_from_file_location("zoo", ROOT / "scripts" / "zoo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module
    spec.loader.exec_module(module)
    return module


ZOO = zoo().ZOO


def _compare(source: onnx.ModelProto, made: onnx.ModelProto, feeds: list[np.ndarray], limit: float) -> None:
    named = {i.name: f for i, f in zip(source.graph.input, feeds, strict=True)}
    for a, b in zip(*(run(m.SerializeToString(), named) for m in (source, made)), strict=True):
        found = difference(a, b)
        assert isinstance(found, float) and found < limit, found


@pytest.mark.parametrize("name", [n for n, e in ZOO.items() if not e.heavy])
def test_our_own_files_come_back_as_they_were(name: str) -> None:
    from kcompile import keras
    from kcompile.keras.exporting import optimized
    from kcompile.keras.tracing import trace
    from kcompile.onnx.model import to_onnx

    entry = ZOO[name]
    model = entry.build(keras)
    zoo().randomise(model, entry.feed(2, seed=9))
    source = to_onnx(optimized(trace(model)).graph)
    made, account = through(source)
    assert not account.whole
    assert sorted(n.op_type for n in made.graph.node) == sorted(n.op_type for n in source.graph.node)
    _compare(source, made, entry.feed(2), LIMIT)


# Nodes that Keras's own export may have left; ours has the second number.
KERAS = {"cnn": (14, 14), "mobilenet": (36, 35), "efficientnet": (82, 81)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
def test_keras_on_torch(name: str, tmp_path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend in this process")
    entry = ZOO[name]
    model = entry.build(keras)
    zoo().randomise(model, entry.feed(2, seed=9))
    model.export(str(tmp_path / "keras.onnx"), format="onnx", verbose=False)
    source = onnx.load(str(tmp_path / "keras.onnx"))
    made, account = through(source)
    assert not account.whole
    assert node_count(made) <= KERAS[name][0] < node_count(source) / 4
    # The original's own roundings: ONNX Runtime's optimiser changes its results by as much.
    _compare(source, made, entry.feed(2), 2e-4)


def estimators() -> dict[str, Any]:
    """Fitted models of scikit-learn."""
    from sklearn.datasets import load_iris
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x, y = load_iris(return_X_y=True)
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(10, random_state=0),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=30, random_state=0)),
        "svc": SVC(),
        "neighbours": KNeighborsClassifier(),
        "pca": make_pipeline(PCA(2), LinearRegression()),
    }
    return {name: model.fit(x.astype(np.float32), y) for name, model in models.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["logistic", "forest", "mlp", "svc", "neighbours", "pca"])
def test_scikit_learn(name: str) -> None:
    convert = pytest.importorskip("skl2onnx").to_onnx
    x = np.random.default_rng(0).uniform(0, 8, (7, 4)).astype(np.float32)
    source = convert(estimators()[name], x[:1])
    made, _ = through(source)
    assert node_count(made) <= node_count(source)
    for a, b in zip(*(run(m.SerializeToString(), {"X": x}) for m in (source, made)), strict=True):
        if isinstance(a, list):  # a map for each row
            assert [list(r) for r in a] == [list(r) for r in b]
            a, b = (np.array([list(r.values()) for r in rows]) for rows in (a, b))
        found = difference(a, b)
        assert isinstance(found, float) and found < LIMIT, found

"""The models in models/: trained, exported, verified, good, and with nothing left to remove."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

import kcompile
from kcompile.ir import parse, show
from kcompile.operators.registry import OPERATORS
from tests.passes.peers import PEERS

ROOT = Path(__file__).parents[1]
MODELS = sorted((ROOT / "models").glob("*.py"))
# Models that train in seconds are trained as their script does; the others for a moment (figures: docs/models.md).
WHOLE = {"digits_cnn": {}, "linear_regression": {}}
BRIEFLY: dict[str, dict[str, Any]] = {
    "autoencoder": {"epochs": 1},
    "cartpole_dqn": {"most": 2},
    "digits_resnet": {"epochs": 2},
    "text_lstm": {"epochs": 1},
    "text_transformer": {"epochs": 1, "files": ["bisect"]},
    "tiny_gpt": {"epochs": 1, "rows": 64},
}
MOST_NODES = {"digits_cnn": 8, "digits_resnet": 22, "linear_regression": 1, "autoencoder": 21, "cartpole_dqn": 5}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "models" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_model_is_tested() -> None:
    assert {p.stem for p in MODELS} == WHOLE.keys() | BRIEFLY.keys()


@pytest.fixture(scope="module", params=sorted({**WHOLE, **BRIEFLY}))
def trained(request: Any, tmp_path_factory: Any) -> tuple[ModuleType, Any, Path]:
    """(the script, the export's report, the file)."""
    module = script(request.param)
    module.train(module.model, **BRIEFLY.get(request.param, {}))
    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    return module, kcompile.export(module.model, path), path


def test_file_is_verified_and_small(trained: Any) -> None:
    module, report, path = trained
    # Inputs ten times as large as the data give logits of hundreds, whose rounding (1.6e-7) a softmax multiplies: which
    # weights a short training ends with, and so 2e-6 or 2e-5, depends on the number of threads.
    assert report.error is not None and report.error < 5e-5
    assert report.verified.runs >= 8 and not report.verified.weak
    assert report.nodes <= MOST_NODES.get(module.model.name, 100)
    assert len(onnx.load(path).graph.node) == report.nodes


@pytest.mark.parametrize("peer", PEERS)
def test_no_peer_removes_a_node(trained: Any, peer: str) -> None:
    _, report, path = trained
    assert len(PEERS[peer](onnx.load(path)).graph.node) >= report.nodes


def test_optimising_twice_changes_nothing(trained: Any) -> None:
    module, _, _ = trained
    once = kcompile.optimize(kcompile.trace(module.model))
    assert kcompile.optimize(once) == once
    assert parse(show(once), OPERATORS) == once


def test_any_batch_gives_the_models_numbers(trained: Any) -> None:
    module, _, path = trained
    run = kcompile.load(path)
    kind = module.model.inputs[0].dtype
    for batch, length in ((1, 9), (2, 40), (33, 17)):
        shape = [length if d is None else d for d in module.model.input_shape[1:]]
        generator = np.random.default_rng(batch)
        made = (
            generator.integers(1, 27, (batch, *shape)) if "int" in kind else generator.standard_normal((batch, *shape))
        )
        x = made.astype(kind)
        wanted = module.model.predict(x, verbose=0)
        np.testing.assert_allclose(run(x), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_digits_reach_98_percent_in_the_file() -> None:
    module = script("digits_cnn")
    module.train(module.model)
    _, (x, y) = module.data()
    graph = kcompile.optimize(kcompile.trace(module.model))
    from kcompile.onnx.model import to_onnx
    from kcompile.runtime.model import OnnxModel

    predicted = OnnxModel(to_onnx(graph).SerializeToString()).predict(x).argmax(-1)
    assert (predicted == y).mean() >= 0.98


@pytest.mark.slow
def test_residual_network_reaches_its_goal() -> None:
    """As its script trains it: no worse than a support vector machine on the same images, and at least 99 %."""
    from sklearn.svm import SVC

    module = script("digits_resnet")
    module.train(module.model)
    (x, y), (x_more, y_more), (x_test, y_test) = module.data()
    found = (module.model.predict(x_test, verbose=0).argmax(-1) == y_test).mean()
    flat, labels = np.concatenate([x, x_more]).reshape(-1, 64) * 16, np.concatenate([y, y_more])
    machine = SVC(gamma=0.001).fit(flat, labels).score(x_test.reshape(-1, 64) * 16, y_test)
    assert found >= max(machine, 0.99)


@pytest.mark.slow
def test_q_learning_reaches_its_goal() -> None:
    """CartPole counts as solved at a mean return of 195."""
    module = script("cartpole_dqn")
    module.train(module.model)
    assert module.play(module.model.predict_on_batch, 100, seed=90_000).mean() >= 195


def test_line_is_found() -> None:
    module = script("linear_regression")
    module.train(module.model)
    slope, offset = (float(w.ravel()[0]) for w in module.model.get_weights())
    # The least-squares line through the same points is the reference.
    wanted = np.polyfit(module.X, module.Y, 1)
    np.testing.assert_allclose([slope, offset], wanted, atol=0.02)


@pytest.mark.parametrize("name", WHOLE)
def test_runs_as_a_plain_script(name: str) -> None:
    done = subprocess.run([sys.executable, f"models/{name}.py"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_masked_names_are_right_at_any_padding() -> None:
    """The text model's file gives a name the same number however far it is padded."""
    module = script("text_lstm")
    graph = kcompile.trace(module.model)
    from kcompile.onnx.model import to_onnx
    from kcompile.runtime.model import OnnxModel

    run = OnnxModel(to_onnx(kcompile.optimize(graph)).SerializeToString())
    words = ["Ada", "Grace", "Bartholomew"]
    wide = run(module.encode(words, 30))
    np.testing.assert_allclose(run(module.encode(words)), wide, rtol=1e-5)
    for word, value in zip(words, wide, strict=True):
        np.testing.assert_allclose(run(module.encode([word]))[0], value, rtol=1e-5)


def test_the_cache_writes_the_same_text() -> None:
    module = script("tiny_gpt")
    from kcompile.onnx.model import to_onnx
    from kcompile.runtime.model import OnnxModel

    whole, step = (
        OnnxModel(to_onnx(kcompile.optimize(kcompile.trace(m))).SerializeToString())
        for m in (module.model, module.with_cache(module.model))
    )
    text = module.write(whole, "The statement ", 40)
    assert len(text) == 54
    assert module.write_with_cache(step, "The statement ", 40) == text


def test_variational_autoencoder_learns() -> None:
    module = script("autoencoder")
    history = module.train_variational(epochs=4)
    assert history["loss"][-1] < 0.85 * history["loss"][0]
    decoder = kcompile.trace(module.decoder)
    assert [str(v.type) for v in decoder.outputs] == ["f32[N, 8, 8, 1]"]

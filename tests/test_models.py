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
MOST_NODES = {"digits_cnn": 8, "linear_regression": 1}


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=MODELS, ids=lambda p: p.stem)
def trained(request: Any, tmp_path_factory: Any) -> tuple[ModuleType, Any, Path]:
    """(the script, the export's report, the file), the model trained as the script trains it."""
    module = script(request.param)
    module.train(module.model)
    path = tmp_path_factory.mktemp("models") / f"{request.param.stem}.onnx"
    return module, kcompile.export(module.model, path), path


def test_file_is_verified_and_small(trained: Any) -> None:
    module, report, path = trained
    assert report.error is not None and report.error < 1e-5
    assert report.verified.runs >= 8 and not report.verified.weak
    assert report.nodes <= MOST_NODES[module.model.name]
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
    shape = module.model.input_shape[1:]
    for batch in (1, 2, 33):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype("float32")
        wanted = module.model.predict(x, verbose=0)
        np.testing.assert_allclose(run(x), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_digits_reach_98_percent_in_the_file() -> None:
    module = script(ROOT / "models" / "digits_cnn.py")
    module.train(module.model)
    _, (x, y) = module.data()
    graph = kcompile.optimize(kcompile.trace(module.model))
    from kcompile.onnx.model import to_onnx
    from kcompile.runtime.model import OnnxModel

    predicted = OnnxModel(to_onnx(graph).SerializeToString()).predict(x).argmax(-1)
    assert (predicted == y).mean() >= 0.98


def test_line_is_found() -> None:
    module = script(ROOT / "models" / "linear_regression.py")
    module.train(module.model)
    slope, offset = (float(w.ravel()[0]) for w in module.model.get_weights())
    # The least-squares line through the same points is the reference.
    wanted = np.polyfit(module.X, module.Y, 1)
    np.testing.assert_allclose([slope, offset], wanted, atol=0.02)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_runs_as_a_plain_script(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout

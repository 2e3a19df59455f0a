"""Which layer a kernel of ONNX Runtime's optimised graph belongs to, and how much it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from kcompile.onnx.attribution import RUNTIME, Share, attributed, give_names
from kcompile.runtime.session import open_session
from tests.runtime import files as made

pytestmark = pytest.mark.torchless
make = helper.make_node


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """conv, its activation and a residual sum; a dense layer with gelu's formula; a look-up; names as the emitter's."""
    nodes = [
        make("Conv", ["x", "k1"], ["c1"], name="net/conv/Conv", pads=[1, 1, 1, 1]),
        make("Relu", ["c1"], ["r1"], name="net/act/Relu"),
        make("Conv", ["r1", "k2"], ["c2"], name="net/conv2/Conv", pads=[1, 1, 1, 1]),
        make("Add", ["c2", "r1"], ["s"], name="net/sum/Add"),
        make("ReduceMean", ["s", "axes"], ["p"], name="net/pool/ReduceMean", keepdims=0),
        make("MatMul", ["p", "w"], ["m"], name="dense/MatMul"),
        make("Add", ["m", "b"], ["a"], name="dense/Add"),
        make("Gelu", ["a"], ["y"], name="gelu/Gelu"),
    ]
    return made.write(
        tmp_path / "m.onnx", nodes, [made.end("x", ["N", 8, 6, 6])], [made.end("y", ["N", 5])],
        k1=zeros(16, 8, 3, 3), k2=zeros(16, 16, 3, 3), axes=np.array([2, 3]), w=zeros(16, 5), b=zeros(5),
    )  # fmt: skip


CONV, CONV2, DENSE = 2 * 2 * 36 * 16 * 72, 2 * 2 * 36 * 16 * 144, 2 * 2 * 16 * 5


@pytest.mark.parametrize("level", ["off", "basic", "extended", "all"])
def test_every_level(network: Path, level: str, tmp_path: Path) -> None:
    target = tmp_path / "optimised.onnx"
    open_session(network, level=level, optimised=str(target))
    found = attributed(onnx.load(network), target.read_bytes(), {"x": (2, 8, 6, 6)}, {})
    assert sum(s.flops or 0 for s in found.values()) == CONV + CONV2 + DENSE
    assert all(s.flops is not None for s in found.values())
    layers = [*(s.layer for s in found.values()), *(f for s in found.values() for f in s.fused)]
    # Nothing is lost: each layer is where its work is, or fused into another one.
    assert {"net/conv", "net/act", "net/conv2", "net/sum", "net/pool", "dense", "gelu"} <= set(layers)
    assert {s.layer: s.flops for s in found.values() if s.flops} == {
        "net/conv": CONV,
        "net/conv2": CONV2,
        "dense": DENSE,
    }
    conv = next(s for s in found.values() if s.layer == "net/conv")
    assert ("net/act" in conv.fused) == (level in ("extended", "all")) and conv.weights >= 16 * 8 * 9 * 4


def test_a_result_that_is_laid_out_anew_is_computed_once(tmp_path: Path) -> None:
    nodes = [make("Conv", ["x", "k"], ["y"], name="conv/Conv")]
    path = made.write(
        tmp_path / "m.onnx",
        nodes,
        [made.end("x", ["N", 8, 6, 6])],
        [made.end("y", ["N", 16, 4, 4])],
        k=zeros(16, 8, 3, 3),
    )
    target = tmp_path / "optimised.onnx"
    open_session(path, level="all", optimised=str(target))
    found = list(attributed(onnx.load(path), target.read_bytes(), {"x": (1, 8, 6, 6)}, {}).values())
    assert {s.layer for s in found} == {"conv"} and sum(s.flops or 0 for s in found) == 2 * 16 * 16 * 72


def test_shapes_that_were_seen(tmp_path: Path) -> None:
    nodes = [
        make("NonZero", ["x"], ["where"], name="rows/NonZero"),
        make("Cast", ["where"], ["f"], name="rows/Cast", to=1),
        make("MatMul", ["w", "f"], ["y"], name="dense/MatMul"),
    ]
    path = made.write(tmp_path / "m.onnx", nodes, [made.end("x", ["N"])], [made.end("y", [3, "M"])], w=zeros(3, 1))
    model = onnx.load(path)
    unknown = attributed(model, path.read_bytes(), {"x": (4,)}, {})
    assert unknown["dense/MatMul"] == Share("dense", (), None, 12)
    seen = {"rows/Cast": [(1, 4)], "dense/MatMul": [(3, 4)]}
    assert attributed(model, path.read_bytes(), {"x": (4,)}, seen)["dense/MatMul"].flops == 2 * 3 * 4


def test_names_are_given_where_they_are_missing() -> None:
    names = ["", "a", "", "a", "Relu_0"]
    nodes = [make("Relu", [f"t{i}"], [f"t{i + 1}"], name=n) for i, n in enumerate(names)]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert give_names(model) and [n.name for n in model.graph.node] == ["Relu_1", "a", "Relu_2", "Relu_3", "Relu_0"]
    assert not give_names(model)


def test_what_the_runtime_puts_in(tmp_path: Path) -> None:
    model = onnx.load(made.double(tmp_path))
    optimised = onnx.ModelProto.FromString(model.SerializeToString())
    optimised.graph.node.insert(0, make("Identity", ["x"], ["x2"], name="Reorder"))
    found = attributed(model, optimised.SerializeToString(), {"x": (1, 3)}, {})
    assert found == {"Reorder": Share(RUNTIME, (), 0, 0), "": Share("Add", (), 0, 0)}

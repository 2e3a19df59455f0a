"""Targets: which composites a file holds as one node, and that every target computes the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import kcompile
from kcompile import keras
from kcompile.errors import UsageError
from kcompile.keras import layers, ops
from kcompile.onnx.model import check_opset
from kcompile.onnx.targets import TARGETS, target_named

EXPECTED = {
    "portable": {"Sigmoid": 1, "Softmax": 2, "LayerNormalization": 1, "Gelu": 1, "ReduceMean": 1},
    # Its Attention repeats no mask along the queries.
    "onnxruntime": {
        "QuickGelu": 1,
        "Attention": 1,
        "Softmax": 1,
        "LayerNormalization": 1,
        "Gelu": 1,
        "RMSNormalization": 1,
    },
    "cuda": {"QuickGelu": 1, "MultiHeadAttention": 2, "LayerNormalization": 1, "Gelu": 1, "ReduceMean": 1},
}


def attending() -> keras.Model:
    """Self-attention twice, once with a mask of its own, between every composite."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((None, 8), name="x")
    keep = keras.Input((None,), dtype="bool", name="keep")
    x = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(x)
    x = layers.MultiHeadAttention(2, 4)(x, x, attention_mask=ops.expand_dims(keep, 1))
    x = layers.Dense(8, activation="gelu")(x)
    x = layers.RMSNormalization()(layers.Dense(8, activation="silu")(x))
    return keras.Model([inputs, keep], x)


@pytest.mark.parametrize("name", TARGETS)
def test_composites(name: str, tmp_path: Path) -> None:
    model = attending()
    report = kcompile.export(model, tmp_path / "m.onnx", target=name)
    proto = onnx.load(tmp_path / "m.onnx")
    assert report.opset == TARGETS[name].opset == proto.opset_import[0].version
    assert ("com.microsoft" in {o.domain for o in proto.opset_import}) is (name != "portable")
    counts = Counter(n.op_type for n in proto.graph.node)
    composites = {k for found in EXPECTED.values() for k in found}
    assert {k: n for k, n in counts.items() if k in composites} == EXPECTED[name]
    rng = np.random.default_rng(0)
    x, keep = rng.standard_normal((3, 9, 8)).astype("float32"), rng.random((3, 9)) < 0.7
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x, "keep": keep})
    assert np.allclose(got, model.predict([x, keep], verbose=0), atol=1e-5)


def test_the_vendors_attention_takes_no_groups_or_caps(tmp_path: Path) -> None:
    x = inputs = keras.Input((None, 8))
    x = layers.GroupQueryAttention(4, 4, 2)(x, x)
    kcompile.export(keras.Model(inputs, x), tmp_path / "m.onnx", target="cuda")
    assert "MultiHeadAttention" not in {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node}


def test_unknown() -> None:
    with pytest.raises(
        UsageError, match=r"there is no target 'cudaa', only portable, onnxruntime, cuda \(did you mean"
    ):
        target_named("cudaa")
    assert check_opset(None, TARGETS["onnxruntime"]) == 23
    assert check_opset(18, TARGETS["onnxruntime"]) == 18


@pytest.mark.parametrize(
    ("layer", "fused"),
    [
        (layers.Activation("relu"), True),
        (layers.Activation("sigmoid"), True),
        (layers.LeakyReLU(0.3), True),
        (layers.ReLU(6.0), True),
        (layers.Activation("hard_sigmoid"), True),
        (layers.Activation("gelu"), False),
    ],
    ids=lambda v: v.name if hasattr(v, "name") else "",
)
def test_activations_are_taken_into_convolutions(layer: layers.Layer, fused: bool, tmp_path: Path) -> None:
    inputs = keras.Input((5, 4, 2))
    x = layer(layers.Conv2D(3, 3, padding="same")(inputs))
    kcompile.export(keras.Model(inputs, layers.Conv2D(1, 1)(x)), tmp_path / "m.onnx", target="onnxruntime")
    types = [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node]
    assert ("FusedConv" in types) is fused and len(types) == 4 + (not fused)


def test_a_result_that_is_read_twice_stays(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    x = layers.Dense(3)(inputs)
    outputs = [layers.Activation("relu")(x), layers.Activation("tanh")(layers.Dense(2)(x))]
    kcompile.export(keras.Model(inputs, outputs), tmp_path / "m.onnx", target="onnxruntime")
    assert [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node] == ["Gemm", "Relu", "FusedGemm"]

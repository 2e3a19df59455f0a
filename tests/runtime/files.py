"""Small ONNX files made with onnx.helper, not with kcompile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT8, UINT8, INT64, BOOL, HALF, STRING = (
    TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16,
    TensorProto.STRING,
)  # fmt: skip


def end(name: str, dims: list[Any], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def write(path: Path, nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], **arrays: np.ndarray) -> Path:
    """A file of opset 20 with initialisers."""
    tensors = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {"who": "test"})
    path.write_bytes(model.SerializeToString())
    return path


def double(folder: Path, kind: int = FLOAT) -> Path:
    """y = x + x, x: [N, 3]."""
    add = helper.make_node("Add", ["x", "x"], ["y"])
    return write(folder / "double.onnx", [add], [end("x", ["N", 3], kind)], [end("y", ["N", 3], kind)])


def identity(folder: Path, kind: int, dims: list[Any]) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    return write(folder / "identity.onnx", [node], [end("x", dims, kind)], [end("y", dims, kind)])


def pair(folder: Path) -> Path:
    """sum = left + right, product = left * right."""
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Mul", ["left", "right"], ["product"]),
    ]
    ends = [[end(n, ["N", "T"]) for n in names] for names in (("left", "right"), ("sum", "product"))]
    return write(folder / "pair.onnx", nodes, *ends)


def recurrent(folder: Path, op: str, inside_if: bool = False) -> Path:
    """An LSTM, GRU or RNN of 2 units over x: [T, N, 3], possibly inside an If."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=2)
    inputs, outputs = [end("x", ["T", "N", 3])], [end("y", ["T", 1, "N", 2])]
    arrays = {"w": np.full((1, 2 * gates, 3), 0.1, np.float32), "r": np.full((1, 2 * gates, 2), 0.1, np.float32)}
    nodes = [node]
    if inside_if:
        branches = {f"{n}_branch": helper.make_graph([node], n, [], outputs) for n in ("then", "else")}
        nodes = [helper.make_node("If", ["flag"], ["y"], **branches)]
        arrays["flag"] = np.array(True)
    return write(folder / f"{op}.onnx", nodes, inputs, outputs, **arrays)

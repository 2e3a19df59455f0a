"""What `kcompile info` and `kcompile graph` say of a file: counted by hand here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from kcompile.errors import FileFormatError
from kcompile.onnx.model import to_onnx
from kcompile.onnx.summary import graph_text, summarize
from tests.onnx.graphs import medium
from tests.runtime import files as made

pytestmark = pytest.mark.torchless


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


# (node, shape of x, shape of y, weight, work at batch 1: 2 x multiply-adds)
WORK = [
    (helper.make_node("MatMul", ["x", "w"], ["y"]), ["N", 4], ["N", 5], zeros(4, 5), 2 * 4 * 5),
    (helper.make_node("Gemm", ["x", "w"], ["y"]), ["N", 4], ["N", 5], zeros(4, 5), 2 * 4 * 5),
    (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), ["N", 4], ["N", 5], zeros(5, 4), 2 * 4 * 5),
    (helper.make_node("MatMul", ["x", "w"], ["y"]), ["N", "T", 4], ["N", "T", 5], zeros(4, 5), 32 * 2 * 4 * 5),
    (
        helper.make_node("Conv", ["x", "w"], ["y"]),
        ["N", 3, 8, 8],
        ["N", 6, 6, 6],
        zeros(6, 3, 3, 3),
        2 * 6 * 6 * 6 * 27,
    ),
    (
        helper.make_node("Conv", ["x", "w"], ["y"], group=3),
        ["N", 3, 8, 8],
        ["N", 3, 6, 6],
        zeros(3, 1, 3, 3),
        2 * 3 * 36 * 9,
    ),
    (
        helper.make_node("ConvTranspose", ["x", "w"], ["y"]),
        ["N", 3, 4, 4],
        ["N", 5, 6, 6],
        zeros(3, 5, 3, 3),
        2 * 48 * 45,
    ),
    (helper.make_node("Add", ["x", "w"], ["y"]), ["N", 4], ["N", 4], zeros(4), 0),
]


@pytest.mark.parametrize(("node", "x", "y", "w", "work"), WORK, ids=[n[0].op_type for n in WORK])
def test_work(tmp_path: Path, node: onnx.NodeProto, x: list, y: list, w: np.ndarray, work: int) -> None:
    found = summarize(made.write(tmp_path / "m.onnx", [node], [made.end("x", x)], [made.end("y", y)], w=w))
    assert (found.flops, found.parameters, found.operators, found.nodes) == (work, w.size, {node.op_type: 1}, 1)
    assert found.assumed == [d for d in x[1:] if isinstance(d, str)]


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_work_of_recurrence(tmp_path: Path, op: str, gates: int) -> None:
    # The first axis is time here, so it counts as the batch: one step, 32 rows.
    found = summarize(made.recurrent(tmp_path, op))
    assert found.flops == 2 * 32 * gates * 2 * (3 + 2)


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(to_onnx(medium(), metadata={"a": "b"}).SerializeToString())
    found = summarize(path)
    assert found.inputs == [{"name": "x", "dtype": "float32", "shape": ["N", "T", 6]}]
    assert [(o["name"], o["shape"]) for o in found.outputs] == [("pooled", ["N", 3]), ("state", ["N", 3])]
    assert (found.opset, found.ir_version, found.producer, found.metadata) == (20, 9, "kcompile", {"a": "b"})
    assert found.size == path.stat().st_size and found.nodes == sum(found.operators.values())
    assert found.flops and found.assumed == ["T"]


def test_nodes_of_branches_are_counted(tmp_path: Path) -> None:
    assert summarize(made.recurrent(tmp_path, "GRU", inside_if=True)).operators == {"GRU": 2, "If": 1}


def test_text_shows_small_weights_and_hides_large_ones(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    for size, shown in ((16, True), (17, False)):
        path = made.write(
            tmp_path / "m.onnx",
            [node],
            [made.end("x", [size])],
            [made.end("y", [size])],
            w=np.full(size, 7, np.float32),
        )
        text = graph_text(path)
        assert ("{7,7" in text) is shown and "Add (x, w)" in text


def test_odd_ends(tmp_path: Path) -> None:
    sequence = helper.make_node("SequenceConstruct", ["x"], ["y"])
    kind = helper.make_tensor_sequence_value_info("y", 1, None)
    found = summarize(made.write(tmp_path / "m.onnx", [sequence], [made.end("x", [None, 3])], [kind]))
    assert found.outputs == [{"name": "y", "dtype": "?", "shape": []}] and found.inputs[0]["shape"] == ["?", 3]


def test_unknown_element_types_and_broken_graphs_are_described(tmp_path: Path) -> None:
    path = made.write(
        tmp_path / "m.onnx",
        [helper.make_node("Nonsense", ["x"], ["y"])],
        [made.end("x", [1], 99)],
        [made.end("y", [1])],
    )
    found = summarize(path)
    assert found.inputs[0]["dtype"] == "?" and found.operators == {"Nonsense": 1}


def test_every_cut_and_flip_of_a_file_is_an_error_or_a_summary(tmp_path: Path) -> None:
    whole = made.pair(tmp_path).read_bytes()
    path = tmp_path / "bad.onnx"
    damaged = [whole[:n] for n in range(len(whole))]
    damaged += [whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :] for i in range(len(whole)) for flip in (1, 0x80)]
    for content in damaged:
        path.write_bytes(content)
        try:
            summarize(path)
            graph_text(path)
        except FileFormatError as error:
            assert str(error).startswith(str(path)) and str(error).isprintable()

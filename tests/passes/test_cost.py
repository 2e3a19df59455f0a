"""The cost model, counted by hand, and accounts that add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcompile.ir import Graph, Op, Type, constant, input_value, symbol, weight
from kcompile.ir.types import f32, i64
from kcompile.keras.exporting import optimized
from kcompile.onnx.model import to_onnx
from kcompile.onnx.summary import summarize
from kcompile.operators.activation import Relu
from kcompile.operators.attention import Attention
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.control import Scan
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.einsum import Einsum
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.recurrent import Gru, Lstm
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import Reshape, Transpose
from kcompile.passes.account import REST, account
from kcompile.passes.cost import PRODUCTS, Cost, Sizes, graph_cost, node_flops
from tests.passes import models

pytestmark = pytest.mark.torchless
N, T = symbol("N"), symbol("T")


def _body() -> Graph:
    state, step = input_value("state", Type(f32, (4,))), input_value("step", Type(f32, (4,)))
    kernel = input_value("kernel", Type(f32, (4, 4)))
    return Graph("body", [state, step, kernel], [MatMul()(state, kernel)])


# (operator, shapes of inputs, shapes of weights, operations at batch 1 and length 7)
CASES: list[tuple[Op, list[tuple], list[tuple], int]] = [
    (Dense(), [(N, T, 4)], [(4, 5), (5,)], 2 * 7 * 4 * 5),
    (Dense(), [(N, 4)], [(4, 5), (5,)], 2 * 4 * 5),
    (MatMul(), [(N, T, 4), (N, 4, T)], [], 2 * 7 * 4 * 7),
    (MatMul(), [(N, 4)], [(4,)], 2 * 4),
    (Conv((1, 1), "valid", (1, 1)), [(N, 8, 8, 3)], [(3, 3, 3, 6)], 2 * 36 * 6 * 27),
    (Conv((1, 1), "valid", (1, 1), 3), [(N, 8, 8, 3)], [(3, 3, 1, 3)], 2 * 36 * 3 * 9),
    (ConvTranspose((2, 2), "same", (1, 1)), [(N, 4, 4, 3)], [(3, 3, 5, 3)], 2 * 16 * 3 * 45),
    (Lstm(), [(N, T, 3)], [(3, 16), (4, 16)], 2 * 7 * (3 * 16 + 4 * 16)),
    (Gru(time_major=True), [(T, N, 3)], [(3, 12), (4, 12)], 2 * 7 * (3 * 12 + 4 * 12)),
    (Attention(), [(N, 2, T, 4)], [(1, 2, 5, 4), (1, 2, 5, 6)], 2 * 2 * 7 * 5 * (4 + 6)),
    (Einsum("abc,cd->abd"), [(N, T, 4)], [(4, 5)], 2 * 7 * 4 * 5),
    (Scan(_body(), 1, 1), [(4,), (T, 4), (4, 4)], [], 7 * 2 * 16),
    (Relu(), [(N, T, 4)], [], 28),
    (Sum((1,)), [(N, T, 4)], [], 28),
    (Transpose((0, 2, 1)), [(N, T, 4)], [], 0),
    (Reshape((N, 12)), [(N, 3, 4)], [], 0),
]


@pytest.mark.parametrize(("op", "inputs", "weights", "flops"), CASES, ids=[c[0].name for c in CASES])
def test_operations(op: Op, inputs: list, weights: list, flops: int) -> None:
    given = [input_value(f"x{i}", Type(f32, s)) for i, s in enumerate(inputs)]
    read = [weight(f"w{i}", Type(f32, s)) for i, s in enumerate(weights)]
    made = op(*given, *read)
    graph = Graph("g", given, made if isinstance(made, tuple) else [made])
    found = graph_cost(graph, _sizes(graph))
    assert (found.flops, found.bytes) == (flops, 4 * sum(_count(s) for s in weights))
    assert found.nodes == (2 if isinstance(op, Scan) else 1)


def _sizes(graph: Graph) -> Sizes:
    sizes = Sizes(graph, length=7)
    # A sequence may come first.
    sizes.update(N=1, T=7)
    return sizes


def _count(shape: tuple) -> int:
    return int(Type(f32, shape).size)  # type: ignore[arg-type]


def test_both_directions() -> None:
    x = input_value("x", Type(f32, (T, N, 3)))
    one = [(3, 16), (4, 16), (16,)]
    read = [weight(f"w{i}", Type(f32, s)) for i, s in enumerate((*one, *one))]
    graph = Graph("g", [x], Bidirectional("lstm")(x, *read))
    assert graph_cost(graph, _sizes(graph)).flops == 2 * 2 * 7 * (3 * 16 + 4 * 16)


def test_a_weight_that_is_read_twice_is_stored_once() -> None:
    x = input_value("x", Type(f32, (N, 4)))
    w = weight("w", Type(f32, (4, 4)))
    graph = Graph("g", [x], [Dense()(Dense()(x, w, None), w, None), constant([1, 2], i64)])
    assert graph_cost(graph, Sizes(graph)) == Cost(2, 64 + 16, 2 * 2 * 16)


@pytest.mark.parametrize("name", models.MODELS)
def test_accounts_add_up(name: str) -> None:
    graph = models.MODELS[name]()
    result = optimized(graph)
    found = account(graph, result)
    assert found.after - found.before == sum((e.effect for e in found.entries), Cost())
    assert found.before.nodes == len(graph.operators()) and found.after.nodes == len(result.graph.operators())
    assert {e.name for e in found.entries} >= {f.rule for f in result.fired}
    assert all(e.times > 0 and (e.effect or e.name != REST) for e in found.entries)


@pytest.mark.parametrize("name", models.MODELS)
def test_products_as_counted_in_the_file(name: str, tmp_path: Path) -> None:
    """The other count of this house, on ONNX's nodes and ONNX's shapes."""
    graph = optimized(models.MODELS[name]()).graph
    path = tmp_path / "m.onnx"
    path.write_bytes(to_onnx(graph).SerializeToString())
    products = [n for n in graph.operators() if type(n.op) in PRODUCTS or isinstance(n.op, Einsum)]
    assert sum(node_flops(n, Sizes(graph)) for n in products) == summarize(path).flops

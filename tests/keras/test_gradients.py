"""Backward passes written as operators against torch's autograd, and the steps that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras
from kcompile.engine.function import ExplicitStep, TrainStep
from kcompile.engine.lower import lower
from kcompile.ir import Graph, Type, Value, constant, input_value, weight
from kcompile.ir.dims import symbol
from kcompile.ir.types import f32, f64, i64
from kcompile.keras import ops
from kcompile.keras.training.gradients import FACTORS, RULES, differentiated
from kcompile.operators import activation, arithmetic, indexing, linear, logic, math, reduction, shape
from kcompile.operators.arithmetic import Add, Divide, Multiply, Negative, Subtract
from kcompile.operators.collectives import AllReduce
from kcompile.operators.gradient import StopGradient
from tests.support import close

N = symbol("N")
W, V = weight("w", Type(f32, (4, 3))), weight("v", Type(f32, (3,)))
X = input_value("x", Type(f32, (N, 4)))
LABELS = input_value("labels", Type(i64, (N, 1)))
Y = linear.Dense()(X, W, V)  # [N, 3]
POSITIVE = Add()(arithmetic.Square()(Y), constant(0.5, f32))

CASES: dict[str, Value] = {
    **{op.name: op()(POSITIVE if op in (math.Log, math.Sqrt) else Y) for op in FACTORS},
    "dense": Y,
    "dense without bias": linear.Dense()(X, W, None),
    "dense of rank 3": linear.Dense()(shape.Reshape((N, 2, 3))(linear.Dense()(X, shape.Reshape((4, 6))(
        shape.Expand((2, 4, 3))(W)), None)), shape.Expand((3, 3))(V), V),
    "mat_mul": linear.MatMul()(X, W),
    "all_reduce, alone": Multiply()(AllReduce()(Y), V),
    "add, broadcast": Add()(Y, V),
    "subtract, broadcast": Subtract()(V, Y),
    "multiply, broadcast": Multiply()(Y, V),
    "multiply, of one value": Multiply()(Y, Y),
    "divide": Divide()(V, POSITIVE),
    "negative": Negative()(Y),
    "reshape": Multiply()(shape.Reshape((3, N))(Y), constant(np.array([[1.0], [2.0], [3.0]]), f32)),
    "expand_dims": Multiply()(shape.ExpandDims((1,))(Y), shape.ExpandDims((0,))(V)),
    "squeeze": shape.Squeeze((1,))(shape.ExpandDims((1,))(Y)),
    "transpose": Multiply()(shape.Transpose((1, 0))(Y), shape.Reshape((3, 1))(V)),
    "expand": shape.Expand((2, 3))(V),
    "sum": Multiply()(reduction.Sum((0,))(Y), V),
    "sum, keepdims": Divide()(Y, reduction.Sum((-1,), True)(POSITIVE)),
    "mean": Multiply()(reduction.Mean((0,))(Y), V),
    "mean of all": reduction.Mean()(arithmetic.Square()(Y)),
    "relu": activation.Relu()(Y),
    "clip": logic.Clip(-0.4, 0.6)(Y),
    "clip, one bound": logic.Clip(None, 0.1)(Y),
    "softmax": Multiply()(activation.Softmax(-1)(Y), V),
    "log_softmax": Multiply()(activation.LogSoftmax(-1)(Y), V),
    "gather_elements": indexing.GatherElements(-1)(Y, LABELS),
    "cast": logic.Cast(f32)(logic.Cast(f64)(Y)),
    "stop_gradient": Multiply()(Y, StopGradient()(V)),
    "a weight alone": Multiply()(V, V),
}  # fmt: skip


def graph_of(value: Value) -> Graph:
    """The sum of a value weighted by its own numbers, so that each element's gradient is another."""
    loss = reduction.Sum()(Multiply()(value, math.Sin()(Add()(value, constant(0.3, f32)))))
    return Graph("loss", [X, LABELS], [loss])


def tensors() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    made = {"w": rng.normal(size=(4, 3)), "v": rng.normal(size=(3,))}
    return {k: torch.nn.Parameter(torch.from_numpy(v.astype(np.float32))) for k, v in made.items()}


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("case", CASES)
def test_a_rule_gives_autograds_gradient(case: str, batch: int) -> None:
    graph, held = graph_of(CASES[case]), tensors()
    labels = [label for label in ("w", "v") if label in graph.weight_values()]
    rng = np.random.default_rng(batch)
    x = torch.from_numpy(rng.normal(size=(batch, 4)).astype(np.float32))
    places = torch.from_numpy(rng.integers(-1, 3, (batch, 1)))
    (loss,) = lower(graph, held)(x, places)
    wanted = torch.autograd.grad(loss, [held[label] for label in labels])
    whole = differentiated(graph, labels, batch)
    assert whole is not None
    found = lower(whole, held)(x, places)[1:]
    for got, want in zip(found, wanted, strict=True):
        close(got.detach().numpy(), want.numpy(), what=case)


def test_every_rule_is_in_the_table() -> None:
    used = {type(n.op) for value in CASES.values() for n in graph_of(value).nodes}
    assert set(RULES) <= used | {math.Cos}


@pytest.mark.parametrize(
    ("what", "graph", "batch"),
    [
        ("an operator without a rule", graph_of(activation.Gelu()(Y)), 4),
        ("a large batch", graph_of(Y), 100_000),
    ],
)
def test_what_is_left_to_torch(what: str, graph: Graph, batch: int) -> None:
    assert differentiated(graph, ["w", "v"], batch) is None


MODELS: dict[str, tuple[Callable[[], Any], str, Any, type]] = {
    # layers, loss, targets, the step that is used
    "regression": (lambda: [keras.layers.Dense(1)], "mse", np.ones((6, 1), "float32"), ExplicitStep),
    "classifier": (
        lambda: [
            keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(3, activation="softmax"),
        ],
        "sparse_categorical_crossentropy", np.array([0, 1, 2, 0, 1, 2]), ExplicitStep,
    ),
    "autograd": (lambda: [keras.layers.Dense(4, activation="gelu")], "mse", np.ones((6, 4), "float32"), TrainStep),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_those_of_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, loss, y, kind = MODELS[name]
    x, results = np.random.default_rng(0).normal(size=(6, 5)).astype("float32"), []
    for explicit in (True, False):
        if not explicit:
            monkeypatch.setattr("kcompile.keras.training.steps.differentiated", lambda *_: None)
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((5,)), *layers()])
        model.compile("adam", loss)
        model.fit(x, y, batch_size=4, epochs=5, verbose=0)  # batches of 4 and of 2
        results.append((type(model._steps["train"].traced.runner), model.get_weights()))
    assert [r[0] for r in results] == [kind, TrainStep]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        close(a, b, 1e-5)


def test_a_gradient_that_is_a_weight_is_not_changed_before_it_is_used() -> None:
    class Product(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.a = self.add_weight((1,), initializer=keras.initializers.Constant(2.0), name="a")
            self.b = self.add_weight((1,), initializer=keras.initializers.Constant(3.0), name="b")

        def call(self, x: Any) -> Any:
            self.add_loss(ops.sum(self.a * self.b))
            return x

    model = keras.Sequential([keras.Input((1,)), Product()])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.train_on_batch(np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32"))
    assert isinstance(model._steps["train"].traced.runner, ExplicitStep)
    assert [w.item() for w in model.get_weights()] == [2.0 - 3.0, 3.0 - 2.0]

"""What a trace follows: Python on symbolic tensors, control flow, variables; and what it refuses, and how."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import kcompile
from kcompile.errors import InferError, TraceError
from kcompile.ir import show
from kcompile.keras import ops
from kcompile.tracing.variable import Variable
from tests.keras.support import array, arrays, export_and_run, keras, numbers, real, same

X, B = numbers((3, 5, 4)), numbers((3, 5, 4), 1)


def as_layer(function: Callable[..., Any], room: Any = keras) -> Any:
    """A layer that calls ``function(layer, x, ops)``; it has a weight ``w`` [4, 4] and ``b`` [4]."""

    class Own(room.layers.Layer):
        def build(self, shape: Any) -> None:
            self.w = self.add_weight((4, 4), name="w")
            self.b = self.add_weight((4,), name="b")

        def call(self, x: Any) -> Any:
            return function(self, x, room.ops)

    layer = Own(name="own")
    layer.build((None, None, 4))
    layer.set_weights([numbers((4, 4), 7), numbers((4,), 8)])
    return layer


PROGRAMS: dict[str, Callable[..., Any]] = {
    "slice": lambda self, x, ops: x[:, 1:],
    "negative index": lambda self, x, ops: x[:, -1],
    "step": lambda self, x, ops: x[:, ::2, 1:3],
    "new axis": lambda self, x, ops: x[:, None, ..., 0],
    "ellipsis": lambda self, x, ops: x[..., -2:],
    "gather": lambda self, x, ops: x[:, :, [2, 0]],
    "operators": lambda self, x, ops: (x + 1) * 2 - x / 3 + (1 - x) - 2 / (x * x + 1) + x**2 + 2**x,
    "integer operators": lambda self, x, ops: ops.cast(x * 10, "int32") // 3 + ops.cast(x * 10, "int32") % 4,
    "comparison": lambda self, x, ops: ops.cast((x > 0) & ~(x > 1) | (x <= -1), "float32"),
    "abs and negative": lambda self, x, ops: abs(-x),
    "matmul": lambda self, x, ops: x @ self.w + self.b,
    "weights on the left": lambda self, x, ops: self.b * x + self.w[0] - (1.0 - self.b),
    "sizes in reshape": lambda self, x, ops: ops.reshape(x, (x.shape[0], x.shape[1] * 4)),
    "sizes from ops.shape": lambda self, x, ops: ops.reshape(x, (ops.shape(x)[0] * ops.shape(x)[1], 4)),
    "size as a number": lambda self, x, ops: x * ops.cast(ops.shape(x)[1], "float32"),
    "zeros of a size": lambda self, x, ops: ops.concatenate([x, ops.zeros((ops.shape(x)[0], 2, 4))], axis=1),
    "broadcast to a size": lambda self, x, ops: ops.broadcast_to(self.b, ops.shape(x)) + x,
    "positions": lambda self, x, ops: x + ops.cast(ops.arange(ops.shape(x)[1]), "float32")[None, :, None],
    "counts that are a tensor": lambda self, x, ops: x
    * ops.tile(
        ops.cast(ops.arange(ops.shape(x)[1]) > 1, "float32")[None, :, None],
        ops.concatenate([ops.expand_dims(ops.shape(x)[0], -1), ops.convert_to_tensor([1, 1])], axis=0),
    ),
    "counts by arithmetic": lambda self, x, ops: ops.tile(
        x, ops.stack([ops.convert_to_tensor(8) // 4, ops.convert_to_tensor(ops.shape(x)[1]) * 1, ops.convert_to_tensor(1)])
    ),
    "half of the length": lambda self, x, ops: x[:, : ops.shape(x)[1] // 2],
    "unpacking": lambda self, x, ops: ops.stack([x[..., i] for i in range(4)], axis=-1),
    "python loop": lambda self, x, ops: sum([x * i for i in range(3)], x),
    "rank": lambda self, x, ops: x if len(x.shape) == 3 else x[None],
    "astype": lambda self, x, ops: ops.cast(ops.cast(x, "int32"), "float32") + x,
    "cond on data": lambda self, x, ops: ops.cond(ops.sum(x) > 0, lambda: x @ self.w, lambda: x - self.b),
    "cond, nest": lambda self, x, ops: ops.cond(ops.max(x) > 9, lambda: {"a": x, "b": x + 1}, lambda: {"a": x * 2, "b": x}),
    "cond in cond": lambda self, x, ops: ops.cond(
        ops.sum(x) > 0, lambda: ops.cond(ops.max(x) > 1, lambda: x * 2, lambda: x * 3), lambda: x + self.b),
    "while": lambda self, x, ops: ops.while_loop(
        lambda i, v: i < 3, lambda i, v: (i + 1, ops.tanh(v @ self.w)), (ops.convert_to_tensor(0), x))[1],
    "while on data": lambda self, x, ops: ops.while_loop(
        lambda v: ops.max(ops.abs(v)) > 0.1, lambda v: [v / 2], [x])[0],
    "while, limited": lambda self, x, ops: ops.while_loop(
        lambda v: ops.sum(v * v) > 0, lambda v: [v + self.b], [x], maximum_iterations=4)[0],
    "fori": lambda self, x, ops: ops.fori_loop(0, 4, lambda i, v: v + ops.cast(i, "float32") * self.b, x),
    "scan": lambda self, x, ops: ops.transpose(ops.scan(
        lambda h, t: (ops.tanh(h @ self.w + t), h), x[:, 0], ops.transpose(x, (1, 0, 2)))[1], (1, 0, 2)),
    "scan, reverse": lambda self, x, ops: ops.scan(
        lambda h, t: (h * 0.5 + t, h + t), x[:, 0], ops.transpose(x, (1, 0, 2)), reverse=True)[0],
    "scan, cond inside": lambda self, x, ops: ops.scan(
        lambda h, t: (ops.cond(ops.sum(t) > 0, lambda: h + t, lambda: h - self.b), t * 2),
        x[:, 0], ops.transpose(x, (1, 0, 2)))[0],
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    """Eager here, eager in real Keras, traced, and as ONNX, at two batch sizes and lengths: the same numbers."""
    function = PROGRAMS[name]
    ours, theirs = as_layer(function), as_layer(function, real)
    start = keras.Input((None, 4), name="x")
    model = keras.Model(start, ours(start))
    feeds, wanted = [], []
    for x in (X, numbers((2, 6, 4), 3)):
        expected = arrays(theirs(x))
        same(ours(x), expected, 2e-5, "eager")
        same(model.predict(x, verbose=0), expected, 2e-5, "traced")
        feeds.append({"x": x})
        wanted.append(expected)
    for got, expected in zip(export_and_run(model, *feeds), wanted, strict=True):
        same(got, expected, 2e-5, "ONNX")


# What torch's own tensors, and so eager calls, can't do: negative steps, numpy arrays on the left.
OURS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "reverse": (lambda self, x, ops: x[:, ::-1], lambda x: x[:, ::-1]),
    "backwards in twos": (lambda self, x, ops: x[:, -2:0:-2], lambda x: x[:, -2:0:-2]),
    "numpy on the left": (lambda self, x, ops: np.arange(4, dtype="float32") * x, lambda x: np.arange(4) * x),
    "numpy scalar": (lambda self, x, ops: np.float32(2) - x, lambda x: 2 - x),
    "numpy matrix": (lambda self, x, ops: np.ones((2, 5), "float32") @ x, lambda x: np.ones((2, 5)) @ x),
    "numpy and weight": (lambda self, x, ops: np.ones(4, "float32") / self.b + x, lambda x: 1 / numbers((4,), 8) + x),
    "numpy compared": (lambda self, x, ops: ops.cast(np.zeros(4) < x, "float32"), lambda x: x > 0),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_programs_that_torch_refuses(name: str) -> None:
    function, reference = OURS[name]
    layer, start = as_layer(function), keras.Input((5, 4), name="x")
    model = keras.Model(start, layer(start))
    wanted = np.asarray(reference(X), "float32")
    for got in (model.predict(X, verbose=0), export_and_run(model, {"x": X})[0]):
        same(got, [wanted], 2e-5)


@pytest.mark.parametrize("name", ["matmul", "cond on data", "while", "scan", "fori", "unpacking", "slice"])
def test_gradients_flow_through_programs(name: str) -> None:
    models = []
    for room in (keras, real):
        x = room.Input((5, 4))
        model = room.Model(x, room.layers.Dense(2)(as_layer(PROGRAMS[name], room)(x)))
        model.set_weights([numbers(w.shape, i) * 0.3 for i, w in enumerate(model.weights)])
        model.compile("sgd", "mse")
        models.append(model)
    y = numbers(tuple(models[0](X).shape), 5)
    for _ in range(2):
        np.testing.assert_allclose(models[0].train_on_batch(X, y), models[1].train_on_batch(X, y), rtol=2e-5)
    same(models[0].get_weights(), models[1].get_weights(), 5e-5)


# ---- refusals

Refusal = tuple[str, Callable[..., Any], str]


def if_on_tensor(self: Any, x: Any) -> Any:
    if ops.sum(x) > 0:  # MARK
        return x
    return -x


def while_on_tensor(self: Any, x: Any) -> Any:
    while ops.sum(x) > 0:  # MARK
        x = x - 1
    return x


def as_float(self: Any, x: Any) -> Any:
    return x * float(ops.sum(x))  # MARK


def as_int(self: Any, x: Any) -> Any:
    return x[:, : int(ops.argmax(x[0, 0]))]  # MARK


def as_index(self: Any, x: Any) -> Any:
    return [x, x][ops.argmax(x[0, 0])]  # MARK


def numpy_function(self: Any, x: Any) -> Any:
    return np.exp(x)  # MARK


def numpy_array(self: Any, x: Any) -> Any:
    return np.asarray(x) + 1  # MARK


def list_of_tensors(self: Any, x: Any) -> Any:
    return ops.convert_to_tensor([x[:, 0], x[:, 1]])  # MARK


def torch_function(self: Any, x: Any) -> Any:
    return torch.exp(x)  # MARK


def torch_module(self: Any, x: Any) -> Any:
    return torch.nn.functional.gelu(x)  # MARK


def boolean_mask(self: Any, x: Any) -> Any:
    return x[x > 0]  # MARK


def tensor_bound(self: Any, x: Any) -> Any:
    return x[:, : ops.argmax(x[0, 0])]  # MARK


def assign_in_branch(self: Any, x: Any) -> Any:
    def then() -> Any:
        self.b.assign(self.b + 1)
        return x

    return ops.cond(ops.sum(x) > 0, then, lambda: x)  # MARK


def assign_wrong_shape(self: Any, x: Any) -> Any:
    self.b.assign(x[0])  # MARK
    return x


def branches_that_differ(self: Any, x: Any) -> Any:
    return ops.cond(ops.sum(x) > 0, lambda: x, lambda: x[:, 0])  # MARK


REFUSALS: list[tuple[Callable[..., Any], str]] = [
    (if_on_tensor, "ops.cond.*ops.where"), (while_on_tensor, "ops.while_loop"), (as_float, "Python number"),
    (as_int, "Python number"), (as_index, "Python number"), (numpy_function, "numpy|ufunc"),
    (numpy_array, "keras.ops"), (list_of_tensors, "ops.stack"), (torch_function, "torch's 'exp'"),
    (torch_module, "torch's 'gelu'"), (boolean_mask, "ops.where"), (tensor_bound, "ops.slice"),
    (assign_in_branch, "'net/own/b'.*assign"), (assign_wrong_shape, "own/b.*can't be assigned"),
    (branches_that_differ, "branch|then|orelse"),
]  # fmt: skip


@pytest.mark.parametrize("function, words", REFUSALS, ids=[f.__name__ for f, _ in REFUSALS])
def test_refusals_name_layer_file_line_and_remedy(function: Callable[..., Any], words: str) -> None:
    class Own(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.b = self.add_weight((4,), name="b")

        def call(self, x: Any) -> Any:
            return function(self, x)

    with pytest.raises((TraceError, InferError), match=words) as caught:
        kcompile.trace(keras.Sequential([keras.Input((5, 4)), Own(name="own")], name="net"))
    told = str(caught.value)
    lines, first = inspect.getsourcelines(function)
    marked = first + next(i for i, line in enumerate(lines) if "# MARK" in line)
    assert "layer 'net/own'" in told
    assert f"{__file__}:{marked}" in told
    assert "\n" not in told and len(told) < 500


def test_a_functional_model_refuses_if_too() -> None:
    x = keras.Input((4,))
    with pytest.raises(TraceError, match=r"ops.cond"):
        bool(ops.sum(x) > 0)
    with pytest.raises(TraceError, match="number"):
        float(ops.sum(x))


# ---- variables


class Counter(keras.layers.Layer):
    def build(self, shape: Any) -> None:
        self.count = self.add_weight((), initializer="zeros", trainable=False, name="count", dtype="float32")
        self.seen = self.add_weight((4,), initializer="zeros", trainable=False, name="seen")

    def call(self, x: Any, training: bool = False) -> Any:
        self.count.assign_add(1.0)
        self.count.assign(self.count * 2)
        if training:
            self.seen.assign(ops.mean(x, axis=0))
        return x + self.count


def test_assignments_become_updates_and_are_seen_at_once() -> None:
    model = keras.Sequential([keras.Input((4,)), Counter(name="counter")])
    graph = kcompile.trace(model)
    assert [label for label, _ in graph.updates] == ["counter/count"]
    assert [label for label, _ in kcompile.trace(model, training=True).updates] == ["counter/count", "counter/seen"]
    x = numbers((2, 4))
    same(model.predict(x, verbose=0), x + 2)
    same(model.predict(x, verbose=0), x + 6)
    same(model(x), x + 14)
    assert float(model.get_weights()[0]) == 14
    same(model.get_weights()[1], np.zeros(4, "float32"))


def test_tracing_changes_nothing() -> None:
    model = keras.Sequential([keras.Input((4,)), Counter()])
    before = model.get_weights()
    kcompile.trace(model, training=True)
    export_and_run(model, {model.inputs[0].name: numbers((1, 4))})
    same(model.get_weights(), before)


def test_weights_are_named_by_path_and_shared_ones_are_one() -> None:
    x = keras.Input((4,), name="x")
    dense = keras.layers.Dense(4, name="d")
    model = keras.Model(x, dense(dense(x)) + keras.Sequential([keras.layers.Dense(4, name="d")], name="inner")(x))
    graph = kcompile.trace(model)
    assert sorted(graph.weights) == ["d/bias", "d/kernel", "inner/d/bias", "inner/d/kernel"]
    assert {n.origin for n in graph.operators()} >= {"d", "inner/d"}
    assert graph.input_names == ("x",)


def test_a_subclassed_model_is_traced_from_its_first_call_or_given_inputs() -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.a, self.b = keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")

        def call(self, inputs: Any, training: bool = False) -> Any:
            return {"one": self.a(inputs["x"]), "two": self.b(inputs["y"])}

    fresh = Net()
    with pytest.raises(ValueError, match="inputs"):
        kcompile.trace(fresh)
    graph = kcompile.trace(fresh, {"x": (None, 4), "y": (None, 3)})
    assert (graph.input_names, graph.output_names) == (("x", "y"), ("one", "two"))
    called = Net()
    called({"x": numbers((2, 4)), "y": numbers((2, 3))})
    graph = kcompile.trace(called)
    assert [str(v.type) for v in graph.inputs] == ["f32[N, 4]", "f32[N, 3]"]
    assert sorted(graph.weights) == ["a/bias", "a/kernel", "b/bias", "b/kernel"]
    assert [str(v.type) for v in kcompile.trace(called, batch=3).inputs] == ["f32[3, 4]", "f32[3, 3]"]


def test_training_and_keyword_arguments_reach_the_inner_layers() -> None:
    class Inner(keras.layers.Layer):
        def call(self, x: Any, scale: float = 1.0, training: bool | None = None) -> Any:
            return x * scale + (100.0 if training else 0.0)

    class Outer(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def call(self, x: Any) -> Any:
            return self.inner(x, scale=2.0)

    x = numbers((2, 4))
    start = keras.Input((4,))
    model = keras.Model(start, Outer()(start))
    same(model(x), 2 * x)
    same(model(x, training=True), 2 * x + 100)
    fixed = keras.Model(start, Inner()(start, training=True))
    same(fixed(x), x + 100)
    assert "100" in show(kcompile.trace(model, training=True)) and "100" not in show(kcompile.trace(model))


def test_own_masks_and_masks_given() -> None:
    class Drop(keras.layers.Layer):
        supports_masking = True

        def compute_mask(self, x: Any, mask: Any = None) -> Any:
            return ops.greater(x[..., 0], 0.0)

        def call(self, x: Any) -> Any:
            return x

    x = numbers((3, 5, 4))
    start = keras.Input((None, 4), name="x")
    model = keras.Model(start, keras.layers.GlobalAveragePooling1D()(Drop()(start)))
    kept = (x[..., :1] > 0).astype("float32")
    wanted = (x * kept).sum(1) / kept.sum(1)
    same(model(x), wanted)
    same(export_and_run(model, {"x": x})[0], [wanted], 2e-5)
    masked = keras.Model(start, keras.layers.GlobalAveragePooling1D()(start, mask=ops.greater(start[..., 0], 0.0)))
    same(masked(x), wanted)


def test_python_numbers_do_not_widen() -> None:
    half = keras.Input((4,), dtype="float16")
    assert (half * 2.0 + 1).dtype == "float16"
    whole = keras.Input((4,), dtype="int32")
    assert ((whole + 1).dtype, (whole * 1.5).dtype, (whole / 2).dtype) == ("int32", "float32", "float32")


def test_a_variable_alone() -> None:
    v = Variable(np.arange(3.0, dtype="float32"), name="v")
    same(array(v + 1), np.arange(3.0, dtype="float32") + 1)
    v.assign_sub(np.ones(3, "float32"))
    same(v.numpy(), np.arange(3.0, dtype="float32") - 1)
    with pytest.raises(ValueError, match="shape"):
        v.assign(np.ones(4))
    assert keras.Variable(2.0).dtype == "float32"

"""Traced functions in torch: variables that a graph reads and writes, training steps, generated code."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras
from kcompile.engine.eager import hold
from kcompile.engine.foreach import Update
from kcompile.keras import ops
from kcompile.keras.distribution.share import Share
from kcompile.keras.training.steps import Step, trace_update
from kcompile.tracing.variable import Variable


def variable(value: Any, trainable: bool = False, name: str = "v") -> Variable:
    return Variable(np.asarray(value, "float32"), dtype="float32", trainable=trainable, name=name)


def run(function: Any, *inputs: Any) -> Any:
    """``function`` of the inputs, traced, as predict runs it."""
    step = Step("test", lambda x, y, w: function(x))
    return step((torch.tensor(inputs[0]), None, None))


def test_two_variables_are_exchanged() -> None:
    a, b = variable([1.0, 2.0], name="a"), variable([3.0, 4.0], name="b")

    def swap(x: Any) -> Any:
        left, right = a.value, b.value
        a.assign(right)
        b.assign(left)
        return x

    run(swap, [0.0])
    assert (a.numpy().tolist(), b.numpy().tolist()) == ([3.0, 4.0], [1.0, 2.0])


@pytest.mark.parametrize("view", [lambda v: v, lambda v: ops.reshape(v, (2, 1)), lambda v: v[1:]])
def test_an_output_that_is_a_variable_has_the_value_before_the_update(view: Any) -> None:
    v = variable([1.0, 2.0])

    def old_and_new(x: Any) -> Any:
        old = view(v.value)
        v.assign(v.value + 10.0)
        return [old, v.value]

    old, new = run(old_and_new, [0.0])
    assert old.flatten().tolist() == np.asarray(view(torch.tensor([1.0, 2.0]))).flatten().tolist()
    assert new.tolist() == v.numpy().tolist() == [11.0, 12.0]


def test_a_variable_used_and_then_assigned_can_be_differentiated_through() -> None:
    """The gradient is of the value that was used, and writing the new one does not disturb it."""

    class Counting(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.w = self.add_weight((), initializer="ones", name="w")
            self.count = self.add_weight((), initializer="ones", trainable=False, name="count")

        def call(self, x: Any) -> Any:
            y = x * self.w * self.count
            self.count.assign(self.count + 1.0)
            return y

    model = keras.Sequential([keras.Input((1,)), Counting()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.ones((4, 1), "float32"), np.zeros((4, 1), "float32")
    # w <- w - 0.1 * 2 * count^2 * w
    wanted = 1.0
    for count in (1.0, 2.0, 3.0):
        model.train_on_batch(x, y)
        wanted -= 0.1 * 2 * count**2 * wanted
        w, counted = (float(v) for v in model.get_weights())
        assert (w, counted) == (pytest.approx(wanted, rel=1e-5), count + 1)


def test_predict_and_evaluate_record_no_gradients() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((4, 3), "float32")
    model.predict(x, verbose=0)
    model.evaluate(x, x[:, :2], verbose=0)
    batch = (torch.from_numpy(x), None, None)
    assert not model._steps["predict"](batch).requires_grad
    assert model._steps["test"]((batch[0], batch[0][:, :2], None))[0].requires_grad is False


def test_what_training_changes_is_what_numpy_reads_and_the_other_way_round() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = np.eye(3, dtype="float32"), np.zeros((3, 1), "float32")
    for start in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]):
        model.set_weights([np.array(start, "float32")[:, None]])
        model.train_on_batch(x, y)
        np.testing.assert_allclose(model.get_weights()[0][:, 0], np.array(start) * (1 - 0.5 * 2 / 3), rtol=1e-6)
        np.testing.assert_allclose(model.predict(x, verbose=0), model.get_weights()[0], rtol=1e-6)


def test_a_step_is_traced_again_only_for_another_kind_of_batch() -> None:
    traced: list[Any] = []
    step = Step("test", lambda x, y, w: traced.append(x.type) or x * 2)
    for shape in ((2, 3), (5, 3), (1, 3), (2, 4), (9, 5), (2, 3)):
        assert step((torch.ones(shape), None, None)).shape == shape
    assert [str(t) for t in traced] == ["f32[N, 3]", "f32[N, T]"]
    step((torch.ones((2, 3), dtype=torch.int64), None, None))
    assert str(traced[-1]).startswith("i64[N, ")


# ---- the update


def updated(count: int, optimizer: Any, shapes: Any = ((3, 4), (4,))) -> tuple[Update, list[Variable]]:
    variables = [variable(np.ones(shapes[i % len(shapes)]), True, f"v{i}") for i in range(count)]
    optimizer.build(variables)
    graph, tracer, groups = trace_update(optimizer, variables, Share())
    tensors = {label: hold(v).detach() for label, v in tracer.variables.items()}
    return Update(graph, tensors, groups, count), variables


OPTIMIZERS = [
    lambda: keras.optimizers.SGD(0.1), lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    lambda: keras.optimizers.Adam(0.1), lambda: keras.optimizers.Adam(0.1, amsgrad=True, weight_decay=0.1),
    lambda: keras.optimizers.Adam(0.1, clipvalue=0.5),
]  # fmt: skip


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_one_call_does_for_many_variables_what_it_does_for_one(make: Any) -> None:
    one, many = updated(1, make()), updated(40, make())
    lines = [u.code.count("\n") for u, _ in (one, many)]
    calls = [len(re.findall(r"_foreach_\w+\(|adam_step\(", u.code)) for u, _ in (one, many)]
    assert calls[0] == calls[1] > 0
    assert lines[1] <= lines[0] + 2
    for _ in range(3):
        for update, variables in (one, many):
            update([torch.full(v.shape, 0.5) for v in variables])
    for v in many[1]:
        np.testing.assert_allclose(v.numpy().flat[0], one[1][0].numpy().flat[0], rtol=1e-6)


IN_PLACE = [
    # optimizer, calls that change what is there, calls that make new lists
    (lambda: keras.optimizers.SGD(0.1), "sub_", ""),
    (lambda: keras.optimizers.SGD(0.1, momentum=0.9), "mul_ sub_ add_", ""),
    (lambda: keras.optimizers.RMSprop(0.1), "mul_ add_ sqrt_ div_ sub_", "mul mul add"),
    (lambda: keras.optimizers.AdamW(0.1), "mul_", ""),
    (lambda: keras.optimizers.SGD(0.1, clipvalue=0.5), "clamp_max_ sub_", "clamp_min"),
]


@pytest.mark.parametrize(("make", "changing", "making"), IN_PLACE)
def test_an_update_works_in_the_memory_that_it_has(make: Any, changing: str, making: str) -> None:
    called = re.findall(r"torch\._foreach_(\w+)\(", updated(3, make())[0].code)
    assert [c for c in called if c.endswith("_")] == changing.split()
    assert [c for c in called if not c.endswith("_")] == making.split()


def test_gradients_that_lie_otherwise_in_memory_than_their_variables() -> None:
    update, variables = updated(2, keras.optimizers.Adam(0.1), ((2, 3), (3, 2)))
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    update([signs.t().contiguous().t(), signs.t()])
    # The first step of Adam is the rate times the gradient's sign.
    for v, sign in zip(variables, (signs, signs.t()), strict=True):
        np.testing.assert_allclose(v.numpy(), 1 - 0.1 * sign, rtol=1e-5)


class HalfScaled(keras.optimizers.Optimizer):
    """Matrices go on by the gradient times the rate, vectors become it."""

    def __init__(self) -> None:
        super().__init__(learning_rate=0.1)

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        step = ops.multiply(gradient, learning_rate)
        if len(variable.shape) == 2:
            self.assign_sub(variable, step)
        else:
            self.assign(variable, step)


def test_a_product_of_all_that_only_some_subtract() -> None:
    update, variables = updated(4, HalfScaled())
    update([torch.full(v.shape, float(i)) for i, v in enumerate(variables)])
    np.testing.assert_allclose([v.numpy().flat[0] for v in variables], [1.0, 0.1, 0.8, 0.3], rtol=1e-6)


@pytest.mark.parametrize("inside", [False, True], ids=["two", "one more in a branch"])
def test_draws_take_their_numbers_in_the_order_of_the_trace(inside: bool) -> None:
    def function(x: Any) -> Any:
        first = keras.random.uniform((3,))
        second = keras.random.uniform((3,))
        again = second
        if inside:
            again = ops.cond(x[0] > 0, lambda: second + keras.random.uniform((3,)), lambda: second)
        return ops.concatenate([x, again, first])

    keras.utils.set_random_seed(3)
    wanted = [torch.rand(3).tolist() for _ in range(2 + inside)]
    keras.utils.set_random_seed(3)
    found = run(function, np.ones(4, "float32")[:3])
    expected = np.add(*wanted[1:]) if inside else wanted[1]
    np.testing.assert_allclose(found[3:].numpy(), np.concatenate([expected, wanted[0]]), rtol=1e-6)

"""Activations that are computed twice: torch's own, kept, are the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx
from torch.nn import functional

from kcompile import keras
from kcompile.engine import products, recompute
from kcompile.engine.products import linear
from kcompile.engine.recompute import linear_of, recompute_activations
from kcompile.keras.training import gradients

CASES = [
    ("gelu", functional.gelu, {}),
    ("gelu", functional.gelu, {"approximate": "tanh"}),
    ("silu", functional.silu, {}),
]
each = pytest.mark.parametrize(("name", "function", "options"), CASES, ids=["gelu", "gelu-tanh", "silu"])


@pytest.fixture(autouse=True, params=[1 << 22, 10, 1], ids=["whole", "two rows", "each row"])
def small(request, monkeypatch):
    """Products of every size count as large, and are computed in parts."""
    monkeypatch.setattr(recompute, "LARGE", 1)
    monkeypatch.setattr(recompute, "WIDE", 1)
    monkeypatch.setattr(recompute, "PART", request.param)


def operands(shape, units, bias=True, dtype=torch.float32, wanted=(True, True, True)):
    torch.manual_seed(4)
    made = (
        torch.randn(shape, dtype=dtype),
        torch.rand(shape[-1], units, dtype=dtype) / 4,
        torch.rand(units, dtype=dtype),
    )
    x, kernel, last = (t.requires_grad_(flag) for t, flag in zip(made, wanted, strict=True))
    return x, kernel, last if bias else None


def differentiated(function, *given):
    """The result, its gradients, and gradients of these."""
    result = function(*given)
    moving = [t for t in given if t is not None and t.requires_grad]
    plain = torch.autograd.grad((result**2).sum(), moving, retain_graph=True)
    first = torch.autograd.grad((result**2).sum(), moving, create_graph=True)
    return [result, *plain, *first, *torch.autograd.grad(sum((g**2).sum() for g in first), moving)]


@each
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (0, 5), (2, 0, 5), (4, 1)])
def test_gradients(name, function, options, bias, shape):
    given = operands(shape, 3, bias, torch.float64)

    def kept(x, kernel, bias):
        return functional.linear(function(x, **options), kernel.t(), bias)

    found = differentiated(lambda *g: linear_of(*g, activation=name, **options), *given)
    for one, other in zip(found, differentiated(kept, *given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "wanted", [(True, True, False), (True, False, True), (False, True, True), (False, False, False)]
)
def test_dtypes_and_frozen_weights(name, function, options, dtype, wanted):
    given = operands((3, 6), 4, True, dtype, wanted)
    moving = [t for t in given if t.requires_grad]
    found = linear_of(*given, activation=name, **options)
    right = functional.linear(function(given[0], **options), given[1].t(), given[2])
    exact = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 1e-2, "atol": 1e-2}
    torch.testing.assert_close(found, right, **exact)
    if moving:
        for one, other in zip(
            torch.autograd.grad(found.sum(), moving), torch.autograd.grad(right.sum(), moving), strict=True
        ):
            torch.testing.assert_close(one, other, **exact)


def kept_numbers(function, x, kernel, bias):
    """How many numbers of other tensors than these are kept for the gradients."""
    kept = {}
    own = {t.data_ptr() for t in (x, kernel, bias)}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        result = function(x, kernel, bias)
    assert result.requires_grad
    return sum(t.numel() for t in kept.values())


@each
@pytest.mark.parametrize(
    ("limits", "kept"), [((8 * 16 * 4, 4), 0), ((8 * 16 * 4 + 1, 4), 8 * 16), ((1, 5), 8 * 16)],
    ids=["large", "small", "narrow"],
)  # fmt: skip
def test_what_is_kept(monkeypatch, name, function, options, limits, kept):
    monkeypatch.setattr(recompute, "LARGE", limits[0])
    monkeypatch.setattr(recompute, "WIDE", limits[1])
    given = operands((8, 16), 4)
    assert kept_numbers(lambda *g: linear_of(*g, activation=name, **options), *given) == kept


def test_sums_of_half_precision_are_one_product() -> None:
    """Parts would be added up in its few digits."""
    rows = {d: recompute._rows(torch.ones(40, 5, dtype=d), 5) for d in (torch.float32, torch.float64, torch.bfloat16)}
    assert rows[torch.float32] == rows[torch.float64] == max(1, recompute.PART // 5) and rows[torch.bfloat16] >= 40


@pytest.mark.parametrize(("wanted", "twice"), [((True, True), True), ((False, True), False), ((True, False), False)])
def test_only_where_both_would_be_kept(wanted, twice):
    given = operands((3, 6), 4, True, torch.float32, (*wanted, True))
    assert ("LinearOf" in linear_of(*given, activation="silu").grad_fn.name()) is twice


def test_memory_is_given_up_only_once(monkeypatch):
    """The gradient is written over a tensor of its own: what the caller gave stays."""
    monkeypatch.setattr(products, "LARGE", 1)
    x, kernel, bias = operands((3, 3), 3)
    given = torch.ones(3, 3)
    result = linear_of(x, kernel, bias, activation="gelu")
    first = torch.autograd.grad(result, (x, kernel), given, retain_graph=True)
    second = torch.autograd.grad(result, (x, kernel), given)
    assert torch.equal(given, torch.ones(3, 3)) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# What is done twice: a product's operand that nothing else reads, and whose gradient needs its own operand.
GRAPHS = [
    (lambda x, k: linear(functional.gelu(x), k, None), True),
    (lambda x, k: linear(functional.gelu(x, approximate="tanh"), k, None), True),
    (lambda x, k: linear(functional.silu(x), k, None), True),
    (lambda x, k: linear(torch.relu(x), k, None), False),
    (lambda x, k: linear(x, k, None), False),
    (lambda x, k: linear(x, functional.gelu(k), None), False),
    (lambda x, k: functional.gelu(linear(x, k, None)), False),
    (lambda x, k: [y := functional.gelu(x), linear(y, k, None) + y][1], False),
]


@pytest.mark.parametrize(("function", "twice"), GRAPHS, ids=map(str, range(len(GRAPHS))))
def test_which_are_computed_twice(function, twice):
    tracer = fx.Tracer(autowrap_functions=(linear,))
    module = fx.GraphModule({}, tracer.trace(function))
    assert ("linear" in module.code) and "linear_of" not in module.code
    for node in module.graph.nodes:
        node.meta["node"] = node.name  # what leads from an error to its layer
    recompute_activations(module)
    assert ("linear_of" in module.code) is twice
    assert all(n.meta["node"].startswith("linear") for n in module.graph.nodes if n.target is linear_of)
    x, kernel = torch.randn(4, 5), torch.randn(5, 5)
    torch.testing.assert_close(module(x, kernel), function(x, kernel))


@pytest.mark.parametrize("activation", ["gelu", "silu", "relu"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_model_trains_to_the_same_weights(monkeypatch, activation, policy):
    """Whole steps of `fit`, with activations computed twice and without."""
    x, y = np.random.default_rng(1).normal(size=(12, 5, 6)).astype("float32"), np.ones((12, 5, 3), "float32")
    calls = []
    apply = recompute._LinearOf.apply
    monkeypatch.setattr(recompute._LinearOf, "apply", lambda *given: [calls.append(given), apply(*given)][1])

    def trained(large):
        monkeypatch.setattr(recompute, "LARGE", large)
        keras.utils.set_random_seed(2)
        layers = [keras.layers.Dense(8, activation, dtype=policy), keras.layers.Dense(3, dtype=policy)]
        model = keras.Sequential([keras.Input((None, 6)), *layers])
        model.compile("sgd", "mse")
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        return model.get_weights()

    monkeypatch.setattr(gradients, "SMALL", 0)  # or the gradients are operators of the graph
    once, none = trained(1 << 40), len(calls)
    twice = trained(1)
    assert none == 0 and len(calls) == (0 if activation == "relu" else 6)
    exact = 1e-5 if policy == "float32" else 1e-2
    for one, other in zip(once, twice, strict=True):
        np.testing.assert_allclose(one, other, rtol=exact, atol=exact / 10)

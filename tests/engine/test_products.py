"""Products with weights: torch's own linear is the reference."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kcompile.engine import products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def onednn(monkeypatch):
    """oneDNN for products of every size, on every processor."""
    monkeypatch.setattr(products, "LARGE", 1)
    monkeypatch.setattr(products, "onednn_leads", lambda: True)


def operands(shape, units, bias, wanted=(True, True, True)):
    torch.manual_seed(3)
    # Small enough that second gradients of cubes are sums of like size: no digits are lost to cancelling.
    made = torch.rand(shape), torch.rand(shape[-1], units) / 4, torch.rand(units) if bias else None
    return [t if t is None else t.requires_grad_(flag) for t, flag in zip(made, wanted, strict=True)]


def by_torch(x, kernel, bias):
    return functional.linear(x, kernel.t(), bias)


def gradients(function, x, kernel, bias):
    """The result; gradients of a sum, whose own is spread out with strides of 0; gradients of these."""
    result = function(x, kernel, bias)
    moving = [t for t in (x, kernel, bias) if t is not None and t.requires_grad]
    first = torch.autograd.grad((result**3).sum(), moving, create_graph=True)
    plain = torch.autograd.grad(function(x, kernel, bias).sum(), moving)
    return [result, *first, *plain, *torch.autograd.grad(sum((g**2).sum() for g in first), moving)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (2, 1, 4, 5), (0, 5), (2, 0, 5), (4, 1)])
@pytest.mark.parametrize("units", [1, 3, 16])
def test_linear_and_gradients(shape, units, bias):
    given = operands(shape, units, bias)
    for found, wanted in zip(gradients(products.linear, *given), gradients(by_torch, *given), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(products.linear(*given), by_torch(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_of_some(wanted):
    given = operands((6, 5), 4, True, wanted)
    for found, right in zip(gradients(products.linear, *given), gradients(by_torch, *given), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "view",
    [lambda x: x.transpose(0, 1), lambda x: x[:, ::2], lambda x: x[:1].expand(8, -1, -1), lambda x: x.flip(0)[1:]],
    ids=["transposed", "every other", "expanded", "part"],
)
def test_views(view):
    _, kernel, bias = operands((6, 4, 5), 3, True)
    x = view(torch.randn(6, 4, 5))
    torch.testing.assert_close(products.linear(x, kernel, bias), by_torch(x, kernel, bias))
    columns = torch.randn(3, 5).t()
    torch.testing.assert_close(products.linear(x, columns, bias), by_torch(x, columns, bias))


def test_other_dtypes_are_torch_s_own(monkeypatch):
    monkeypatch.setattr(products, "_onednn", None)
    for dtype in (torch.float64, torch.bfloat16):
        x, kernel = torch.randn(4, 5, dtype=dtype), torch.randn(5, 3, dtype=dtype)
        assert torch.equal(products.linear(x, kernel, None), by_torch(x, kernel, None))


@pytest.mark.parametrize(
    ("processor", "capability", "leads"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        ("", "DEFAULT", False),
    ],
)
def test_where_onednn_leads(monkeypatch, processor, capability, leads):
    monkeypatch.undo()
    monkeypatch.setattr(products, "_processor", lambda: f"vendor_id : {processor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert products.onednn_leads.__wrapped__() is (leads and torch.backends.mkl.is_available())


@pytest.mark.parametrize(("large", "taken"), [(3 * 5 * 4, True), (3 * 5 * 4 + 1, False)])
def test_products_from_a_size_on_are_onednn_s(monkeypatch, large, taken):
    monkeypatch.setattr(products, "LARGE", large)
    x, kernel, bias = operands((3, 5), 4, True)
    assert ("_Linear" in products.linear(x, kernel, bias).grad_fn.name()) is taken

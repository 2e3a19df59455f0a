"""Activations in front of products, of which training keeps one tensor instead of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from kcompile.engine.products import linear

# From so many multiplications and columns on, the activation of an element takes a few hundredths of its products' time.
LARGE, WIDE = 1 << 24, 128
# Numbers that are activated at once: what becomes of them then stays in the processor's cache, and needs memory once.
PART = 1 << 22

# Activations whose gradient is made of their operand, and that gradient. Of others (relu, tanh) torch keeps the
# result, which is the product's operand, and nothing else.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Any]] = {
    "gelu": (functional.gelu, torch.ops.aten.gelu_backward),
    "silu": (functional.silu, torch.ops.aten.silu_backward),
}
NAMES = {function: name for name, (function, _) in ACTIVATIONS.items()}


def recompute_activations(module: fx.GraphModule) -> None:
    """Let `linear_of` compute the activations that nothing but one product reads."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not linear:
            continue
        inner, *others = node.args
        if inner.op == "call_function" and inner.target in NAMES and len(inner.users) == 1:
            with graph.inserting_before(node):
                made = graph.call_function(
                    linear_of, (inner.args[0], *others), {"activation": NAMES[inner.target], **inner.kwargs}
                )
            made.meta = node.meta
            node.replace_all_uses_with(made)
            graph.erase_node(node)
            graph.erase_node(inner)
    module.recompile()


def linear_of(
    x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, activation: str, **options: Any
) -> torch.Tensor:
    """`linear` of an activation of x [..., K].

    Where the product is large, its operand is not kept for the kernel's gradient but computed again: x is kept
    for the activation's own gradient, and in Transformers the two are half of what a step keeps.
    """
    if torch.compiler.is_compiling() or not _pays(x, kernel):
        return linear(ACTIVATIONS[activation][0](x, **options), kernel, bias)
    result: torch.Tensor = _LinearOf.apply(x, kernel, bias, activation, options)
    return result


def _pays(x: torch.Tensor, kernel: torch.Tensor) -> bool:
    columns = kernel.shape[1]
    kept = torch.is_grad_enabled() and x.requires_grad and kernel.requires_grad
    return kept and columns >= WIDE and x.numel() * columns >= LARGE


def _rows(x: torch.Tensor, columns: int) -> int:
    """How many rows of x are activated at once."""
    # Sums of parts are as exact as one product only where they are kept in the dtype that it adds up in.
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        return max(1, x.numel())
    return max(1, PART // columns)


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        kernel: torch.Tensor,
        bias: torch.Tensor | None,
        activation: str,
        options: dict[str, Any],
    ) -> torch.Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.activation, ctx.options = activation, options
        function, _ = ACTIVATIONS[activation]
        inner, columns = kernel.shape
        parts = x.reshape(-1, inner).split(_rows(x, inner))
        if len(parts) == 1:
            return linear(function(x, **options), kernel, bias)
        result = x.new_empty(*x.shape[:-1], columns)
        for part, place in zip(parts, result.view(-1, columns).split(len(parts[0])), strict=True):
            place.copy_(linear(function(part, **options), kernel, bias))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        (given,) = gradients
        inner, columns = kernel.shape
        x_rows, rows = x.reshape(-1, inner), given.reshape(-1, columns)
        function, gradient = ACTIVATIONS[ctx.activation]
        if torch.is_grad_enabled():  # for gradients of these gradients
            y = function(x_rows, **ctx.options)
            weights = y.t() @ rows
            (back,) = torch.autograd.grad(y, x, linear(rows, kernel.t(), None), create_graph=True)
        else:
            back, weights = torch.empty_like(x_rows), torch.zeros_like(kernel)
            count = _rows(x, inner)
            for part, out, place in zip(x_rows.split(count), rows.split(count), back.split(count), strict=True):
                weights.addmm_(function(part, **ctx.options).t(), out)
                gradient.grad_input(linear(out, kernel.t(), None), part, **ctx.options, grad_input=place)
        return back.view(x.shape), weights, rows.sum(0) if ctx.needs_input_grad[2] else None, None, None

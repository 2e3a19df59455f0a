"""Products with weights, by the faster of the libraries that torch has."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

# Multiplications from which oneDNN's lead (a tenth of a third of a millisecond) is more than its call costs.
LARGE = 1 << 24


def linear(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [..., K] times kernel [K, U], plus bias [U] or None.

    torch gives float32 products to MKL, which on processors of other makers than Intel runs its general code. With
    AVX-512 there, oneDNN takes 0.85 to 0.92 of its time (AMD EPYC, 4096 x 256 x 1024), forwards and for x's gradient.
    """
    if torch.compiler.is_compiling() or not _large(x, kernel):
        return functional.linear(x, kernel.t(), bias)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, kernel, bias)):
        return _Linear.apply(x, kernel, bias)
    return _onednn(x, kernel.t(), bias)


def _large(x: torch.Tensor, kernel: torch.Tensor) -> bool:
    return x.numel() * kernel.shape[1] >= LARGE and x.is_cpu and x.dtype is torch.float32 and onednn_leads()


@functools.cache
def onednn_leads() -> bool:
    """Whether oneDNN has faster products of float32 here than the library that torch takes for them."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and "GenuineIntel" not in _processor()


def _processor() -> str:
    found = Path("/proc/cpuinfo")
    return found.read_text() if found.is_file() else platform.processor()


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [..., K] times weight [U, K] transposed, as the operator that torch.compile calls: it has no gradient."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, kernel)
        return _onednn(x, kernel.t(), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        (given,) = gradients
        back = linear(given, kernel.t(), None) if ctx.needs_input_grad[0] else None
        rows = given.reshape(-1, given.shape[-1])
        weights = x.reshape(-1, x.shape[-1]).t() @ rows if ctx.needs_input_grad[1] else None
        return back, weights, rows.sum(0) if ctx.needs_input_grad[2] else None

"""Random decisions for dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def dropout_noise(
    shape: Sequence[int],
    rate: float,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A tensor of 0 (with probability ``rate``) and 1 / (1 - rate): what dropout multiplies by.

    On a CPU each decision compares 32 random bits with the rate, two to a number drawn: torch's
    Bernoulli numbers cost four times as much, 60 us for 8,192 of them.
    """
    scale = 1 / (1 - rate)
    if device.type != "cpu":
        if generator is None:
            # As `Dropout` does there, so that a rank of several decides as one process.
            return torch.nn.functional.dropout(torch.ones(shape, dtype=dtype, device=device), rate, True)
        return torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - rate, generator=generator).mul_(scale)
    count = 1
    for size in shape:
        count *= size
    # From and to: left out, torch draws no negative numbers, and every other decision would have 31 bits.
    bits = torch.empty((count + 1) // 2, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    lanes = bits.view(torch.int32)[:count].view(shape)
    return (lanes >= round(rate * 2**32) - 2**31).to(dtype).mul_(scale)

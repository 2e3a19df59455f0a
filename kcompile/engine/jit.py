"""Generated modules through torch.compile."""

from __future__ import annotations

import sys
from typing import Any

import torch


class Jit:
    """A module compiled by torch.compile at its first call.

    Where that fails (no working C++ compiler, an operator that it does not know) the module runs as it
    is, and one line on standard error says so: the numbers are the same, only slower.
    """

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self.run: Any = torch.compile(module)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self.run is not self.module:
            from torch._dynamo.exc import TorchDynamoException

            try:
                return self.run(*inputs)
            except TorchDynamoException as error:
                cause = getattr(error, "inner_exception", None) or error
                reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
                sys.stderr.write(f"kcompile: jit_compile: torch.compile fails, the step runs without it: {reason}\n")
                self.run = self.module
        return self.module(*inputs)

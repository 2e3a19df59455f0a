"""Generated modules through torch.compile."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch

from kcompile.ir import Graph


def is_static(graph: Graph) -> bool:
    """True where no size of the inputs is free but the batch's."""
    return {s for v in graph.inputs for s in v.type.symbols()} <= {"N"}


class Jit:
    """A module compiled by torch.compile at its first call.

    Where that fails (no working C++ compiler, an operator that it does not know) the module runs as it
    is, and one line on standard error says so: the numbers are the same, only slower.

    On CUDA, ``static`` code is recorded as CUDA graphs, one for each size of batch, so that a step is launched
    at once and not kernel by kernel: the next run writes over what one returns.
    """

    def __init__(self, module: torch.nn.Module, device: torch.device | None = None, static: bool = False):
        self.module = module
        self.recorded = static and device is not None and device.type == "cuda"
        options: dict[str, Any] = {"mode": "reduce-overhead", "dynamic": False} if self.recorded else {}
        self.run: Any = torch.compile(module, **options)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self.recorded:
            torch.compiler.cudagraph_mark_step_begin()
        if self.run is not self.module:
            from torch._dynamo.exc import TorchDynamoException

            try:
                return self.run(*inputs)
            except TorchDynamoException as error:
                cause = getattr(error, "inner_exception", None) or error
                _say(next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__))
                self.run = self.module
            except (RuntimeError, IndexError):
                # Compiled code has no lines that lead to a layer; the module's own fail with an error that has.
                if not torch.distributed.is_initialized():
                    self.module(*inputs)
                raise
        return self.module(*inputs)


@functools.cache
def _say(reason: str) -> None:
    """Why nothing is compiled, once: steps of fit, evaluate and predict fail for the same reason."""
    sys.stderr.write(f"kcompile: jit_compile: torch.compile fails, steps run without it: {reason}\n")

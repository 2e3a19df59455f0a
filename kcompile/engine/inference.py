"""A graph as a function of numpy arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from kcompile.engine.eager import to_tensor
from kcompile.engine.lower import lower
from kcompile.ir import Graph


def runner(graph: Graph) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Arrays by input name to outputs in order, on the CPU, without gradients."""
    module = lower(graph.inference())
    names = graph.input_names

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(*(to_tensor(feeds[n]) for n in names))
        return [_array(o) for o in outputs]

    return run


def _array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return tensor.numpy()

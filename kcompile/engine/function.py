"""Traced functions with their variables held in torch: forward passes and whole training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from kcompile.engine.devices import CPU
from kcompile.engine.distributed import Alone
from kcompile.engine.eager import hold
from kcompile.engine.faults import CAUGHT, in_code
from kcompile.engine.foreach import Update
from kcompile.engine.jit import Jit, is_static
from kcompile.engine.lower import lower, plain
from kcompile.engine.recompute import recompute_activations
from kcompile.ir import Graph
from kcompile.tracing.variable import Variable


class Function:
    """A graph in torch whose updates are written into its variables.

    The variables' storage becomes torch tensors that the module shares: what training changes is
    what `Variable.numpy` reads. ``jit`` runs the module through torch.compile.
    """

    def __init__(
        self,
        graph: Graph,
        variables: Mapping[str, Variable],
        device: torch.device | None = None,
        jit: bool = False,
    ):
        self.graph = graph
        self.tensors = {label: hold(v, device or CPU) for label, v in variables.items()}
        self.device = device
        self.module = lower(graph, self.tensors, device)
        recompute_activations(self.module)
        self.forward = Jit(self.module, device, is_static(graph)) if jit else plain(self.module)
        self.targets = [self.tensors[label].detach() for label, _ in graph.updates]
        self.written = {t.untyped_storage().data_ptr() for t in self.targets}
        self.count = len(graph.outputs)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, values = self.run(*inputs)
        self.write(values)
        # Training has used up what is recorded before the next run; what is handed out must outlive it.
        recorded = isinstance(self.forward, Jit) and self.forward.recorded
        return tuple(t.clone() for t in outputs) if recorded else outputs

    def run(self, *inputs: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], list[torch.Tensor]]:
        """(outputs, new values of variables); `write` puts the latter into place once gradients are taken."""
        try:
            results = self.forward(*inputs)
        except CAUGHT as error:
            raise in_code(error, self.module) from error
        if self.written:
            results = tuple(self._apart(t) for t in results)
        return results[: self.count], list(results[self.count :])

    def write(self, values: list[torch.Tensor]) -> None:
        """Set the variables that the graph updates."""
        if values:
            with torch.no_grad():
                torch._foreach_copy_(self.targets, values)

    def _apart(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, or a copy where it is (a view of) a variable that is about to be written."""
        return tensor.clone() if tensor.untyped_storage().data_ptr() in self.written else tensor

    @property
    def code(self) -> str:
        """The generated Python, that of regions which are computed twice behind it."""
        regions = [(n, m) for n, m in self.module.named_modules() if n and isinstance(m, fx.GraphModule)]
        return "\n\n".join([self.module.code.strip(), *(f"# self.{n}\n{m.code.strip()}" for n, m in regions)])


class TrainStep:
    """Forward, backward and update: the forward graph's first output is the loss.

    ``trained`` are the labels (in ``forward``) of the variables that the update graph's gradients
    belong to, in order; ``groups`` tells the update graph's lists apart (see `Update`); ``exchange`` is what
    adds gradients up over processes.
    """

    def __init__(
        self,
        forward: Function,
        trained: Sequence[str],
        update: Graph,
        update_variables: Mapping[str, Variable],
        groups: Mapping[str, tuple[str, int]],
        exchange: Alone | None = None,
    ):
        self.forward, self.exchange = forward, exchange or Alone()
        self.parameters = [forward.tensors[label] for label in trained]
        self.own = {p.data_ptr() for p in self.parameters}
        tensors = {label: _state(v, forward.device, label in groups) for label, v in update_variables.items()}
        self.update = Update(update, tensors, groups, len(trained))

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with self.exchange.forward():
            outputs, values = self.forward.run(*inputs)
        gradients = self.exchange.differentiate(outputs[0], self.parameters)
        self.forward.write(values)
        self.update(gradients)
        return outputs


class ExplicitStep(TrainStep):
    """A step whose forward graph gives the gradients too, as its last outputs: nothing is left to autograd."""

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        count = len(self.parameters)
        with torch.no_grad():
            outputs, values = self.forward.run(*inputs)
            # The gradient of a product of two weights is a weight, which the update is about to change.
            gradients = [g.clone() if g.data_ptr() in self.own else g for g in outputs[-count:]]
            self.forward.write(values)
            self.update(self.exchange.summed(gradients))
        return outputs[:-count]


def _state(variable: Variable, device: torch.device | None, grouped: bool) -> torch.Tensor:
    """An optimizer's variable: beside the weights where it belongs to one of them, or is more than one number."""
    # Its scalars (step, rate) stay on the CPU, where reading them does not wait for a device.
    return hold(variable, device if device and (grouped or variable.shape) else CPU).detach()


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as a numpy array."""
    return tensor.detach().cpu().numpy()

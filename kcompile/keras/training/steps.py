"""Traces a model's steps: train, test and predict as Graphs, and their torch functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from kcompile.ir import Graph, Type, dtype, input_value
from kcompile.ir.dims import symbol
from kcompile.keras import backend, symbolic, tree
from kcompile.keras.distribution.share import Share
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.training.gradients import depending, differentiated
from kcompile.keras.training.source import length
from kcompile.passes.pipeline import TRAIN, optimize
from kcompile.tracing.scope import root_scope
from kcompile.tracing.tensor import SymbolicTensor, lift
from kcompile.tracing.tracer import Tracer
from kcompile.tracing.variable import Variable

NOTHING_TO_TRAIN = (
    "the loss depends on no trainable variable, there is nothing to train: it must be computed from y_pred, and with "
    "neither integers (argmax, casts) nor stop_gradient in between"
)


class Signature:
    """Types of a batch's tensors: sizes other than the batch's become symbols once they are seen to vary."""

    def __init__(self, batch: Any):
        self.structure = tree.map_structure(lambda a: None, batch)
        self.absent = [a is None for a in tree.leaves(batch)]
        self.types: list[Type | None] = []
        taken = {"N"}
        for a in tree.leaves(batch):
            if a is None:
                self.types.append(None)
                continue
            kind, shape = dtype(a.dtype), tuple(a.shape)
            self.types.append(Type(kind, (symbol("N"), *shape[1:]) if shape else ()))
        self._taken = taken

    def accepts(self, batch: Any) -> bool:
        """True where a function traced with this signature can run the batch."""
        leaves = tree.flatten(batch)
        if [a is None for a in leaves] != self.absent or len(leaves) != len(self.types):
            return False
        return all(
            t is None or (t.dtype is dtype(a.dtype) and _fits(t, tuple(a.shape)))
            for t, a in zip(self.types, leaves, strict=True)
        )

    def widen(self, batch: Any) -> Signature:
        """A signature for this batch too; sizes that differ are symbols in it."""
        made = Signature(batch)
        if made.absent != self.absent:
            return made
        widened: list[Type | None] = []
        for old, new in zip(self.types, made.types, strict=True):
            if old is None or new is None or old.dtype is not new.dtype or old.rank != new.rank:
                widened.append(new)
                continue
            letters = symbolic.dim_letters(new.rank)
            dims = list(new.shape)
            for i in range(1, new.rank):
                if old.shape[i] != new.shape[i]:
                    dims[i] = symbolic.new_symbol(letters[i - 1], made._taken)
            widened.append(Type(new.dtype, dims))
        made.types = widened
        return made


def _fits(type: Type, shape: tuple[int, ...]) -> bool:
    return len(shape) == type.rank and all(
        not isinstance(want, int) or want == got for want, got in zip(type.shape, shape, strict=True)
    )


class Step:
    """A Python function of (x, y, sample_weight) that is traced at need and runs in torch.

    ``function`` returns a dict of named tensors; it reads and assigns variables. ``jit`` hands what is
    generated to torch.compile; ``share`` is what this process does of it.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Any, Any, Any], dict[str, Any]],
        jit: bool = False,
        share: Share | None = None,
    ):
        self.name, self.function, self.jit, self.share = name, function, jit, share or Share()
        self.signature: Signature | None = None
        self.kinds: list[Any] | None = None
        self.batch_size = 1
        self.runner: Any = None
        self.output_structure: Any = None
        self.device: Any = None  # None is the CPU
        self.moves = 0

    def __call__(self, batch: Any) -> Any:
        leaves = tree.flatten(batch)
        kinds = [None if a is None else (a.dtype, a.shape) for a in leaves]
        if kinds != self.kinds:  # most batches are like the one before
            self.prepare(batch)
            self.kinds = kinds
        tensors = self.share.tensors([a for a in leaves if a is not None], getattr(batch, "whole", None))
        if self.device is not None:
            tensors = [backend.devices().copied(a, self.device) for a in tensors]
        outputs = self._run(tensors)
        return tree.pack_like(self.output_structure, outputs)

    def prepare(self, batch: Any) -> None:
        """Trace and generate code for batches of this kind, where what is there does not fit."""
        if self.signature is None or not self.signature.accepts(batch):
            self.signature = Signature(batch) if self.signature is None else self.signature.widen(batch)
            self.batch_size = length(batch) or 1
            self._compile()

    def settle(self) -> None:
        """Forget the code that was made for variables that have since moved to another device."""
        if self.runner is not None and backend.devices().moves() != self.moves:
            self.signature, self.kinds, self.runner = None, None, None

    def _run(self, tensors: list[Any]) -> Any:
        with backend.engine().no_grad():
            return self.runner(*tensors)

    def _compile(self) -> None:
        graph, tracer = self._trace()
        graph = self._shared(graph, tracer)
        graph = optimize(graph, TRAIN, evaluate=evaluate_torch).graph
        self.device = backend.devices().placement(tracer.variables.values())
        self.runner = self._lowered(graph, tracer)
        self.moves = backend.devices().moves()

    def _trace(self) -> tuple[Graph, Tracer]:
        assert self.signature is not None
        types = self.signature.types
        inputs = [None if t is None else input_value(f"in{i}", t) for i, t in enumerate(types)]
        tracer = Tracer(batch=self.batch_size)
        with tracer.scope(), root_scope():
            tensors = [None if v is None else SymbolicTensor(v) for v in inputs]
            results = self.function(*tree.pack_like(self.signature.structure, tensors))
            values = [lift(r) for r in tree.leaves(results)]
        self.output_structure = tree.map_structure(lambda r: None, results)
        graph = tracer.graph(self.name, [v for v in inputs if v is not None], values)
        return graph, tracer

    def _shared(self, graph: Graph, tracer: Tracer) -> Graph:
        self.share.place(list(tracer.variables.values()), [], None)
        return self.share.graph(graph, tracer.variables, trains=False)

    def _lowered(self, graph: Graph, tracer: Tracer) -> Any:
        return engine_function()(graph, tracer.variables, self.device, self.jit)


class TrainingStep(Step):
    """A step whose first output is the loss: torch differentiates it, the optimizer's graph follows."""

    def __init__(
        self,
        name: str,
        function: Any,
        optimizer: Optimizer,
        trained: Callable[[], list[Variable]],
        jit: bool = False,
        share: Share | None = None,
    ):
        super().__init__(name, function, jit, share)
        self.optimizer, self.trained = optimizer, trained
        self.revision = optimizer.revision

    def __call__(self, batch: Any) -> Any:
        if self.optimizer.revision != self.revision:
            # Another schedule: another graph.
            self.signature, self.kinds, self.revision = None, None, self.optimizer.revision
        self.optimizer.refresh()
        return super().__call__(batch)

    def _run(self, tensors: list[Any]) -> Any:
        return self.runner(*tensors)

    def _shared(self, graph: Graph, tracer: Tracer) -> Graph:
        self.optimizer.build(self.trained())
        variables = [*tracer.variables.values(), *self.optimizer.variables]
        self.share.place(variables, self.trained(), self.optimizer)
        return self.share.graph(graph, tracer.variables, trains=True)

    def _lowered(self, graph: Graph, tracer: Tracer) -> Any:
        from kcompile.engine.function import ExplicitStep, Function, TrainStep

        labels = {id(v): label for label, v in tracer.variables.items()}
        if not self.trained():
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
            return super()._lowered(graph, tracer)
        weights = graph.weight_values()
        trained = [v for v in self.trained() if id(v) in labels and labels[id(v)] in weights]
        if graph.outputs[0] not in depending(graph, [weights[labels[id(v)]] for v in trained]):
            raise ValueError(NOTHING_TO_TRAIN)
        whole = differentiated(graph, [labels[id(v)] for v in trained], self.batch_size)
        if whole is not None:
            graph = optimize(whole, TRAIN, evaluate=evaluate_torch).graph
        forward = Function(graph, tracer.variables, self.device, self.jit)
        update, update_tracer, groups = trace_update(self.optimizer, trained, self.share)
        made = TrainStep if whole is None else ExplicitStep
        names = [labels[id(v)] for v in trained]
        exchange = self.share.exchange([forward.tensors[name] for name in names], trained)
        return made(forward, names, update, update_tracer.variables, groups, exchange)


def trace_update(
    optimizer: Optimizer, trained: list[Variable], share: Share
) -> tuple[Graph, Tracer, dict[str, tuple[str, int]]]:
    """The optimizer's step for these variables as a graph: inputs are gradients, updates new values."""
    gradients = [input_value(f"gradient{i}", Type(dtype(v._dtype), v.shape)) for i, v in enumerate(trained)]
    tracer = Tracer()
    with tracer.scope(), root_scope():
        optimizer.apply([SymbolicTensor(g) for g in gradients], trained)
    owners = {f"gradient{i}": v for i, v in enumerate(trained)}
    graph = share.update(tracer.graph("update", gradients, []), {**tracer.variables, **owners})
    graph = optimize(graph, TRAIN, evaluate=evaluate_torch).graph
    place, slots = {id(v): i for i, v in enumerate(trained)}, optimizer.slots
    groups: dict[str, tuple[str, int]] = {f"gradient{i}": ("gradients", i) for i in range(len(trained))}
    for label, variable in tracer.variables.items():
        if id(variable) in place:
            groups[label] = ("variables", place[id(variable)])
        elif id(variable) in slots and id(slots[id(variable)][1]) in place:
            kind, owner = slots[id(variable)]
            groups[label] = (kind, place[id(owner)])
    return graph, tracer, groups


def engine_function() -> Any:
    """The engine's `Function`; MissingError where torch is not installed."""
    backend.engine()
    from kcompile.engine.function import Function

    return Function


def evaluate_torch(graph: Graph) -> list[Any]:
    """Values of a graph without inputs, in torch: constant folding while training."""
    backend.engine()
    from kcompile.engine.function import to_numpy
    from kcompile.engine.lower import lower

    return [to_numpy(t) for t in lower(graph)()]

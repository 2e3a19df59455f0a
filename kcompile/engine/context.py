"""The ``t`` that torch facets get: torch itself, and what the IR knows about the operator.

Two kinds with one surface. `Recording` writes torch.fx nodes while a graph is lowered; `Running`
computes on tensors, for eager calls and for operators whose facet looks at real sizes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.utils.checkpoint import checkpoint

from kcompile.engine import collectives, noise, products
from kcompile.errors import UnsupportedError
from kcompile.ir import DType, Graph, Op, Type
from kcompile.ir.dims import FUNCTIONS, Dim, DimLike, evaluate
from kcompile.ir.op import sub_graphs

DTYPES = {
    "bool": torch.bool, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32, "i64": torch.int64,
    "u8": torch.uint8, "u16": torch.uint16, "u32": torch.uint32, "u64": torch.uint64,
    "f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64,
}  # fmt: skip

# Functions that make a tensor of no other: on the context's device, where the caller names none.
FACTORIES = frozenset({
    torch.full, torch.zeros, torch.ones, torch.empty, torch.arange, torch.scalar_tensor, torch.tensor, torch.eye,
    torch.linspace, torch.rand, torch.randn, torch.randint, torch.randperm,
})  # fmt: skip


def draws(op: Op) -> bool:
    """True for random operators."""
    return hasattr(op, "draw")


def any_draw(graph: Graph) -> bool:
    """Whether a graph, its regions among it, draws random numbers."""
    return any(draws(n.op) or any(map(any_draw, sub_graphs(n.op))) for n in graph.nodes)


class Context:
    """What both kinds share: ``t.inputs``, ``t.outputs``: the operator's types; ``t.device``.

    ``t.collectives``, ``t.noise`` and ``t.products`` are the engine's own modules beside torch's functions.
    """

    inputs: tuple[Type | None, ...] = ()
    outputs: tuple[Type, ...] = ()
    device: torch.device = torch.device("cpu")

    def dtype(self, dtype: DType) -> torch.dtype:
        """The torch dtype."""
        return DTYPES[dtype.name]

    def size(self, dim: DimLike) -> Any:
        """The dimension as what torch takes for a size."""
        raise NotImplementedError

    def shape(self, dims: Sequence[DimLike]) -> tuple[Any, ...]:
        """`size` of each."""
        return tuple(self.size(d) for d in dims)


class Running(Context):
    """Computes at once on tensors. ``lower_region`` makes a region's Graph a function on a device."""

    def __init__(
        self,
        inputs: tuple[Type | None, ...],
        outputs: tuple[Type, ...],
        sizes: dict[str, int] | None,
        device: torch.device | None,
        lower_region: Callable[[Graph, torch.device], Callable[..., tuple[torch.Tensor, ...]]],
    ):
        self.inputs, self.outputs, self.sizes = inputs, outputs, sizes or {}
        self.lower_region = lower_region
        self.collectives, self.noise, self.products = collectives, noise, products
        self.device = device or torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        found = getattr(torch, name)
        if self.device.type != "cpu" and callable(found) and found in FACTORIES:
            return functools.partial(found, device=self.device)
        return found

    def size(self, dim: DimLike) -> int:
        return evaluate(dim, self.sizes)

    def function(self, graph: Graph) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A region as a function of its inputs."""
        return self.lower_region(graph, self.device)

    def recomputed(self, graph: Graph, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """A region's results, for whose gradients it runs again."""
        return checkpoint(self.function(graph), *operands, use_reentrant=False)

    def generator(self, seed: torch.Tensor | None, draw: int = 0) -> torch.Generator | None:
        """The generator of a seed tensor (int64 [2]: seed, counter) and a draw number; None for torch's own."""
        if seed is None:
            return None
        first, counter = seed.tolist()
        generator = torch.Generator(self.device)
        # Three words into one 64-bit seed: odd constants (of the golden ratio, of pi) spread the bits.
        mixed = first ^ (counter * 0x9E3779B97F4A7C15) ^ (draw * 0x243F6A8885A308D3)
        return generator.manual_seed(mixed & (2**63 - 1))


class Recording(Context):
    """Records calls as nodes of a torch.fx graph. ``device`` None is the CPU, which the code needs not name."""

    def __init__(
        self,
        tracer: fx.proxy.GraphAppendingTracer,
        sizes: dict[str, Any],
        device: torch.device | None = None,
        add_region: Callable[[Graph], Any] | None = None,
    ):
        self.tracer, self.sizes, self.add_region = tracer, sizes, add_region
        self.collectives, self.noise = _recorder(tracer, collectives), _recorder(tracer, noise)
        self.products = _recorder(tracer, products)
        self.defaults = {} if device is None else {"device": device}
        self.device = device or self.device

    def __getattr__(self, name: str) -> Any:
        found = getattr(torch, name)
        if self.defaults and callable(found) and found in FACTORIES:
            return _Recorder(self.tracer, found, self.defaults)
        return _recorder(self.tracer, found)

    def generator(self, seed: None, draw: int = 0) -> None:
        """torch's own generator: operators that have a seed are not recorded but run."""

    def recomputed(self, graph: Graph, operands: Sequence[Any]) -> tuple[Any, ...]:
        """A region's results, for whose gradients its code runs again; it is a module of its own."""
        assert self.add_region is not None
        # What chance decided must be decided the same again; keeping the generators' states costs time.
        options = {"use_reentrant": False, "preserve_rng_state": any_draw(graph)}
        results: Any = self.tracer.create_proxy(
            "call_function", checkpoint, (self.add_region(graph), *operands), options
        )
        return tuple(results[i] for i in range(len(graph.outputs)))

    def size(self, dim: DimLike) -> Any:
        if not isinstance(dim, Dim):
            return dim
        missing = dim.symbols() - set(self.sizes)
        if missing:
            raise UnsupportedError(f"the size {sorted(missing)[0]} can't be read from any tensor in reach")
        functions = {**FUNCTIONS, "max": self.sym_max, "min": self.sym_min}
        return evaluate(dim, self.sizes, functions)


class _Recorder:
    def __init__(self, tracer: Any, target: Any, defaults: dict[str, Any] | None = None):
        self._tracer, self._target, self._defaults = tracer, target, defaults or {}

    def __getattr__(self, name: str) -> Any:
        return _recorder(self._tracer, getattr(self._target, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer.create_proxy("call_function", self._target, args, {**self._defaults, **kwargs})


def _recorder(tracer: Any, target: Any) -> Any:
    # Values (dtypes, constants such as torch.inf) stand for themselves; functions and modules record.
    if callable(target) or isinstance(target, type(torch)):
        return _Recorder(tracer, target)
    return target

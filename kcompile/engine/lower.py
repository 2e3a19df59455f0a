"""A Graph as a torch.nn.Module with generated, readable code (torch.fx)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from kcompile.engine.context import DTYPES, Recording, Running, any_draw, draws
from kcompile.errors import KcompileError, UnsupportedError
from kcompile.ir import Constant, Graph, Input, Node, Type, Value, Weight
from kcompile.ir.dims import Dim
from kcompile.ir.graph import topological
from kcompile.ir.op import Op, sub_graphs
from kcompile.ir.types import ALL as ALL_DTYPES
from kcompile.operators.control import Recompute
from kcompile.operators.lowering import describe, expand


class Opaque(nn.Module):
    """An operator that runs at call time, because its facet looks at real sizes or values."""

    def __init__(self, op: Op, inputs: tuple[Type | None, ...], device: torch.device | None = None):
        super().__init__()
        self.op, self.types, self.device = op, inputs, device

    def forward(self, *tensors: torch.Tensor | None, **sizes: int) -> Any:
        result = run_op(self.op, tensors, {**bind_sizes(self.types, tensors), **sizes}, self.device)
        # A node of one result holds a tensor, also where its operator gives a tuple of one (cond).
        return result[0] if isinstance(result, tuple) and len(result) == 1 else result

    def extra_repr(self) -> str:
        return repr(self.op)


def has_torch(op: Op) -> bool:
    """Whether an operator runs in torch without its decomposition."""
    return callable(op.torch)


def lower(
    graph: Graph, weights: dict[str, torch.Tensor] | None = None, device: torch.device | None = None
) -> fx.GraphModule:
    """The graph as a module: takes the inputs in order, returns a tuple of outputs, then updates.

    Weights become parameters under their path with dots (``block1.conv.kernel``), shared with
    ``weights`` where given (tensors by weight name), else copied from the graph's arrays. What the graph
    makes of nothing is on ``device`` (None: the CPU), except for what only host weights go into (`hosted`).
    Raises UnsupportedError naming the operator and layer that torch can't run.
    """
    graph = expand(graph, has_torch, "torch")
    return _Lowering(graph, weights or {}, device, ()).module()


def plain(module: fx.GraphModule) -> Callable[..., Any]:
    """The module's generated code as a function: what its calls and its attributes cost as a Module is left out.

    It reads the tensors that the module has now: they may change, but not be replaced.
    """

    def holder(part: nn.Module) -> SimpleNamespace:
        made = SimpleNamespace(**part._parameters, **part._buffers)
        for name, child in part.named_children():
            setattr(made, name, code(child))
        return made

    def code(child: nn.Module) -> Any:
        if isinstance(child, Opaque):
            return child.forward
        return plain(child) if isinstance(child, fx.GraphModule) else holder(child)

    return MethodType(type(module).forward, holder(module))


class _Lowering:
    def __init__(
        self, graph: Graph, weights: dict[str, torch.Tensor], device: torch.device | None, on_host: Iterable[Value]
    ):
        self.graph, self.weights, self.device = graph, weights, device
        self.hosted = set() if device is None else hosted(graph, weights, on_host)
        self.root = nn.Module()
        self.fx = fx.Graph()
        self.tracer = fx.proxy.GraphAppendingTracer(self.fx)
        self.sizes: dict[str, Any] = {}
        self.proxies: dict[Value, Any] = {}
        self.wanted = {
            s
            for n in graph.nodes
            for t in (*n.types, *(v.type for v in n.inputs if v is not None))
            for s in t.symbols()
        }

    def module(self) -> fx.GraphModule:
        taken: set[str] = set()
        for value in self.graph.inputs:
            label = name = identifier(value.op.label)  # type: ignore[attr-defined]
            while name in taken:
                name = f"{label}_{len(taken)}"
            taken.add(name)
            self.proxies[value] = fx.Proxy(self.fx.placeholder(name), self.tracer)
        for value in self.graph.inputs:
            self._note(value)
        for node in _in_order_of_draws(self.graph):
            if not isinstance(node.op, Input):
                self._node(node)
        self.fx.output(tuple(self.proxies[v].node for v in self.graph.results()))
        self.fx.lint()
        module = fx.GraphModule(self.root, self.fx, class_name=identifier(self.graph.name))
        module.graph.eliminate_dead_code()
        module.recompile()
        return module

    def _node(self, node: Node) -> None:
        if isinstance(node.op, Weight):
            self.proxies[node.results[0]] = self._weight(node.op)
            return
        if isinstance(node.op, Constant):
            tensor = torch.from_numpy(np.array(portable(node.op.value.data)))
            device = None if node.results[0] in self.hosted else self.device
            tensor = tensor.to(device=device, dtype=DTYPES[node.types[0].dtype.name])
            self.proxies[node.results[0]] = self._attribute("constant", tensor, parameter=False)
            return
        operands = [None if v is None else self._operand(node, v) for v in node.inputs]
        before = len(self.fx.nodes)
        results = self._call(node, operands)
        results = results if isinstance(results, tuple) else (results,)
        if len(node.types) > 1 and len(results) == 1:
            results = tuple(results[0][i] for i in range(len(node.types)))
        for made in list(self.fx.nodes)[before:]:
            # What leads from an error as it runs back to here (engine/faults.py).
            made.meta["node"], made.meta["operands"] = node, [getattr(p, "node", None) for p in operands]
        for value, proxy in zip(node.results, results, strict=True):
            self.proxies[value] = proxy
            self._note(value)

    def _call(self, node: Node, operands: list[Any]) -> Any:
        types = tuple(None if v is None else v.type for v in node.inputs)
        if node.op.runs_opaque(node.inputs):
            name = self._add_module(node, Opaque(node.op, types, self.device))
            # Symbols of its results that no operand has (the shape of a random tensor, say).
            own = set().union(*(t.symbols() for t in types if t is not None))
            sizes = {s: self._size(node, s) for t in node.types for s in sorted(t.symbols() - own)}
            return self.tracer.create_proxy("call_module", name, tuple(operands), sizes)
        device = None if node.results[0] in self.hosted else self.device
        context = Recording(self.tracer, self.sizes, device, lambda graph: self._region(node, graph))
        context.inputs, context.outputs = types, node.types
        try:
            return node.op.torch(context, *operands)
        except KcompileError as error:
            raise UnsupportedError(f"{describe(node)}: {error}") from error
        except Exception as error:
            raise RuntimeError(f"{describe(node)}: the torch facet failed: {type(error).__name__}: {error}") from error

    def _region(self, node: Node, graph: Graph) -> Any:
        """A region that takes the node's operands, as a module of its own."""
        on_host = [own for own, v in zip(graph.inputs, node.inputs, strict=True) if v in self.hosted]
        graph = expand(graph, has_torch, "torch")
        made = _Lowering(graph, {}, self.device, on_host).module()
        return self.tracer.create_proxy("get_attr", self._add_module(node, made), (), {})

    def _size(self, node: Node, symbol: str) -> Any:
        if symbol not in self.sizes:
            raise UnsupportedError(f"{describe(node)}: the size {symbol} can't be read from any tensor in reach")
        return self.sizes[symbol]

    def _operand(self, node: Node, value: Value) -> Any:
        scalar = isinstance(value.op, Constant) and value.type.shape == () and node.op.torch_scalars
        if scalar and any(v is not None and not isinstance(v.op, Constant) and v.type.rank for v in node.inputs):
            return value.op.value.data.item()  # type: ignore[attr-defined]
        found = self.proxies[value]
        if value in self.hosted and node.results[0] not in self.hosted and not _takes_seeds(node.op):
            found = self.tracer.create_proxy("call_method", "to", (found, self.device), {"non_blocking": True})
        return found

    def _note(self, value: Value) -> None:
        """Remember where to read the symbols of a value's shape."""
        for axis, dim in enumerate(value.type.shape):
            if isinstance(dim, Dim):
                for symbol in dim.symbols() & self.wanted - set(self.sizes):
                    size = self.tracer.create_proxy("call_method", "size", (self.proxies[value], axis), {})
                    found = _solve(dim, symbol, size)
                    if found is not None:
                        self.sizes[symbol] = found

    def _weight(self, op: Weight) -> Any:
        tensor = self.weights.get(op.label)
        if tensor is None:
            array = self.graph.weights.get(op.label)
            if array is None:
                raise UnsupportedError(f"weight {op.label!r} has no values")
            tensor = torch.from_numpy(np.array(portable(array))).to(
                device=self.device, dtype=DTYPES[op.type.dtype.name]
            )
        return self._attribute(op.label, tensor, parameter=True)

    def _attribute(self, label: str, tensor: torch.Tensor, parameter: bool) -> Any:
        module, parts = self.root, [identifier(p) for p in label.split("/")]
        if hasattr(fx.GraphModule, parts[0]):
            parts[0] += "_"  # a layer called "code" must not hide the module's own
        for i, part in enumerate(parts[:-1]):
            child = getattr(module, part, None)
            if child is None:
                child = nn.Module()
                module.add_module(part, child)
            if type(child) is not nn.Module:  # a tensor, or a layer's region that has the layer's name
                parts = [*parts[:i], "_".join(parts[i:])]
                break
            module = child
        name, count = parts[-1], 0
        while hasattr(module, name):
            count += 1
            name = f"{parts[-1]}_{count}"
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(name, tensor)
        elif parameter and tensor.is_floating_point():
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=tensor.requires_grad))
        else:
            module.register_buffer(name, tensor)
        target = ".".join([*parts[:-1], name])
        return self.tracer.create_proxy("get_attr", target, (), {})

    def _add_module(self, node: Node, module: nn.Module) -> str:
        base = identifier(node.origin or node.op.name)
        name, count = base, 0
        while hasattr(self.root, name) or hasattr(fx.GraphModule, name):
            count += 1
            name = f"{base}_{count}"
        self.root.add_module(name, module)
        return name


def hosted(graph: Graph, weights: Mapping[str, torch.Tensor], given: Iterable[Value] = ()) -> set[Value]:
    """The values that stay on the CPU beside a device: weights that are there, what is ``given`` there, and what
    is computed of these and of constants.

    These are the states of seeds: the generator that they start is set up by the host, which would have to wait
    for the device to read them from there.
    """
    found: set[Value] = set(given)
    for node in graph.nodes:
        if isinstance(node.op, Weight):
            tensor = weights.get(node.op.label)
            if tensor is not None and tensor.device.type == "cpu":
                found.update(node.results)
            continue
        operands = [v for v in node.inputs if v is not None]
        moving = [v for v in operands if not isinstance(v.op, Constant)]
        if moving and all(v in found for v in moving) and not _takes_seeds(node.op):
            found.update(node.results, operands)
    return found


def _takes_seeds(op: Op) -> bool:
    """True for operators that read the states of seeds where the host has them."""
    return draws(op) or (isinstance(op, Recompute) and any_draw(op.body))


def _in_order_of_draws(graph: Graph) -> Iterable[Node]:
    """The nodes, those that take numbers from torch's generator in the order of the trace.

    Whatever passes have made of the graph, each then gets the numbers that it would get without them.
    """
    drawing = {n: number for n in graph.nodes if (number := _first_draw(n.op)) is not None}
    known = graph.symbols()
    # Sizes that only values in between have are read where the graph has put it.
    if list(drawing.values()) == sorted(drawing.values()) or any(t.symbols() - known for n in drawing for t in n.types):
        return graph.nodes
    first = [n.results[0] for n in sorted(drawing, key=drawing.__getitem__)]
    return topological([*first, *graph.results()], graph.inputs)


def _first_draw(op: Op) -> int | None:
    """The lowest number of what an operator draws, in its regions too; None where it draws nothing."""
    if draws(op):
        return int(op.draw)  # type: ignore[attr-defined]
    inner = [_first_draw(n.op) for graph in sub_graphs(op) for n in graph.nodes]
    return min((number for number in inner if number is not None), default=None)


def identifier(label: str) -> str:
    """``label`` as a Python identifier."""
    name = re.sub(r"\W", "_", label, flags=re.ASCII) or "_"
    return f"_{name}" if name[0].isdigit() else name


def run_op(
    op: Op,
    tensors: Sequence[torch.Tensor | None],
    sizes: dict[str, int] | None = None,
    device: torch.device | None = None,
) -> Any:
    """One operator on tensors, through its decomposition where it has no torch facet.

    It runs on ``device``, by default that of its first operand.
    """
    types = tuple(None if x is None else tensor_type(x) for x in tensors)
    if not has_torch(op):
        inputs = [None if t is None else Input(f"x{i}", t)() for i, t in enumerate(types)]
        results = op(*inputs)
        graph = Graph(
            op.name, [v for v in inputs if v is not None], results if isinstance(results, tuple) else (results,)
        )
        outputs = lower(graph, device=device)(*(x for x in tensors if x is not None))
        return outputs if isinstance(results, tuple) else outputs[0]
    outputs = _inferred(op, types)
    device = device or next((x.device for x in tensors if x is not None), None)
    results = outputs if isinstance(outputs, tuple) else (outputs,)
    context = Running(types, results, sizes, device, region_function)
    return op.torch(context, *tensors)


@functools.lru_cache(maxsize=1024)
def _inferred(op: Op, types: tuple[Type | None, ...]) -> Any:
    """`Op.infer`, which a loop of eager calls asks the same again and again."""
    return op.infer(*types)


def tensor_type(tensor: torch.Tensor) -> Type:
    """The IR type of a torch tensor."""
    return Type(_IR_DTYPES[tensor.dtype], tuple(tensor.shape))


def region_function(graph: Graph, device: torch.device) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A region, lowered once and kept."""
    key = (graph, str(device))
    if key not in _REGIONS:
        if len(_REGIONS) >= 256:
            _REGIONS.clear()
        _REGIONS[key] = lower(graph, device=None if device.type == "cpu" else device)
    return _REGIONS[key]


def bind_sizes(types: Sequence[Type | None], tensors: Sequence[torch.Tensor | None]) -> dict[str, int]:
    """What each symbol is, read off the tensors' shapes."""
    sizes: dict[str, int] = {}
    for type, tensor in zip(types, tensors, strict=True):
        if type is None or tensor is None:
            continue
        for axis, dim in enumerate(type.shape):
            if isinstance(dim, Dim):
                for symbol in dim.symbols() - set(sizes):
                    found = _solve(dim, symbol, tensor.shape[axis])
                    if found is not None:
                        sizes[symbol] = found
    return sizes


def _solve(dim: Dim, symbol: str, size: Any) -> Any:
    """The symbol's value where ``dim == a*symbol + b`` has ``size``; None for other forms."""
    if dim.name == symbol:
        return size
    linear = dict(dim.terms)
    scale, offset = linear.pop(((("sym", symbol),)), 0), linear.pop((), 0)
    if linear or not scale:
        return None
    return (size - offset) // scale


def portable(array: np.ndarray) -> np.ndarray:
    """The array, in a dtype that torch.from_numpy knows: float32 holds every bfloat16 exactly."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


_IR_DTYPES = {DTYPES[d.name]: d for d in ALL_DTYPES}
_REGIONS: dict[Any, fx.GraphModule] = {}

"""One decision for the whole graph: images are channels_first.

ONNX's convolutions know no other layout. This pass walks the graph once and gives each value the
form in which it is cheapest to have: what a convolution, pooling or resize makes is channels_first
([N, C, *spatial], the *first* form), and operators that don't care take either form, with axes and
constants moved to suit. Which of them take which is a minimum cut: between what makes or needs
images in the first form and what makes or needs them in the last, such that the fewest values are
transposed. Weights are transposed by constant folding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kcompile.ir import Constant, Graph, Node, Value, Weight, origin
from kcompile.ir.graph import remake
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators.activation import Glu, LogSoftmax, Softmax, Sparsemax
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.image import Resize
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import BatchNorm, GroupNorm
from kcompile.operators.pooling import AveragePool, MaxPool
from kcompile.operators.reduction import ArgMax, ArgMin, CumulativeMax, CumulativeProduct, CumulativeSum
from kcompile.operators.shape import Concat, Expand, Flip, Pad, Reshape, Slice, Split, Squeeze, Tile, Transpose
from kcompile.passes.elementwise import ELEMENTWISE
from kcompile.passes.min_cut import UNLIMITED, Network
from kcompile.passes.movement import REDUCTIONS, cheap_reshape

SPATIAL = (Conv, ConvTranspose, MaxPool, AveragePool, Resize)
# An operator's results, and whether they are in the first form; None: it needs the channels last.
Handled = tuple[tuple[Value, ...], bool] | None


def channels_first(graph: Graph) -> Graph:
    """The graph with its images in channels_first; the same graph where it has no channels_last operator."""
    if not any(_starts(node) for node in graph.nodes):
        return graph
    layout = _Layout(graph)
    result = layout.run()
    stay = _better_last(layout)
    return _Layout(graph, stay).run() if stay else result


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from [N, *spatial, C] to [N, C, *spatial]."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from [N, C, *spatial] to [N, *spatial, C]."""
    return (0, *range(2, rank), 1)


def _starts(node: Node) -> bool:
    if isinstance(node.op, SPATIAL):
        return node.op.data_format == "channels_last" and node.types[0].rank > 2
    rank = node.types[0].rank
    return isinstance(node.op, GroupNorm) and rank > 2 and normal_axis(node.op.axis, rank) == rank - 1


class _Layout:
    def __init__(self, graph: Graph, stay: frozenset[Node] = frozenset()):
        self.graph = graph
        self.stay = stay  # nodes that could have the first form, and are cheaper without
        self.free: set[Node] = set()  # nodes that take either form
        self.last: dict[Value, Value] = {}  # old value -> new value in its own form
        self.first: dict[Value, Value] = {}  # old value -> new value in the first form
        self.native: set[Value] = set()  # old values that are made in the first form
        self.users = graph.users()

    def run(self) -> Graph:
        for node in self.graph.nodes:
            with origin(node.origin):
                handled = self._handle(node)
            results, first = handled or (remake(node, tuple(map(self.in_last, node.inputs))).results, False)
            (self.first if first else self.last).update(zip(node.results, results, strict=True))
            if first:
                self.native.update(node.results)
        return self.graph.replace(
            outputs=[self.in_last(v) for v in self.graph.outputs],
            updates=[(label, self.in_last(v)) for label, v in self.graph.updates],
        )

    def _handle(self, node: Node) -> Handled:
        if _starts(node):
            x, *rest = node.inputs
            change = {"axis": 1} if isinstance(node.op, GroupNorm) else {"data_format": "channels_first"}
            return (node.op.replace(**change)(self.in_first(x), *map(self.in_last, rest)),), True
        handler = HANDLERS.get(type(node.op))
        images = [v for v in node.inputs if v is not None and v in self.native]
        if handler is None or not images or node in self.stay:
            return None
        # An image that broadcasts against a tensor of a higher rank has its channels elsewhere in it.
        if handler in (_elementwise, _join) and all(v.type.rank < node.types[0].rank for v in images):
            return None
        handled = handler(self, node)
        if handled is not None:
            self.free.add(node)
        return handled

    def in_last(self, value: Value | None) -> Any:
        """The new value in its own form."""
        if value is not None and value not in self.last:
            self.last[value] = Transpose(to_last(value.type.rank))(self.first[value])
        return None if value is None else self.last[value]

    def in_first(self, value: Value | None) -> Any:
        """The new value in the first form; its rank is that of the image."""
        assert value is not None
        if value not in self.first:
            self.first[value] = Transpose(to_first(value.type.rank))(self.last[value])
        return self.first[value]

    def aligned(self, value: Value | None, rank: int) -> Any:
        """A broadcasting operand of an image of this rank, in the first form."""
        if value is None or all(d == 1 for d in value.type.shape):
            return self.in_last(value)
        if value.type.rank == rank:
            return self.in_first(value)
        full = Reshape((1,) * (rank - value.type.rank) + value.type.shape)(self.in_last(value))
        return Transpose(to_first(rank))(full)


def _better_last(layout: _Layout) -> frozenset[Node]:
    """Nodes that take either form, and with which in the last form fewer values are transposed."""
    network = Network()
    vertices = {node: network.vertex() for node in layout.graph.nodes if node in layout.free}

    def side(node: Node | None, value: Value) -> int:
        """The vertex of a reader of ``value``."""
        if node is not None and node in vertices:
            return vertices[node]
        return network.SOURCE if node is not None and _starts(node) and node.inputs[0] is value else network.SINK

    for value, readers in layout.users.items():
        if value.type.rank < 3 or isinstance(value.op, (Weight, Constant)):
            continue
        made = vertices.get(value.node, network.SINK) if value in layout.native else network.SINK
        if value in layout.native and value.node not in vertices:
            made = network.SOURCE
        _transposed_once(network, made, {side(reader, value) for reader in readers} - {made})
    first = network.cut()
    return frozenset(node for node, vertex in vertices.items() if not first[vertex])


def _transposed_once(network: Network, made: int, readers: set[int]) -> None:
    """One transposition serves all readers of a value that need the other form than it is made in."""
    if readers:
        ahead, behind = network.vertex(), network.vertex()
        network.edge(made, ahead, 1)
        network.edge(behind, made, 1)
        for reader in readers:
            network.edge(ahead, reader, UNLIMITED)
            network.edge(reader, behind, UNLIMITED)


def _moved(entries: Sequence[Any]) -> tuple[Any, ...]:
    """One entry an axis, in the order of the first form."""
    return tuple(entries[i] for i in to_first(len(entries)))


def _axis(axis: int, rank: int) -> int:
    """Where an axis is in the first form."""
    return to_first(rank).index(normal_axis(axis, rank))


def _elementwise(layout: _Layout, node: Node) -> Handled:
    rank = node.types[0].rank
    return (node.op(*(layout.aligned(v, rank) for v in node.inputs)),), True


def _join(layout: _Layout, node: Node) -> Handled:
    op = node.op.replace(axis=_axis(node.op.axis, node.types[0].rank))  # type: ignore[attr-defined]
    return (op(*map(layout.in_first, node.inputs)),), True


def _along(layout: _Layout, node: Node) -> Handled:
    """Operators along one axis that keep the others."""
    x, *rest = node.inputs
    assert x is not None
    axis, rank = node.op.axis, x.type.rank  # type: ignore[attr-defined]
    over_channels = isinstance(node.op, (Softmax, LogSoftmax)) and normal_axis(axis, rank) == rank - 1
    if over_channels and all(user is None for user in layout.users[node.results[0]]):
        # It has to be transposed for the output anyhow, and over the last axis softmax is faster.
        return None
    results = node.op.replace(axis=_axis(axis, rank))(layout.in_first(x), *map(layout.in_last, rest))
    return (results if isinstance(results, tuple) else (results,)), True


def _reduction(layout: _Layout, node: Node) -> Handled:
    (x,), op = node.inputs, node.op
    assert x is not None
    rank = x.type.rank
    single = isinstance(op, (ArgMax, ArgMin))
    axes = normal_axes(op.axis if single else op.axes, rank)  # type: ignore[attr-defined]
    moved = tuple(sorted(_axis(a, rank) for a in axes))
    change = {"axis": moved[0]} if single else {"axes": moved}
    if op.keepdims:  # type: ignore[attr-defined]
        return (op.replace(**change)(layout.in_first(x)),), True
    form = _form([i for i in to_first(rank) if i not in axes], rank)
    return None if form is None else ((op.replace(**change)(layout.in_first(x)),), form == "first")


def _form(kept: Sequence[int], rank: int) -> str | None:
    """Which form the axes that are left, in the order of the first form, make; None for neither."""
    if list(kept) == sorted(kept):
        return "last"
    return "first" if list(kept[:2]) == [0, rank - 1] else None


def _squeeze(layout: _Layout, node: Node) -> Handled:
    (x,) = node.inputs
    assert x is not None
    rank = x.type.rank
    axes = normal_axes(node.op.axes, rank)  # type: ignore[attr-defined]
    form = _form([i for i in to_first(rank) if i not in axes], rank)
    moved = tuple(sorted(_axis(a, rank) for a in axes))
    return None if form is None else ((Squeeze(moved)(layout.in_first(x)),), form == "first")


def _reshape(layout: _Layout, node: Node) -> Handled:
    (x,), target = node.inputs, node.types[0].shape
    assert x is not None
    batch, *spatial, channels = x.type.shape
    image = layout.in_first(x)
    if all(d == 1 for d in spatial) and cheap_reshape(image.type, target):
        return (Reshape(target)(image),), False
    if len(target) >= 3 and target[0] == batch and target[-1] == channels:
        first = (batch, channels, *target[1:-1])
        if cheap_reshape(image.type, first):
            return (Reshape(first)(image),), True
    return None


def _dense(layout: _Layout, node: Node) -> Handled:
    """A dense layer over an image's channels is a convolution with a window of 1."""
    x, kernel, bias = node.inputs
    assert x is not None and kernel is not None
    spatial = x.type.rank - 2
    if spatial < 2 or not kernel.type.is_static:
        return None
    window = Reshape((*[1] * spatial, *kernel.type.shape))(layout.in_last(kernel))
    ones = (1,) * spatial
    conv = Conv(strides=ones, padding="valid", dilations=ones, data_format="channels_first")
    return (conv(layout.in_first(x), window, layout.in_last(bias)),), True


def _per_axis(*fields: str) -> Callable[[_Layout, Node], Handled]:
    """Operators whose fields have one entry an axis."""

    def handle(layout: _Layout, node: Node) -> Handled:
        change = {f: _moved(getattr(node.op, f)) for f in fields}
        return (node.op.replace(**change)(layout.aligned(node.inputs[0], node.types[0].rank)),), True

    return handle


def _flip(layout: _Layout, node: Node) -> Handled:
    axes = tuple(_axis(a, node.types[0].rank) for a in node.op.axes)  # type: ignore[attr-defined]
    return (Flip(axes)(layout.in_first(node.inputs[0])),), True


HANDLERS: dict[type, Callable[[_Layout, Node], Handled]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys((ArgMax, ArgMin), _reduction),
    **dict.fromkeys((Softmax, LogSoftmax, Glu, Sparsemax, BatchNorm, Split), _along),
    **dict.fromkeys((CumulativeSum, CumulativeProduct, CumulativeMax), _along),
    Concat: _join,
    Pad: _per_axis("pads"),
    Slice: _per_axis("starts", "stops", "steps"),
    Tile: _per_axis("repeats"),
    Expand: _per_axis("shape"),
    Flip: _flip,
    Squeeze: _squeeze,
    Reshape: _reshape,
    Dense: _dense,
}

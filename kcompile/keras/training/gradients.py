"""The gradient of a graph as a graph, for models so small that torch's autograd would be most of a step.

A step of one neuron spends three quarters of its time in the engine that runs backward passes. Written
as operators (reverse accumulation), the backward pass is a few calls more in the generated code. There
are rules for what small models are made of; a graph with anything else is left to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kcompile.ir import Graph, Node, Type, Value, constant
from kcompile.ir.dims import Dim, product
from kcompile.ir.op import Op
from kcompile.ir.shapes import normal_axes
from kcompile.operators import (
    activation,
    arithmetic,
    creation,
    gradient,
    indexing,
    linear,
    logic,
    math,
    reduction,
    shape,
)
from kcompile.operators.arithmetic import Add, Divide, Multiply, Negative, Square, Subtract
from kcompile.operators.collectives import AllReduce
from kcompile.operators.linear import MatMul
from kcompile.operators.logic import Where
from kcompile.operators.random import Dropout
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import Expand, Reshape, Transpose
from kcompile.passes.patterns import like
from kcompile.passes.pipeline import Pass, run_pass
from kcompile.passes.rewrite import Log, Match, applies, rule

# Numbers in all of a step's tensors, above which what the kernels do outweighs what calling them costs.
SMALL = 1 << 19


@rule("dropout-as-product", like(Dropout, "x", "?seed"))
def dropout_as_product(m: Match) -> Value:
    """Dropout as a product with noise that the gradient meets again."""
    op = m.op("dropout")
    applies(op.rate < 1)
    return Multiply()(m.x, op.noise(m.x.type)(m.seed))


EXPLICIT = Pass("explicit", (dropout_as_product,))


class NoRuleError(Exception):
    """A graph that has no rule here: torch differentiates it."""


def differentiated(graph: Graph, labels: Sequence[str], batch: int) -> Graph | None:
    """The graph with the gradients of its first output for these weights as further outputs.

    ``batch`` is the size that symbols have now. None where the graph is large or has no rule.
    """
    if sum(_size(t, batch) for node in graph.nodes for t in node.types) > SMALL:
        return None
    graph = run_pass(graph, EXPLICIT, False, None, Log())
    weights = graph.weight_values()
    try:
        found = _gradients(graph, [weights[label] for label in labels])
    except NoRuleError:
        return None
    names = [*graph.output_names, *(f"gradient_{label}" for label in labels)]
    return graph.replace(outputs=[*graph.outputs, *found], output_names=names)


def _size(type: Type, batch: int) -> int:
    size = 1
    for dim in type.shape:
        size *= batch if isinstance(dim, Dim) else dim
    return size


def depending(graph: Graph, wanted: Sequence[Value]) -> set[Value]:
    """The values through which gradients reach these."""
    moving: set[Value] = set(wanted)
    for node in graph.nodes:
        if not isinstance(node.op, gradient.StopGradient) and any(v in moving for v in node.inputs):
            moving.update(v for v in node.results if v.type.dtype.is_float)
    return moving


def _gradients(graph: Graph, wanted: Sequence[Value]) -> list[Value]:
    """The gradient of the first output for each value, by reverse accumulation."""
    loss = graph.outputs[0]
    moving = depending(graph, wanted)
    sums: dict[Value, Value] = {loss: constant(1.0, loss.type.dtype)}
    for node in reversed(graph.nodes):
        given = [v for v in node.results if v in sums and v in moving]
        if not given or not any(v in moving for v in node.inputs):
            continue
        if len(node.results) > 1 or type(node.op) not in RULES:
            raise NoRuleError
        parts = RULES[type(node.op)](sums[node.results[0]], node, *node.inputs)
        for value, part in zip(node.inputs, parts, strict=False):
            if value is not None and part is not None and value in moving:
                fitted = _fitted(part, value.type)
                sums[value] = Add()(sums[value], fitted) if value in sums else fitted
    return [sums[v] if v in sums else Expand(v.type.shape)(constant(0.0, v.type.dtype)) for v in wanted]


def _fitted(grad: Value, type: Type) -> Value:
    """A gradient summed over the axes along which its value was broadcast."""
    extra = grad.type.rank - type.rank
    pairs = list(zip(grad.type.shape[extra:], type.shape, strict=True))
    if any(a != b and b != 1 for a, b in pairs):
        raise NoRuleError
    axes = (*range(extra), *(extra + i for i, (a, b) in enumerate(pairs) if a != b))
    grad = Sum(axes)(grad) if axes else grad
    return grad if grad.type == type else Reshape(type.shape)(grad)


# ---- the rules: (gradient of the result, node, operands) -> a gradient for each operand, None for none

Parts = tuple[Value | None, ...]
RULES: dict[type[Op], Callable[..., Parts]] = {}


def _rule(*operators: type[Op]) -> Callable[[Callable[..., Parts]], Callable[..., Parts]]:
    def register(function: Callable[..., Parts]) -> Callable[..., Parts]:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def _like(value: float, x: Value) -> Value:
    return constant(value, x.type.dtype)


def _times(a: Value, b: Value) -> Value:
    return Multiply()(a, b)


# Of one operand: the factor that the gradient is multiplied by, from the operand and the result.
FACTORS: dict[type[Op], Callable[[Value, Value], Value]] = {
    Square: lambda x, y: _times(x, _like(2.0, x)),
    math.Exp: lambda x, y: y,
    math.Log: lambda x, y: arithmetic.Reciprocal()(x),
    math.Sqrt: lambda x, y: Divide()(_like(0.5, y), y),
    math.Tanh: lambda x, y: Subtract()(_like(1.0, y), Square()(y)),
    math.Sin: lambda x, y: math.Cos()(x),
    math.Cos: lambda x, y: Negative()(math.Sin()(x)),
    activation.Sigmoid: lambda x, y: _times(y, Subtract()(_like(1.0, y), y)),
    arithmetic.Absolute: lambda x, y: arithmetic.Sign()(x),
}


@_rule(*FACTORS)
def _by_factor(g: Value, node: Node, x: Value) -> Parts:
    return (_times(g, FACTORS[type(node.op)](x, node.results[0])),)


@_rule(Add)
def _add(g: Value, node: Node, a: Value, b: Value) -> Parts:
    return g, g


@_rule(Subtract)
def _subtract(g: Value, node: Node, a: Value, b: Value) -> Parts:
    return g, Negative()(g)


@_rule(AllReduce)
def _all_reduce(g: Value, node: Node, x: Value) -> Parts:
    return (AllReduce()(g),)


@_rule(Multiply)
def _multiply(g: Value, node: Node, a: Value, b: Value) -> Parts:
    return _times(g, b), _times(g, a)


@_rule(Divide)
def _divide(g: Value, node: Node, a: Value, b: Value) -> Parts:
    part = Divide()(g, b)
    return part, Negative()(_times(part, node.results[0]))


@_rule(Negative)
def _negative(g: Value, node: Node, x: Value) -> Parts:
    return (Negative()(g),)


@_rule(Reshape, shape.ExpandDims, shape.Squeeze)
def _reshape(g: Value, node: Node, x: Value) -> Parts:
    return (Reshape(x.type.shape)(g),)


@_rule(Transpose)
def _transpose(g: Value, node: Node, x: Value) -> Parts:
    order: Any = node.op.perm  # type: ignore[attr-defined]
    return (Transpose(tuple(order.index(i) for i in range(len(order))))(g),)


@_rule(Expand)
def _expand(g: Value, node: Node, x: Value) -> Parts:
    return (g,)


@_rule(Sum, reduction.Mean)
def _reduced(g: Value, node: Node, x: Value) -> Parts:
    op: Any = node.op
    axes = normal_axes(op.axes, x.type.rank)
    if isinstance(op, reduction.Mean):
        count = product(d for i, d in enumerate(x.type.shape) if i in axes)
        size = creation.SizeOf(count, g.type.dtype)() if isinstance(count, Dim) else _like(float(count), g)
        g = Divide()(g, size)
    kept = Reshape(tuple(1 if i in axes else d for i, d in enumerate(x.type.shape)))(g)
    return (Expand(x.type.shape)(kept),)


@_rule(linear.Dense)
def _dense(g: Value, node: Node, x: Value, kernel: Value, bias: Value | None) -> Parts:
    """All but the last axis are rows of one matrix."""
    rows = product(x.type.shape[:-1])
    left, right = (Reshape((rows, v.type.shape[-1]))(v) if v.type.rank != 2 else v for v in (x, g))
    total = None if bias is None else Sum((0,))(right)
    back = MatMul()(g, Transpose((1, 0))(kernel))
    return back, MatMul()(Transpose((1, 0))(left), right), total


@_rule(MatMul)
def _matmul(g: Value, node: Node, a: Value, b: Value) -> Parts:
    if a.type.rank != 2 or b.type.rank != 2:
        raise NoRuleError
    return MatMul()(g, Transpose((1, 0))(b)), MatMul()(Transpose((1, 0))(a), g)


@_rule(activation.Relu)
def _relu(g: Value, node: Node, x: Value) -> Parts:
    zero = _like(0.0, x)
    return (Where()(logic.Greater()(x, zero), g, zero),)


@_rule(logic.Clip)
def _clip(g: Value, node: Node, x: Value) -> Parts:
    op: Any = node.op
    if op.minimum is not None:
        g = Where()(logic.GreaterEqual()(x, _like(op.minimum, x)), g, _like(0.0, x))
    if op.maximum is not None:
        g = Where()(logic.LessEqual()(x, _like(op.maximum, x)), g, _like(0.0, x))
    return (g,)


@_rule(activation.Softmax)
def _softmax(g: Value, node: Node, x: Value) -> Parts:
    y, axis = node.results[0], node.op.axis  # type: ignore[attr-defined]
    return (_times(y, Subtract()(g, Sum((axis,), True)(_times(g, y)))),)


@_rule(activation.LogSoftmax)
def _log_softmax(g: Value, node: Node, x: Value) -> Parts:
    y, axis = node.results[0], node.op.axis  # type: ignore[attr-defined]
    return (Subtract()(g, _times(math.Exp()(y), Sum((axis,), True)(g))),)


@_rule(indexing.GatherElements)
def _gather_elements(g: Value, node: Node, x: Value, places: Value) -> Parts:
    """One place of the last axis, as a cross-entropy takes it."""
    axis: int = node.op.axis  # type: ignore[attr-defined]
    count = x.type.shape[-1]
    if axis not in (-1, x.type.rank - 1) or places.type.shape != (*x.type.shape[:-1], 1) or not isinstance(count, int):
        raise NoRuleError
    own = arithmetic.Remainder()(places, constant(count, places.type.dtype))
    numbers = logic.Cast(places.type.dtype)(creation.Range(0, count)())
    return Where()(logic.Equal()(own, numbers), g, _like(0.0, x)), None


@_rule(logic.Cast)
def _cast(g: Value, node: Node, x: Value) -> Parts:
    return (logic.Cast(x.type.dtype)(g) if x.type.dtype.is_float else None,)

"""Recurrent runs and cross-entropies of `keras.ops`."""

from __future__ import annotations

from typing import Any

from kcompile.ir.shapes import known
from kcompile.keras import config
from kcompile.keras.ops import activation, arrays, elementwise, reductions
from kcompile.keras.ops.common import common, kind, normal_axis, op, rank_of, run, shape_of, tensor
from kcompile.operators import indexing, losses
from kcompile.tracing.tensor import promoted


def _require_shape(target: Any, wanted: tuple[Any, ...], what: str, hint: str = "") -> None:
    """Raises ValueError where the target's sizes differ from these; symbolic ones are taken to be equal."""
    got = shape_of(target)
    pairs = [(a, b) for a, b in zip(got, wanted, strict=False) if isinstance(a, int) and isinstance(b, int)]
    if len(got) != len(wanted) or any(a != b for a, b in pairs):
        raise ValueError(f"the target's shape {known(got)} must be the shape {known(wanted)} of the {what}{hint}")


@op
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-sum(target * log(output)) along an axis; output are logits or probabilities."""
    hint = "; for integer classes use sparse_categorical_crossentropy" if rank_of(target) < rank_of(output) else ""
    _require_shape(target, shape_of(output), "output", hint)
    if from_logits:
        return common(losses.SoftmaxCrossEntropy(axis), output, target)
    output = elementwise.divide(output, reductions.sum(output, axis, True))
    output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    return elementwise.negative(reductions.sum(elementwise.multiply(target, elementwise.log(output)), axis))


@op
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-log of the output at the target's index; output are logits or probabilities."""
    if rank_of(target) == rank_of(output) and shape_of(target)[axis] == 1:
        target = arrays.squeeze(target, axis)
    classes = normal_axis(axis, rank_of(output))
    wanted = tuple(d for i, d in enumerate(shape_of(output)) if i != classes)
    hint = "; for one-hot rows use categorical_crossentropy" if rank_of(target) == rank_of(output) else ""
    _require_shape(target, wanted, "output without its classes", hint)
    labels = tensor(target, "int64")
    if from_logits and axis in (-1, rank_of(output) - 1):
        return run(losses.SparseSoftmaxCrossEntropy(), output, labels)
    if not from_logits:
        output = elementwise.divide(output, reductions.sum(output, axis, True))
        output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    logs = activation.log_softmax(output, axis) if from_logits else elementwise.log(output)
    picked = run(indexing.GatherElements(classes, from_end=False), logs, arrays.expand_dims(labels, axis))
    return elementwise.negative(arrays.squeeze(picked, axis))


@op
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-(target * log(output) + (1 - target) * log(1 - output)), elementwise."""
    _require_shape(target, shape_of(output), "output")
    if from_logits:
        return common(losses.SigmoidCrossEntropy(), output, target)
    target = tensor(target, kind(output))
    output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    positive = elementwise.multiply(target, elementwise.log(output))
    negative = elementwise.multiply(
        elementwise.subtract(1.0, target), elementwise.log(elementwise.subtract(1.0, output))
    )
    return elementwise.negative(elementwise.add(positive, negative))


@op
def lstm(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    c: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any, Any]:
    """(outputs [N, T, U], last h, last c) of an LSTM over x [N, T, F]; gates i, f, c, o."""
    from kcompile.operators.recurrent import Lstm

    operator = Lstm(
        activation=activation,
        recurrent_activation=recurrent_activation,
        reverse=reverse,
        zero_masked=zero_masked,
    )
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h, c], mask)


@op
def gru(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any]:
    """(outputs [N, T, U], last h) of a GRU over x [N, T, F]; gates z, r, h."""
    from kcompile.operators.recurrent import Gru

    operator = Gru(
        activation=activation,
        recurrent_activation=recurrent_activation,
        reset_after=reset_after,
        reverse=reverse,
        zero_masked=zero_masked,
    )
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h], mask)


@op
def simple_rnn(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any]:
    """(outputs [N, T, U], last h) of a plain recurrent layer over x [N, T, F]."""
    from kcompile.operators.recurrent import SimpleRnn

    operator = SimpleRnn(activation=activation, reverse=reverse, zero_masked=zero_masked)
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h], mask)


def _recurrent(operator: Any, floats: list[Any], mask: Any) -> Any:
    target = promoted(*(v for v in floats if v is not None))
    parts = [None if v is None else tensor(v, target) for v in floats]
    return run(operator, *parts, None if mask is None else tensor(mask, "bool"))


__all__ = [
    "binary_crossentropy", "categorical_crossentropy", "gru", "lstm", "simple_rnn", "sparse_categorical_crossentropy",
]  # fmt: skip

"""Connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

from typing import Any

from kcompile.keras.ops import activation, arrays, core, elementwise, reductions
from kcompile.keras.ops.common import kind, op, shape_of, tensor

# Stands for log(0): finite, so that differences of two of them are not NaN.
NOTHING = -1e30


@op
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Any:
    """-log of the probability of labels [B, S] under logits [B, T, C], over all alignments: [B].

    ``mask_index`` is the blank; lengths [B] say how much of each row counts. Infinite where no
    alignment is long enough.
    """
    output = tensor(output, "float64" if str(kind(output).keras) == "float64" else "float32")
    labels, lengths = tensor(target, "int32"), tensor(target_length, "int32")
    states = _with_blanks(labels, mask_index)
    batch, steps, _ = shape_of(output)
    count = shape_of(states)[1]
    logs = activation.log_softmax(output, -1)
    chosen = arrays.broadcast_to(arrays.expand_dims(states, 1), (batch, steps, count))
    emitted = arrays.transpose(arrays.take_along_axis(logs, chosen, -1), (1, 0, 2))
    may_skip = _may_skip(states, mask_index)
    lasts = tensor(output_length, "int32")

    def step(alphas: Any, at: Any) -> tuple[Any, Any]:
        emission, time = at
        one = _shifted(alphas, 1)
        two = elementwise.where(may_skip, _shifted(alphas, 2), NOTHING)
        moved = elementwise.add(reductions.logsumexp(arrays.stack([alphas, one, two], -1), -1), emission)
        runs = arrays.expand_dims(elementwise.less(time, lasts), -1)
        kept = elementwise.where(runs, elementwise.maximum(moved, NOTHING), alphas)
        return kept, arrays.zeros((), "float32")

    starts = elementwise.less(arrays.arange(count), 2)
    first = elementwise.where(starts, core.getitem(emitted, 0), NOTHING)
    rest = (core.getitem(emitted, slice(1, None)), arrays.arange(1, steps, dtype="int32"))
    alphas, _ = core.scan(step, first, rest)
    return _ended(alphas, lengths)


def _with_blanks(labels: Any, blank: int) -> Any:
    """Labels [B, S] with a blank before and after each: [B, 2S + 1]."""
    batch, length = shape_of(labels)
    blanks = arrays.full_like(labels, blank)
    pairs = arrays.reshape(arrays.stack([blanks, labels], -1), (batch, length * 2))
    return arrays.concatenate([pairs, arrays.full((batch, 1), blank, "int32")], 1)


def _may_skip(states: Any, blank: int) -> Any:
    """True where an alignment may come from two states before: to a label other than the one before it."""
    before = arrays.pad(core.getitem(states, (slice(None), slice(0, -2))), ((0, 0), (2, 0)), constant_values=blank)
    return elementwise.logical_and(elementwise.not_equal(states, blank), elementwise.not_equal(states, before))


def _shifted(alphas: Any, by: int) -> Any:
    kept = core.getitem(alphas, (slice(None), slice(0, -by)))
    return arrays.pad(kept, ((0, 0), (by, 0)), constant_values=NOTHING)


def _ended(alphas: Any, lengths: Any) -> Any:
    """Alignments end in the last label or in the blank after it."""
    end = arrays.expand_dims(elementwise.multiply(lengths, 2), -1)
    in_blank = arrays.take_along_axis(alphas, end, -1)
    in_label = arrays.take_along_axis(alphas, elementwise.maximum(elementwise.subtract(end, 1), 0), -1)
    in_label = elementwise.where(elementwise.greater(end, 0), in_label, NOTHING)
    total = reductions.logsumexp(arrays.concatenate([in_blank, in_label], -1), -1)
    return elementwise.where(elementwise.less(total, NOTHING / 10), float("inf"), elementwise.negative(total))

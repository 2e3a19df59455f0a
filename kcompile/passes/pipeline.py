"""The passes in order: `TRAIN` for graphs that are trained, `DEPLOY` for graphs that are written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kcompile.errors import KcompileError
from kcompile.ir import Graph, Node, Value
from kcompile.ir.op import sub_graphs
from kcompile.ir.verify import verify as verify_types
from kcompile.passes import (
    activations,
    affine,
    attention,
    control,
    dilation,
    flatten,
    hoisting,
    identities,
    linear,
    loops,
    movement,
    noops,
    norms,
    packing,
    recurrent_loops,
    sequences,
    slices,
    training,
    upsampling,
)
from kcompile.passes.arrays import tidy
from kcompile.passes.folding import Evaluate, fold_constants
from kcompile.passes.layout import channels_first
from kcompile.passes.parallel import merge_projections
from kcompile.passes.rewrite import Fired, Log, Rule, Skipped, apply_rules
from kcompile.passes.rows import flatten_rows
from kcompile.passes.towers import share_towers
from kcompile.passes.unrolled import roll_up

# The pipeline is repeated until a round changes nothing; each pass removes something for good, so
# that two or three rounds are usual.
MOST_ROUNDS = 20

NO_OPS: tuple[Rule, ...] = (
    noops.no_op,
    noops.concat_one,
    noops.concat_of_concat,
    noops.split_one,
    noops.concat_of_split,
    noops.flip_of_flip,
    noops.flips_around_transpose,
    noops.dropout_zero,
    noops.cast_of_cast,
    noops.cast_of_moved_cast,
    noops.expand_of_expand,
)
IDENTITIES: tuple[Rule, ...] = (
    identities.add_zero,
    identities.multiply_one,
    identities.power_two,
    identities.multiply_self,
    identities.power_minus_one,
    identities.double_negative,
    identities.add_negative,
    identities.subtract_negative,
    identities.absolute_negative,
    identities.square_sign,
    identities.divide_one,
    identities.multiply_reciprocal,
    identities.reciprocal_sqrt,
    identities.keeps_positive,
    identities.relu_of_leaky,
    identities.clip_of_clip,
    identities.clip_unbounded,
    identities.not_not,
    identities.not_of_not_equal,
    identities.where_not_equal,
    identities.where_of_where,
    identities.where_else_where,
    identities.negative_difference,
    identities.and_or_constant,
    identities.where_constant,
    identities.where_same,
    identities.where_not,
    identities.fold_integer_division,
)
MOVEMENT: tuple[Rule, ...] = (
    movement.transpose_of_transpose,
    movement.transpose_as_reshape,
    movement.reshape_of_reshape,
    movement.reshape_ones,
    movement.reshape_of_reduction,
    movement.expand_before_left,
    movement.expand_before_right,
    movement.reduction_of_sums,
    slices.slice_of_slice,
    slices.gather_to_slice,
    slices.slice_as_flip,
    slices.gather_of_new_axis,
    slices.part_of_split,
    slices.concat_of_slices,
    slices.slice_of_concat,
    slices.split_of_concat,
    slices.pad_of_pad,
    slices.tile_of_tile,
    slices.tile_as_expand,
)
LINEAR: tuple[Rule, ...] = (
    linear.dense_from_matmul,
    affine.absorb_bias,
    linear.pad_into_conv,
    linear.pad_into_turned_conv,
    linear.pad_into_max_pool,
)
# What was written out in arithmetic, as the one operator that it is.
COMPOSITES: tuple[Rule, ...] = (
    activations.gelu,
    activations.gelu_tanh,
    activations.silu,
    activations.mish,
    activations.sigmoid,
    activations.leaky_where,
    activations.softmax,
    activations.log_of_softmax,
    activations.log_softmax,
    activations.exp_of_log_softmax,
    norms.norm,
    norms.norm_scale,
    norms.norm_shift,
    attention.attention,
    attention.causal_mask,
    attention.causal_positions,
)
# One kernel in torch that overflows nowhere. In ONNX the first two are more operators than what was written,
# and ONNX Runtime's ReduceLogSumExp takes 1.5 to 9 times as long as Exp, ReduceSum and Log.
STABLE: tuple[Rule, ...] = (activations.softplus, activations.log_sigmoid, activations.log_sum_exp)
NOT_NEEDED: tuple[Rule, ...] = (attention.drop_mask, control.cond_constant)
# What follows is for graphs that are trained no more.
# relu has the slope 0 at 0, a clip from 0 has 1: the same values, but not the same gradients.
BENDS: tuple[Rule, ...] = (
    noops.stop_gradient,
    attention.attention_where,
    movement.reduction_of_extremes,
    slices.reduction_of_stack,
    identities.root_of_square,
    identities.log_of_exp,
    identities.arg_max_of_softmax,
    identities.relu_of_clip,
    identities.clip_of_relu,
    activations.softplus_stable,
    activations.hard_sigmoid,
    activations.hard_silu,
    activations.leaky_maximum,
    activations.clip_from_bounds,
)
# These move roundings about, and read the weights.
DEPLOY_LINEAR: tuple[Rule, ...] = (
    linear.einsum_to_matmul,
    linear.inner_product,
    linear.dense_of_dense,
    linear.grouped_conv,
    dilation.space_to_batch,
    dilation.slice_into_conv,
    upsampling.repeated_cells,
    upsampling.resize_of_resize,
    identities.subtract_constant,
    identities.merge_adds,
    identities.merge_scales,
    identities.divide_constant,
)
AFFINE: tuple[Rule, ...] = (
    affine.fold_batch_norm,
    affine.fold_scale,
    affine.fold_shift,
    affine.fold_through_reshape,
    affine.fold_batch_norm_forward,
    affine.fold_batch_norm_flattened,
    affine.fold_scale_forward,
    affine.fold_shift_forward,
    affine.fold_scale_under_shift,
    affine.drop_zero_bias,
    attention.fold_attention_scale,
)
PACKING: tuple[Rule, ...] = (
    packing.pack_steps,
    packing.packed_already,
    packing.pack_of_embedding,
)
LOOPS: tuple[Rule, ...] = (
    loops.constants,
    loops.once,
    loops.kept_state,
    loops.counter,
    loops.gather,
    loops.unread,
    loops.invariant,
    recurrent_loops.scan_cell,
    hoisting.hoist,
    loops.equal_states,
)
FLATTEN: tuple[Rule, ...] = (
    flatten.flatten_dense,
    flatten.flatten_concat_dense,
    flatten.dense_unflatten,
    flatten.activation_before_flatten,
    flatten.activation_after_unflatten,
)
SEQUENCES: tuple[Rule, ...] = (
    sequences.flip_into_recurrent,
    sequences.last_step,
    sequences.time_first,
    sequences.transpose_of_embedding,
    sequences.transpose_of_moved_embedding,
    sequences.transpose_of_merge,
    sequences.transposes_around,
    sequences.concat_of_transposes,
)


TRAINING: tuple[Rule, ...] = (
    training.log_of_softmax,
    linear.einsum_to_matmul,
    training.dense_from_any_matrix,
    training.bias_before_reshape,
)


class FoldConstants:
    """Stands for constant folding in a table: it needs the caller's evaluator."""


@dataclass(frozen=True)
class Pass:
    """A named step: rules to a fixed point, a function of a graph, or constant folding."""

    name: str
    work: tuple[Rule, ...] | Callable[[Graph], Graph] | FoldConstants


@dataclass(frozen=True)
class Pipeline:
    """Passes in order; ``reads_weights`` where they may use the weights' arrays."""

    name: str
    reads_weights: bool
    passes: tuple[Pass, ...]


TRAIN = Pipeline(
    "train",
    reads_weights=False,
    passes=(
        Pass("training", TRAINING),
        Pass("simplify", (*NO_OPS, *IDENTITIES, *COMPOSITES, *STABLE, *MOVEMENT, *NOT_NEEDED)),
        Pass("fold-constants", FoldConstants()),
        Pass("linear", LINEAR),
    ),
)
DEPLOY = Pipeline(
    "deploy",
    reads_weights=True,
    passes=(
        Pass("simplify", (*NO_OPS, *IDENTITIES, *COMPOSITES, *BENDS, *MOVEMENT, *NOT_NEEDED)),
        Pass("loops", LOOPS),
        Pass("unrolled", roll_up),
        Pass("fold-constants", FoldConstants()),
        Pass("linear", (*DEPLOY_LINEAR, *LINEAR, *AFFINE)),
        Pass("packed-queries", attention.scale_packed_queries),
        Pass("towers", share_towers),
        Pass("layout", channels_first),
        Pass("directions", sequences.merge_directions),
        Pass("sequences", (*NO_OPS, *SEQUENCES, *MOVEMENT)),
        Pass("packing", PACKING),
        Pass("flatten", (*MOVEMENT, *FLATTEN)),
        Pass("projections", merge_projections),
        Pass("rows", flatten_rows),
        Pass("tidy", tidy),
    ),
)


@dataclass(frozen=True)
class Step:
    """One pass that ran: its round, the numbers of operators, the time."""

    name: str
    round: int
    before: int
    after: int
    seconds: float
    graph: Graph


@dataclass
class Result:
    """The optimised graph and the account of how it came about."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def optimize(
    graph: Graph,
    pipeline: Pipeline = DEPLOY,
    *,
    evaluate: Evaluate | None = None,
    verify: bool | None = None,
    listener: Callable[[Step], None] | None = None,
) -> Result:
    """``graph`` through a pipeline, again and again until a round changes nothing.

    ``evaluate`` computes a constant graph's outputs (without it constants are not folded);
    ``verify`` checks all types after each pass (default: where KCOMPILE_VERIFY=1 is set);
    ``listener`` is called after each pass. Raises KcompileError where a pass breaks the graph or
    never settles.
    """
    check = os.environ.get("KCOMPILE_VERIFY") == "1" if verify is None else verify
    result = Result(graph)
    for count in range(MOST_ROUNDS):
        log = Log()
        before = result.graph
        for entry in pipeline.passes:
            start, old = time.perf_counter(), result.graph
            result.graph = run_pass(old, entry, pipeline.reads_weights, evaluate, log)
            if check:
                verify_types(result.graph)
            seconds = time.perf_counter() - start
            sizes = len(old.operators()), len(result.graph.operators())
            step = Step(entry.name, count, *sizes, seconds, result.graph)
            result.steps.append(step)
            if listener is not None:
                listener(step)
        result.graph = _regions(result.graph, pipeline, evaluate, check, log)
        result.fired += log.fired
        if result.graph == before:
            result.skipped = list(log.skipped)
            return result
    raise KcompileError(f"internal error: the pipeline {pipeline.name!r} never settles on graph {graph.name!r}")


def run_pass(graph: Graph, entry: Pass, reads_weights: bool, evaluate: Evaluate | None, log: Log) -> Graph:
    """One pass; the same graph where it changes nothing."""
    work = entry.work
    if isinstance(work, FoldConstants):
        return graph if evaluate is None else fold_constants(graph, reads_weights, evaluate)
    if callable(work):
        return work(graph)
    return apply_rules(graph, work, reads_weights, log)


def _regions(graph: Graph, pipeline: Pipeline, evaluate: Evaluate | None, check: bool, log: Log) -> Graph:
    """The graph with the regions of its control flow through the same pipeline."""

    def change(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        changes = {}
        for key, region in node.op.attributes().items():
            if isinstance(region, Graph):
                inner = optimize(region, pipeline, evaluate=evaluate, verify=check)
                log.fired += inner.fired
                log.skipped.update(dict.fromkeys(inner.skipped))
                changes[key] = inner.graph
        if all(changes[key] == getattr(node.op, key) for key in changes):
            return None
        return Node(node.op.replace(**changes), inputs, node.types, node.origin).results

    return graph.rebuild(change) if any(sub_graphs(n.op) for n in graph.nodes) else graph

"""Which layers of a model the nodes of the graph that a runtime made of it belong to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import onnx
from onnx import helper

from kcompile.onnx.describe import layer_path, names_read, operator_text
from kcompile.onnx.opaque import graphs_of
from kcompile.onnx.work import product_work, shapes_at

# What ONNX Runtime puts around the name of a node that it fuses or lays out anew.
_DECORATION = re.compile(r"^fused |_nchwc$|_token_\d+$")
RUNTIME = "(ONNX Runtime)"  # the layer of nodes that the runtime put in on its own account


@dataclass(frozen=True)
class Share:
    """What one node that ran does.

    ``layer`` has most of its work, the layers ``fused`` the rest; ``flops`` are those of its products
    (None: a shape is not known), ``weights`` the bytes of its weights.
    """

    layer: str
    fused: tuple[str, ...]
    flops: int | None
    weights: int


def attributed(
    model: onnx.ModelProto,
    optimised: bytes,
    inputs: Mapping[str, Sequence[int]],
    results: Mapping[str, Sequence[Sequence[int]]],
) -> dict[str, Share]:
    """For each node of the file ``optimised``, by name, its `Share` of ``model``.

    ``inputs`` gives the sizes of the model's inputs, ``results`` those that nodes of the optimised graph
    were seen to have.

    A node takes over those of the model that its results come from, as far back as another one
    of the optimised graph does.
    """
    try:
        shapes = shapes_at(model, inputs)
    except onnx.shape_inference.InferenceError:
        shapes = {}
    graph = onnx.load_model_from_string(optimised).graph
    for node in graph.node:
        seen = results.get(node.name, ())
        shapes.update((name, [*shape]) for name, shape in zip((o for o in node.output if o), seen, strict=False))
    anchors = _anchors(model, graph)
    taken = {i for found in anchors.values() for i in found}
    made = {name: i for i, node in enumerate(model.graph.node) for name in node.output if name}
    sizes = {t.name: _bytes(t) for t in graph.initializer}
    result: dict[str, Share] = {}
    done: set[int] = set()
    for node in graph.node:
        covered = _covered(model, anchors[node.name], taken, made)
        taken.update(covered)
        # Rows of a table are read, not the table.
        weights = 0 if node.op_type == "Gather" else sum(sizes.get(name, 0) for name in node.input)
        # A node that lays a result out anew ends where the one that computed it does.
        result[node.name] = _share(model, covered, done, shapes, weights)
        done.update(covered)
    return result


def give_names(model: onnx.ModelProto) -> bool:
    """Name the nodes that have no name of their own, since a profile tells nodes by name; whether there were any."""
    taken, changed = {node.name for node in model.graph.node}, False
    seen: set[str] = {""}
    for i, node in enumerate(model.graph.node):
        if node.name in seen:
            node.name, changed = next(n for k in count(i) if (n := f"{node.op_type}_{k}") not in taken), True
            taken.add(node.name)
        seen.add(node.name)
    return changed


def _anchors(model: onnx.ModelProto, optimised: onnx.GraphProto) -> dict[str, list[int]]:
    """For each node of the optimised graph those of the model that make its results, else the one of its name."""
    made = {name: i for i, node in enumerate(model.graph.node) for name in node.output if name}
    # Nodes are called after the one that they replace, those that are laid out anew after its first result.
    named = {node.name: i for i, node in enumerate(model.graph.node) if node.name} | made
    found = {}
    for node in optimised.node:
        own = {made[name] for name in node.output if name in made}
        bare = _DECORATION.sub("", node.name)
        found[node.name] = sorted(own) or ([named[bare]] if bare in named else [])
    return found


def _covered(model: onnx.ModelProto, anchors: list[int], taken: set[int], made: dict[str, int]) -> list[int]:
    """The anchors and what comes before them that no other node has taken."""
    covered, stack = dict.fromkeys(anchors), list(anchors)
    while stack:
        for name in names_read(model.graph.node[stack.pop()]):
            before = made.get(name)
            if before is not None and before not in taken and before not in covered:
                covered[before] = None
                stack.append(before)
    return list(covered)


def _share(
    model: onnx.ModelProto, covered: list[int], done: set[int], shapes: dict[str, list[int | None]], weights: int
) -> Share:
    nodes = [model.graph.node[i] for i in covered]
    # What a loop or a branch does is not known before it runs.
    works = [
        0 if i in done else None if graphs_of(n) else product_work(n, shapes)
        for i, n in zip(covered, nodes, strict=True)
    ]
    order = sorted(range(len(nodes)), key=lambda i: -(works[i] or 0))
    layers = list(dict.fromkeys(layer_of(nodes[i]) for i in order)) or [RUNTIME]
    flops = None if None in works else sum(work or 0 for work in works)
    return Share(layers[0], tuple(layers[1:]), flops, weights)


def layer_of(node: onnx.NodeProto) -> str:
    """The layer that a node's name tells; where it tells none the name itself, or the operator."""
    return "/".join(layer_path(node.name)) or node.name or operator_text(node)


def _bytes(tensor: onnx.TensorProto) -> int:
    if tensor.data_type not in helper.get_all_tensor_dtypes() or tensor.data_type == onnx.TensorProto.STRING:
        return 0
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize

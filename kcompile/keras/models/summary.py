"""The table that `Model.summary` prints."""

from __future__ import annotations

import io
import math
from typing import Any

from kcompile.keras import tree
from kcompile.keras.symbolic import FunctionalNode, KerasTensor, OpCall


def summary_text(model: Any, line_length: int | None = None, **kwargs: Any) -> str:
    """Layers with output shapes and parameter counts, and the totals."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    nodes = getattr(model, "_graph_nodes", [])
    branched = not _is_chain(nodes)
    grid = Table(title=f'Model: "{escape(model.name)}"', title_justify="left", title_style="bold")
    for title, justify in (("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")):
        grid.add_column(title, justify=justify)  # type: ignore[arg-type]
    if branched:
        grid.add_column("Connected to", justify="left")
    for layer in getattr(model, "_operations", model.layers):
        name = f"{escape(layer.name)} ({_kind(layer)})"
        connected = [escape(_connections(layer, nodes))] if branched else []
        grid.add_row(name, escape(_output_shape(layer, nodes)), _count(layer), *connected)
    stream = io.StringIO()
    Console(file=stream, width=line_length or 80, color_system=None).print(grid)
    rows = [("Total", model.weights), ("Trainable", model.trainable_weights)]
    rows.append(("Non-trainable", model.non_trainable_weights))
    if model.optimizer is not None and model.optimizer.built:
        rows[0] = ("Total", [*model.weights, *model.optimizer.variables])
        rows.append(("Optimizer", model.optimizer.variables))
    for name, variables in rows:
        stream.write(f" {name} params: {_total(variables)}\n")
    return stream.getvalue().rstrip("\n")


def _is_chain(nodes: list[FunctionalNode]) -> bool:
    """Whether each node takes what the one before it gives, and nothing else."""
    parents = [parent for node in nodes for parent in node.parents]
    single = len(set(parents)) == len(parents) and len({id(node.operation) for node in nodes}) == len(nodes)
    return not nodes or (single and len(parents) == len(nodes) - 1)


def _kind(operation: Any) -> str:
    """The layer's class; of a function of `keras.ops` what Keras's class for it is called."""
    if not isinstance(operation, OpCall):
        return type(operation).__name__
    return {"getitem": "GetItem"}.get(operation.function.__name__) or "".join(
        part.title() for part in operation.function.__name__.split("_")
    )


def _count(operation: Any) -> str:
    if isinstance(operation, OpCall):
        return "0"
    return f"{operation.count_params():,}" if operation.built else "0 (unbuilt)"


def _connections(operation: Any, nodes: list[FunctionalNode]) -> str:
    """What an operation takes, over all its calls in the model: ``name[call][output]`` of each."""
    own = (node for node in nodes if node.operation is operation)
    return ", ".join(_place(t) for node in own for t in node.input_tensors) or "-"


def _place(tensor: KerasTensor) -> str:
    assert tensor._keras_history is not None
    node, index = tensor._keras_history
    return f"{node.operation.name}[{getattr(node.operation, '_nodes', [node]).index(node)}][{index}]"


def _output_shape(operation: Any, nodes: list[FunctionalNode]) -> str:
    made = [node.outputs for node in nodes if node.operation is operation]
    try:
        shapes = [t.shape for t in tree.leaves(made[-1] if made else operation.output)]
    except AttributeError:
        return "?"
    return ", ".join(map(str, shapes))


def _total(variables: Any) -> str:
    count = sum(math.prod(v.shape) for v in variables)
    return f"{count:,} ({_size(sum(v.storage.nbytes for v in variables))})"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} GB"

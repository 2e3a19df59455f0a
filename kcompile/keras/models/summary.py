"""The table that `Model.summary` prints."""

from __future__ import annotations

import io
import math
from typing import Any

from kcompile.keras import tree


def summary_text(model: Any, line_length: int | None = None, **kwargs: Any) -> str:
    """Layers with output shapes and parameter counts, and the totals."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=f'Model: "{escape(model.name)}"', title_justify="left", title_style="bold")
    for title, justify in (("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")):
        grid.add_column(title, justify=justify)  # type: ignore[arg-type]
    for layer in model.layers:
        count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        grid.add_row(f"{escape(layer.name)} ({type(layer).__name__})", escape(_output_shape(layer)), count)
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


def _output_shape(layer: Any) -> str:
    try:
        shapes = [t.shape for t in tree.leaves(layer.output)]
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

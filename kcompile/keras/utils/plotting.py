"""A model's layers as a drawing: `model_to_dot`, `plot_model`."""

from __future__ import annotations

import html
import shutil
import subprocess
from pathlib import Path
from typing import Any

from kcompile.errors import MissingError, UsageError
from kcompile.keras.layers.base import Layer
from kcompile.keras.models import Functional, Sequential


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    dpi: int = 200,
) -> str:
    """A model's layers and what flows between them as text in Graphviz's language.

    Raises UsageError for a model that is not built, or whose layers are not known before it is called.
    """
    if not isinstance(model, (Functional, Sequential)) or not model.built:
        raise UsageError(f"model_to_dot draws built functional and Sequential models, {model.name!r} is none")
    lines = ["digraph model {", f"  graph [rankdir={rankdir}, dpi={dpi}];", "  node [shape=record];"]
    names = {id(operation): f"n{i}" for i, operation in enumerate(_operations(model))}
    for operation in _operations(model):
        label = _label(operation, show_shapes, show_dtype, show_layer_names)
        lines.append(f'  {names[id(operation)]} [label="{label}"];')
    lines += [f"  {names[id(a)]} -> {names[id(b)]};" for a, b in _edges(model)]
    return "\n".join([*lines, "}"])


def plot_model(model: Any, to_file: str | Path = "model.png", **options: Any) -> Path:
    """Write the drawing into a file: Graphviz's text for ``.dot``, else an image by the program ``dot``.

    ``options`` are those of `model_to_dot`. Raises MissingError where ``dot`` is not installed.
    """
    path, text = Path(to_file), model_to_dot(model, **options)
    if path.suffix == ".dot":
        path.write_text(text)
        return path
    program = shutil.which("dot")
    if program is None:
        raise MissingError(f"plot_model: writing {path} needs Graphviz's program dot; a file called .dot needs nothing")
    subprocess.run(
        [program, f"-T{path.suffix.removeprefix('.') or 'png'}", "-o", str(path)], input=text.encode(), check=True
    )
    return path


def _operations(model: Any) -> list[Any]:
    return model._operations if isinstance(model, Functional) else list(model._stack)


def _edges(model: Any) -> list[tuple[Any, Any]]:
    if isinstance(model, Sequential):
        return list(zip(model._stack[:-1], model._stack[1:], strict=True))
    pairs = [(parent.operation, node.operation) for node in model._graph_nodes for parent in node.parents]
    known = {id(operation) for operation in model._operations}
    return list({(id(a), id(b)): (a, b) for a, b in pairs if id(a) in known}.values())


def _label(operation: Any, shapes: bool, dtype: bool, names: bool) -> str:
    kind = type(operation).__name__ if isinstance(operation, Layer) else operation.function.__name__
    parts = [f"{operation.name} ({kind})" if names else kind]
    nodes = getattr(operation, "_nodes", [])
    if nodes and (shapes or dtype):
        tensors = nodes[0].outputs if isinstance(nodes[0].outputs, (list, tuple)) else [nodes[0].outputs]
        shown = ", ".join(str(t.shape) for t in tensors if hasattr(t, "shape"))
        parts += [f"output: {shown}"] if shapes else []
        parts += [f"dtype: {tensors[0].dtype}"] if dtype and hasattr(tensors[0], "dtype") else []
    return "|".join(html.escape(p).replace("|", "\\|").replace("{", "\\{").replace("}", "\\}") for p in parts)

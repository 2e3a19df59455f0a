"""What an ONNX file holds: ends, operators, parameters, work."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from kcompile.errors import FileFormatError, printable
from kcompile.onnx.files import read
from kcompile.onnx.work import product_work, shapes_at

ASSUMED = 32  # size of a free axis other than the batch, for counting work

SHOWN = 16  # weights of at most that many numbers are written out in a graph's text


@dataclass
class Summary:
    """``flops`` counts multiplications and additions of matrix products and convolutions at batch 1.

    None where a shape is not known; ``assumed`` names free axes that were taken as 32.
    """

    path: str
    size: int
    opset: int
    ir_version: int
    producer: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    nodes: int
    operators: dict[str, int]
    parameters: int
    flops: int | None
    assumed: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def summarize(path: str | Path) -> Summary:
    """Read a file's summary; the weights' values are not loaded where they lie beside it."""
    model = read(path, weights=False)
    graph = model.graph
    known = {i.name for i in graph.initializer}
    inputs = [_end(v) for v in graph.input if v.name not in known]
    operators = Counter(n.op_type if not n.domain else f"{n.domain}.{n.op_type}" for n in _all_nodes(graph))
    flops, assumed = _flops(model)
    return Summary(
        str(path),
        Path(path).stat().st_size,
        next((o.version for o in model.opset_import if not o.domain), 0),
        model.ir_version,
        f"{model.producer_name} {model.producer_version}".strip(),
        inputs,
        [_end(v) for v in graph.output],
        sum(operators.values()),
        dict(operators.most_common()),
        sum(math.prod(i.dims) for i in graph.initializer if i.data_type in _FLOATS),
        flops,
        assumed,
        {p.key: p.value for p in model.metadata_props},
    )


_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def _end(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    dims = [d.dim_param or "?" if not d.HasField("dim_value") else d.dim_value for d in kind.shape.dim]
    known = kind.elem_type and kind.elem_type in TensorProto.DataType.values()
    dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type)) if known else "?"
    return {"name": value.name, "dtype": dtype, "shape": dims}


def _all_nodes(graph: onnx.GraphProto) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)


def _flops(model: onnx.ModelProto) -> tuple[int | None, list[str]]:
    assumed: list[str] = []
    known = {i.name for i in model.graph.initializer}
    sizes: dict[str, list[int]] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in known:
            free = [d.dim_param or "?" for d in dims[1:] if not d.HasField("dim_value")]
            assumed += [name for name in free if name not in assumed]
        sizes[value.name] = [
            d.dim_value if d.HasField("dim_value") else ASSUMED if i else 1 for i, d in enumerate(dims)
        ]
    try:
        shapes = shapes_at(model, sizes)
    except onnx.shape_inference.InferenceError:
        return None, assumed
    works = [product_work(node, shapes) for node in model.graph.node]
    return None if None in works else sum(works), assumed  # type: ignore[arg-type]


def graph_text(path: str | Path) -> str:
    """A file's nodes as text, without the numbers of its weights."""
    return model_text(read(path, weights=False), path)


def model_text(model: onnx.ModelProto, where: str | Path) -> str:
    """The nodes of a model, which loses its weights; raises FileFormatError, which says ``where``, for what is no text."""
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > SHOWN:
            for kind in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(kind)  # type: ignore[arg-type]
            # What the printer leaves out, since the numbers lie elsewhere.
            tensor.data_location = TensorProto.EXTERNAL
    try:
        return onnx.printer.to_text(model)
    except (UnicodeDecodeError, RuntimeError) as error:
        raise FileFormatError(f"{where}: can't be shown as text: {printable(error)}") from error

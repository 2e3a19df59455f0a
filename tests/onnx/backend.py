"""The ONNX project's own backend node tests, as they ship in the onnx package, and variants of them.

As written, most operands of a test are inputs of its graph. In the variant "fixed" all but the
first are initialisers, as weights, axes and shapes are in real files; in "free" every size of an
input is symbolic as well.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from kcompile.keras.exporting import optimized
from kcompile.onnx.model import LEAST_OPSET, to_onnx
from kcompile.onnx.reader import read_model
from kcompile.onnx.reader.scope import Account
from kcompile.onnx.signature import keep_signature, node_count, standard_opset

VARIANTS = ("as written", "fixed", "free")


@dataclass(frozen=True)
class Test:
    """A model, inputs and expected outputs (several sets), tolerances."""

    name: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


@cache
def groups() -> dict[str, list[Test]]:
    """All tests by the operator that they are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases()
    found = defaultdict(list)
    for case in cases:
        test = Test(case.name, case.model, case.data_sets, case.rtol, case.atol)
        found[case.model.graph.node[-1].op_type].append(test)
    return dict(sorted(found.items()))


def variant(test: Test, kind: str) -> Test | None:
    """The test in one of `VARIANTS`, or None where it has no such form."""
    if kind == "as written":
        return test
    if len(test.data) != 1 or not all(isinstance(a, np.ndarray) for a in test.data[0][0]):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    model.ir_version = max(model.ir_version, 4)
    inputs, outputs = test.data[0]
    for info, array in list(zip(model.graph.input, inputs, strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(array, info.name))
    del model.graph.input[1:]
    if kind == "free":
        for info in model.graph.input:
            for i, dim in enumerate(info.type.tensor_type.shape.dim):
                dim.dim_param = f"d{i}"
        for info in model.graph.output:
            info.type.tensor_type.ClearField("shape")
    return Test(test.name, model, [(inputs[:1], outputs)], test.rtol, test.atol)


def session(model: onnx.ModelProto) -> ort.InferenceSession | None:
    """The model in ONNX Runtime, optimiser off; None where it refuses it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime's exceptions have no common base
        return None


def passes(model: onnx.ModelProto, test: Test) -> bool:
    """Whether ONNX Runtime gives what the test expects."""
    opened = session(model)
    if opened is None:
        return False
    names = [i.name for i in opened.get_inputs()]
    try:
        found = [opened.run(None, dict(zip(names, inputs, strict=False))) for inputs, _ in test.data]
    except Exception:  # as above
        return False
    return all(same(got, want, test) for got, (_, want) in zip(found, test.data, strict=True))


def same(a: Any, b: Any, test: Test) -> bool:
    """Equal within the test's tolerances, item by item for sequences."""
    if isinstance(b, (list, tuple)):
        return isinstance(a, list) and len(a) == len(b) and all(same(x, y, test) for x, y in zip(a, b, strict=True))
    if b is None or a is None or isinstance(b, dict):
        return (a is None and b is None) or (b is not None and a == b)
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if y.dtype.kind in "OSU":
        return x.astype(str).tolist() == y.astype(str).tolist()
    if x.dtype != y.dtype:
        return False
    if y.dtype.kind in "biu":
        return np.array_equal(x, y)
    return np.allclose(x.astype(float), y.astype(float), rtol=test.rtol, atol=test.atol, equal_nan=True)


def valid(model: onnx.ModelProto) -> bool:
    """Whether onnx's checker has nothing against the model."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def through(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Account]:
    """The model read, optimised and written again, and how its nodes were read."""
    read = read_model(model)
    graph = optimized(read.graph).graph
    made = to_onnx(graph, max(standard_opset(model), LEAST_OPSET))
    return keep_signature(made, model, read.defaults), read.account


__all__ = ["VARIANTS", "Test", "groups", "node_count", "passes", "through", "valid", "variant"]

"""A model at one of the stages on its way to a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcompile.errors import UsageError

STAGES = ("traced", "optimised", "train", "onnx")


@dataclass(frozen=True)
class Staged:
    """A Graph, or from the stage onnx on an ``onnx.ModelProto``; what the passes did on the way, where they ran.

    ``model`` is what is trained, at the stage train.
    """

    what: Any
    account: Any = None
    model: Any = None

    @property
    def is_onnx(self) -> bool:
        return hasattr(self.what, "SerializeToString")


def staged(
    source: str, stage: str | None, name: str | None, custom: tuple[str, ...], batch: int | None, explain: bool
) -> Staged:
    """``source`` at a stage: for an ONNX file as it stands by default, for a model optimised."""
    from kcompile.keras.exporting import optimized
    from kcompile.passes.account import account

    if source.endswith(".onnx"):
        from kcompile.onnx.files import read
        from kcompile.onnx.reader import read_model

        if stage == "train":
            raise UsageError(f"{source}: an ONNX file is not trained; the stages of a file are traced, optimised, onnx")
        if stage is None:
            if explain:
                raise UsageError("--explain tells of passes: give --stage optimised with it")
            return Staged(read(source, weights=False))
        graph = read_model(read(source)).graph
    else:
        from kcompile.cli.script import load_model
        from kcompile.keras.tracing import trace

        model = load_model(source, name, custom).model
        graph = trace(model, batch=batch, training=stage == "train")
        if stage == "train":
            return _trained(graph, model)
    if stage == "traced" and not explain:
        return Staged(graph)
    result = optimized(graph)
    found = account(graph.inference(), result)
    if stage == "onnx":
        from kcompile.onnx.model import to_onnx

        return Staged(to_onnx(result.graph), found)
    return Staged(graph if stage == "traced" else result.graph, found)


def _trained(graph: Any, model: Any) -> Staged:
    """The forward pass of a training step after the passes that `fit` runs."""
    from kcompile.keras.training.steps import evaluate_torch
    from kcompile.passes.account import account
    from kcompile.passes.pipeline import TRAIN, optimize

    result = optimize(graph, TRAIN, evaluate=evaluate_torch)
    return Staged(result.graph, account(graph, result, TRAIN), model)

"""ONNX Runtime sessions: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from kcompile.errors import FileFormatError, UnsupportedError, UsageError

LEVELS = {
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def open_session(
    model: bytes | str | Path,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    level: str = "all",
    threads: int | None = None,
    profile: str | None = None,
) -> ort.InferenceSession:
    """A session on a file's path or on its bytes; ``level`` is off, basic, extended or all.

    Raises FileFormatError for a file that is no ONNX model, UnsupportedError for a model that this
    ONNX Runtime can't run.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    source = model if isinstance(model, bytes) else str(model)
    where = "the model" if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise UsageError(f"{where}: no such file")
    try:
        return ort.InferenceSession(source, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exception classes have no common base to name
        text = " ".join(str(error).split())
        kind = FileFormatError if "INVALID_PROTOBUF" in text or "INVALID_GRAPH" in text else UnsupportedError
        raise kind(f"{where}: ONNX Runtime refuses it: {text[:300]}") from error


def run(model: bytes | str | Path, feeds: Mapping[str, np.ndarray], level: str = "off") -> list[np.ndarray]:
    """Outputs of one run on the CPU; the optimiser is off unless asked for."""
    session = open_session(model, level=level)
    return session.run(None, dict(feeds))



"""ONNX Runtime sessions: numpy in, numpy out, its failures as kcompile's errors."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from kcompile.errors import FileFormatError, UnsupportedError, UsageError, printable

LEVELS = {
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# A node's operator in the bytes of a file: field 4, its length, its name. Numbers of a weight that look
# alike cost no more than a refusal of empty inputs.
_LSTM_OR_GRU = (b"\x22\x04LSTM", b"\x22\x03GRU")


def open_session(
    model: bytes | str | Path,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    level: str = "all",
    threads: int | None = None,
    profile: str | None = None,
    optimised: str | None = None,
) -> ort.InferenceSession:
    """A session on a file's path or on its bytes; ``level`` is off, basic, extended or all.

    ``profile`` begins the name of the file that a profile goes to; the graph as ONNX Runtime's
    optimiser leaves it goes to the file ``optimised``.

    Raises FileFormatError for a file that is no ONNX model, UnsupportedError for a model that this
    ONNX Runtime can't run.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 4  # what fails is raised; ONNX Runtime would also write it to stderr
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    if optimised is not None:
        options.optimized_model_filepath = optimised
    where = "the model" if isinstance(model, bytes) else printable(model)
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise UsageError(f"{where}: no such file")
    source = model if isinstance(model, bytes) else str(model)
    try:
        # Without fallback: it would print to stdout, and run on the CPU what was meant for a GPU.
        return ort.InferenceSession(source, options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exception classes have no common base to name
        text = str(error)
        damaged = any(word in text for word in ("INVALID_PROTOBUF", "INVALID_GRAPH", "No graph was found"))
        kind = FileFormatError if damaged and "No Op registered" not in text else UnsupportedError
        raise kind(f"{where}: ONNX Runtime refuses it: {_line(error)}") from error


def has_recurrence(model: bytes | str | Path) -> bool:
    """Whether a file has LSTM or GRU nodes: ONNX Runtime 1.32 aborts the process when one runs on nothing."""
    if isinstance(model, bytes):
        return any(name in model for name in _LSTM_OR_GRU)
    with open(model, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in _LSTM_OR_GRU)


def run_session(session: ort.InferenceSession, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs in order; raises UsageError with ONNX Runtime's words where it fails."""
    try:
        return session.run(None, dict(feeds))
    except Exception as error:  # as above
        raise UsageError(f"ONNX Runtime fails on these inputs: {_line(error)}") from error


def run_bound(session: ort.InferenceSession, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """`run_session` through IO binding, which keeps what lies between nodes on the device."""
    try:
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for output in session.get_outputs():
            binding.bind_output(output.name)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()
    except Exception as error:  # as above
        raise UsageError(f"ONNX Runtime fails on these inputs: {_line(error)}") from error


def run(model: bytes | str | Path, feeds: Mapping[str, np.ndarray], level: str = "off") -> list[np.ndarray]:
    """Outputs of one run on the CPU; the optimiser is off unless asked for."""
    return run_session(open_session(model, level=level), feeds)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    # Its own source files and error numbers tell a user nothing.
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ ", "", text)
    return printable(text, 300)

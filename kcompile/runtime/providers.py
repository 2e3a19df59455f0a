"""Where a model runs: ``cpu``, ``cuda`` or ``auto``."""

from __future__ import annotations

import re
from typing import Any

import onnxruntime as ort

from kcompile.errors import MissingError, UsageError, did_you_mean

DEVICES = ("cpu", "cuda", "auto")
# Free batch and length mean new shapes all the time: an exhaustive search for each would never end.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"}


def providers(device: str) -> list[Any]:
    """ONNX Runtime's provider list for a device.

    ``cuda`` where it is missing raises MissingError: a model asked to run on a GPU never runs on
    the CPU unsaid. ``auto`` takes CUDA where it is there, else the CPU.
    """
    name, _, index = device.partition(":")
    if not re.fullmatch(r"cpu|auto|cuda(:[0-9]+)?", device):
        raise UsageError(f"unknown device {device!r}{did_you_mean(name, DEVICES)}; use cpu, cuda, cuda:1 or auto")
    here = "CUDAExecutionProvider" in ort.get_available_providers()
    if name == "cpu" or (name == "auto" and not here):
        return ["CPUExecutionProvider"]
    if not here:
        raise MissingError(
            f"device {device!r}: the installed onnxruntime {ort.__version__} has no CUDA; "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu (it takes onnxruntime's place)"
        )
    return [("CUDAExecutionProvider", {**CUDA_OPTIONS, "device_id": index or "0"}), "CPUExecutionProvider"]


def check_device(session: Any, device: str) -> None:
    """MissingError where ONNX Runtime fell back to the CPU although CUDA was asked for (no GPU, no driver)."""
    if device.startswith("cuda") and "CUDAExecutionProvider" not in session.get_providers():
        raise MissingError(
            f"device {device!r}: ONNX Runtime could not start CUDA (no GPU, or CUDA and cuDNN libraries missing), "
            "and would run on the CPU; ask for device='cpu' if that is wanted"
        )

"""Devices: which is asked for, what moves there, and how torch is set up on a GPU.

Written for CUDA and tested as far as a CPU allows; it was not run on a GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from kcompile.errors import MissingError
from kcompile.tracing.scope import current_device
from kcompile.tracing.variable import Variable

CPU = torch.device("cpu")
AHEAD = 2  # batches that are copied to a device before they are asked for

# How often a held variable has moved: generated code that was made before holds other tensors.
_MOVES = [0]


def has_cuda() -> bool:
    """True where torch can compute on a CUDA device."""
    return torch.cuda.is_available()


def cuda(index: int | None = None) -> str:
    """``cuda:N``, the current one for None; MissingError where there is no such device."""
    if not has_cuda():
        if torch.backends.cuda.is_built():
            why, what = "torch sees no GPU, or no driver for it", "see what `nvidia-smi` says"
        else:
            why = f"the installed torch {torch.__version__} is built without CUDA"
            what = "install a CUDA build (https://pytorch.org/get-started/locally)"
        raise MissingError(f"device 'cuda': {why}; {what}, or use the device 'cpu'")
    count = torch.cuda.device_count()
    number = torch.cuda.current_device() if index is None else index
    if number >= count:
        raise MissingError(f"device 'cuda:{number}': torch sees {count}; use cuda:0 to cuda:{count - 1}")
    return f"cuda:{number}"


def described() -> dict[str, str]:
    """The GPUs that a process has used, with the versions of CUDA and cuDNN."""
    if not torch.cuda.is_initialized():
        return {}
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"GPU": ", ".join(names), "CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}


def asked() -> torch.device | None:
    """The device of the innermost scope, None outside of all."""
    name = current_device()
    return None if name is None else torch.device(name)


def placement(variables: Iterable[Variable]) -> torch.device | None:
    """Where a function of these variables runs: the scope's device, else where one of them is; None for the CPU."""
    device = asked() or next((d for d in map(held_on, variables) if d is not None and d != CPU), None)
    return None if device == CPU else device


def held_on(variable: Variable) -> torch.device | None:
    """The device that a variable's tensor is on; None where it is still numpy, or stays on the host by itself."""
    held = isinstance(variable.storage, torch.Tensor) and not variable.on_host
    return variable.storage.device if held else None


def moved(tensor: torch.Tensor, variable: Variable, device: torch.device | None) -> torch.Tensor:
    """A variable's tensor on the device it belongs on."""
    if device is None or variable.on_host or tensor.device == device:
        return tensor
    if isinstance(variable.storage, torch.Tensor):
        _MOVES[0] += 1
    return tensor.detach().to(device)


def moves() -> int:
    """Grows whenever variables move from one device to another."""
    return _MOVES[0]


class Ahead:
    """Iterates over batches, as lists of tensors (None for absent ones), that are on the device when they are due.

    ``spread`` gives a batch's tensors, ``packed`` makes a batch of them again. Copies go from pinned memory
    through a stream of their own while the device computes, `AHEAD` batches before their turn; the computing
    stream waits for an event of the batch's copy, the host for nothing.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        device: torch.device,
        spread: Callable[[Any], list[Any]],
        packed: Callable[[Any, list[Any]], Any],
    ):
        self.batches, self.device, self.spread, self.packed = batches, device, spread, packed
        self.stream = torch.cuda.Stream(device)
        self.waiting: deque[tuple[Any, list[Any], Any]] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while len(self.waiting) <= AHEAD:
            batch = next(self.batches, None)
            if batch is None:
                break
            self.waiting.append(self._begun(batch))
        if not self.waiting:
            raise StopIteration
        batch, tensors, event = self.waiting.popleft()
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in tensors:
            if tensor is not None:
                # Made on the side stream: its memory must not be given away while this one still reads it.
                tensor.record_stream(current)
        return self.packed(batch, tensors)

    def _begun(self, batch: Any) -> tuple[Any, list[Any], Any]:
        with torch.cuda.stream(self.stream):
            tensors = [None if t is None else copied(t, self.device) for t in self.spread(batch)]
            return batch, tensors, self.stream.record_event()

    def close(self) -> None:
        """End the source's workers."""
        if hasattr(self.batches, "close"):
            self.batches.close()


def copied(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device; from the CPU to CUDA through pinned memory, without waiting."""
    if tensor.device == device:
        return tensor
    if device.type == "cuda" and tensor.device == CPU:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def ahead(
    batches: Iterator[Any],
    device: torch.device | None,
    spread: Callable[[Any], list[Any]],
    packed: Callable[[Any, list[Any]], Any],
) -> Iterator[Any]:
    """The batches, on CUDA `Ahead` of their turn; elsewhere a step itself moves what is not where it should be."""
    return Ahead(batches, device, spread, packed) if device is not None and device.type == "cuda" else batches


@contextlib.contextmanager
def set_up(device: torch.device | None, tf32: bool, deterministic: bool) -> Iterator[None]:
    """Within, torch computes on CUDA with TensorFloat-32 and tuned convolutions, or reproducibly; as before after it."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
    )  # fmt: skip
    on_cuda = device is not None and device.type == "cuda"
    if not on_cuda and not deterministic:
        yield
        return
    try:
        if on_cuda:
            matmul.allow_tf32 = cudnn.allow_tf32 = tf32
            cudnn.benchmark = not deterministic
        if deterministic:
            # cuBLAS reads it when its first handle is made; without it torch refuses matrix products.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            cudnn.deterministic = True
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[:4]
        torch.use_deterministic_algorithms(before[4], warn_only=before[5])

"""Operators on tensors at once, outside of any trace; differentiable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint as recompute

from kcompile.engine.context import DTYPES
from kcompile.engine.devices import asked, held_on, moved
from kcompile.engine.faults import CAUGHT, in_call
from kcompile.engine.lower import run_op
from kcompile.errors import InferError
from kcompile.ir import DType, Op
from kcompile.tracing.scope import current_path, located
from kcompile.tracing.variable import Storage, Variable


def apply(op: Op, operands: Sequence[Any], common: DType | None) -> Any:
    """An operator on tensors and array-likes, cast to ``common`` where given.

    It runs on the device of the scope, else where one of the tensors is; the others go there.
    """
    device = asked() or next((x.device for x in operands if isinstance(x, torch.Tensor) and not x.is_cpu), None)
    tensors = [None if x is None else to_tensor(x, common, device) for x in operands]
    try:
        return run_op(op, tensors, device=device)
    except InferError as error:
        raise InferError(located(str(error))) from error
    except CAUGHT as error:
        raise in_call(error, op, tensors, current_path()) from error


def to_tensor(x: Any, to: DType | None = None, device: torch.device | None = None) -> torch.Tensor:
    """A torch tensor of an array-like; Python floats are float32, Python ints int32 unless ``to`` says."""
    target = None if to is None else DTYPES[to.name]
    if isinstance(x, torch.Tensor):
        if device is not None and x.device != device:
            return x.to(device=device, dtype=target)
        return x if target is None or x.dtype == target else x.to(target)
    if isinstance(x, np.ndarray):
        if not x.flags.writeable:
            x = x.copy()
        if x.dtype.name == "bfloat16":
            return torch.from_numpy(x.astype(np.float32)).to(device=device, dtype=target or torch.bfloat16)
        tensor = torch.from_numpy(x)
        return tensor.to(device=device, dtype=target) if device or target else tensor
    if isinstance(x, (list, tuple)) and any(isinstance(e, torch.Tensor) for e in x):
        return torch.stack([to_tensor(e, to, device) for e in x])
    if target is None:
        kind = np.asarray(x).dtype
        target = {"f": torch.float32, "i": torch.int32}.get(kind.kind) if not hasattr(x, "dtype") else None
    return torch.as_tensor(np.asarray(x) if hasattr(x, "dtype") else x, dtype=target, device=device)


def read_variable(variable: Variable, target: DType) -> torch.Tensor:
    """The variable's tensor; its storage moves to torch at the first read, sharing the array's memory."""
    if isinstance(variable.storage, np.ndarray):
        hold(variable, asked())
    tensor = variable.storage
    if isinstance(tensor, Storage):
        return to_tensor(tensor.read(), target)
    return tensor if tensor.dtype == DTYPES[target.name] else tensor.to(DTYPES[target.name])


def hold(variable: Variable, device: torch.device | None = None) -> torch.Tensor:
    """The variable's storage as a torch parameter (trainable float) or tensor, on ``device`` where given."""
    tensor = variable.storage
    if isinstance(tensor, Storage):
        return tensor.held()
    if not isinstance(tensor, torch.Tensor):
        # Fused kernels of optimizers walk through memory as it lies: in one order for all that belongs to a weight.
        tensor = to_tensor(tensor).contiguous()
    tensor = moved(tensor, variable, device)
    wants_grad = variable.trainable and tensor.is_floating_point()
    if wants_grad and not isinstance(tensor, torch.nn.Parameter):
        tensor = torch.nn.Parameter(tensor.detach(), requires_grad=True)
    elif not wants_grad and tensor.requires_grad:
        tensor = tensor.detach()
    variable.storage = tensor
    return tensor


def place(variables: Iterable[Variable]) -> None:
    """Move the variables to the device of the scope, where there is one."""
    device = asked()
    for variable in variables if device is not None else ():
        if held_on(variable) not in (None, device):
            hold(variable, device)


def seed(number: int) -> None:
    """Seed torch's generators on every device."""
    torch.manual_seed(number)


def use_one_thread() -> None:
    """Compute on the calling thread alone."""
    torch.set_num_threads(1)


def threads() -> int:
    """How many threads compute."""
    return torch.get_num_threads()


def allow_flash_attention(allowed: bool) -> None:
    """Whether attention on a GPU may use torch's flash kernel."""
    torch.backends.cuda.enable_flash_sdp(allowed)


def permutation(length: int) -> torch.Tensor:
    """A random order, from torch's generator."""
    return torch.randperm(length)


# So many parts, or bytes that are gathered, at a time: few enough not to show in memory, enough to cost little each.
MOST_PARTS, MOST_BYTES = 1024, 1 << 20


def parts(
    tensor: torch.Tensor, spans: Sequence[tuple[int, int]], order: torch.Tensor | None = None
) -> Iterator[torch.Tensor]:
    """The rows from each begin to its end: views of the tensor, or of a copy where an ``order`` mixes them."""
    count = MOST_PARTS
    if order is not None and spans:
        size = max(end - begin for begin, end in (spans[0], spans[-1]))
        count = max(1, min(count, MOST_BYTES * len(tensor) // max(size * tensor.nbytes, 1)))
    for start in range(0, len(spans), count):
        some = spans[start : start + count]
        first, last = some[0][0], some[-1][1]
        if any(end != begin for (_, end), (begin, _) in pairwise(some)):
            # Parts of batches, or batches in an order of their own.
            picked = (tensor[a:b] if order is None else tensor[order[a:b]] for a, b in some)
        else:
            run = tensor[first:last] if order is None else tensor[order[first:last]]
            picked = iter(run.split([b - a for a, b in some]))
        yield from picked


def no_grad() -> Any:
    """A context in which nothing is recorded for gradients."""
    return torch.no_grad()


def checkpoint(function: Callable[[], Any]) -> Any:
    """The function's results; for their gradients it is called again, in place of keeping what it computed."""
    return recompute(function, use_reentrant=False)


def gradients(loss: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The loss's gradient for each tensor; zeros where it does not depend on one."""
    found = torch.autograd.grad(loss, list(tensors), allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True)]


def random_state() -> dict[str, np.ndarray]:
    """The states of torch's generators by device: the CPU's, and of the GPUs where CUDA runs."""
    states = {"cpu": torch.get_rng_state().numpy()}
    if torch.cuda.is_initialized():
        states |= {f"cuda:{i}": s.numpy() for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_random_state(states: dict[str, np.ndarray]) -> None:
    """Set what `random_state` gave; GPUs that are not here are left out."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(torch.from_numpy(state))
        elif torch.cuda.is_available() and torch.device(device).index < torch.cuda.device_count():
            torch.cuda.set_rng_state(torch.from_numpy(state), device)

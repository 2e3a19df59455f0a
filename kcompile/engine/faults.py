"""From an error that torch raises while a model runs to the operator, its layer and what it can't compute with.

Nothing is looked at before there is an error: the traceback then leads to a line of generated code, the line to the
operator that it was made of, and the frame still holds the operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from torch import fx

from kcompile.errors import KcompileError, OutOfRangeError, RunError, printable
from kcompile.ir import Op

# What torch raises for operands that a kernel refuses.
CAUGHT = (RuntimeError, IndexError, ValueError)


def in_code(error: Exception, module: fx.GraphModule) -> Exception:
    """The error to raise for one out of a module's generated code; the same where it tells no more."""
    if not _is_torchs(error):
        return error
    for frame, line, part in reversed(list(_generated(error.__traceback__, module))):
        made = _node_of(part, line)
        if made is not None and "node" in made.meta:
            node = made.meta["node"]
            given = [None if p is None else _alive(p, made, frame) for p in made.meta["operands"]]
            return _named(error, node.op, given, node.origin)
    return error


def in_call(error: Exception, op: Op, operands: Sequence[Any], path: str) -> Exception:
    """The error to raise for one of an operator that was called by itself, in a layer of this path."""
    return _named(error, op, operands, path) if _is_torchs(error) else error


def _is_torchs(error: Exception) -> bool:
    # Callers wait for an error of memory by its type.
    return not isinstance(error, (KcompileError, torch.OutOfMemoryError))


def _named(error: Exception, op: Op, operands: Sequence[Any], path: str) -> Exception:
    reason = op.fault(*map(_array, operands))
    kind: type[Exception] = RunError
    if reason:
        kind = OutOfRangeError
    else:
        shapes = " and ".join(_shown(x) for x in operands if isinstance(x, torch.Tensor))
        words = str(error).strip().splitlines() or [type(error).__name__]
        reason = (f"can't take {shapes}: " if shapes else "") + printable(words[0])
        kind = OutOfRangeError if isinstance(error, IndexError) else RunError
    return kind(f"operator {op.name!r}{f' in layer {path!r}' if path else ''}: {reason}")


def _array(x: Any) -> np.ndarray | None:
    """Integers as an array; no cause is looked for among floats."""
    whole = isinstance(x, torch.Tensor) and not x.is_floating_point() and not x.is_complex()
    if whole:
        return np.asarray(x.detach().cpu().numpy())
    # The shape alone, in no memory.
    return np.broadcast_to(np.float32(0), tuple(x.shape)) if isinstance(x, torch.Tensor) else None


def _shown(x: torch.Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"


def _generated(trace: TracebackType | None, module: fx.GraphModule) -> Iterator[tuple[FrameType, int, fx.GraphModule]]:
    """(frame, line, module) of each call of code that belongs to the module or to a region of it."""
    codes = {type(m).forward.__code__: m for m in module.modules() if isinstance(m, fx.GraphModule)}
    while trace is not None:
        part = codes.get(trace.tb_frame.f_code)
        if part is not None:
            yield trace.tb_frame, trace.tb_lineno, part
        trace = trace.tb_next


def _node_of(module: fx.GraphModule, line: int) -> fx.Node | None:
    """The node that is written at a line: each one assigns its own name."""
    lines = module.code.splitlines()
    found = re.match(r"\s*(\w+)\b[^=]*=", lines[line - 1]) if line <= len(lines) else None
    names = {n.name: n for n in module.graph.nodes}
    return None if found is None else names.get(found.group(1))


def _alive(operand: fx.Node, failed: fx.Node, frame: FrameType) -> Any:
    """An operand's tensor; where it is gone already, what the same operator has made of it (another dtype or form)."""
    seen, value = operand, frame.f_locals.get(operand.name)
    while value is None:
        own = [n for n in seen.users if n.meta.get("node") is failed.meta["node"] and n is not failed]
        if not own:
            return None
        seen = own[-1]
        value = frame.f_locals.get(seen.name)
    return value

"""Where tracing is: the layer path, the trace in progress, and the device that was asked for."""

from __future__ import annotations

import contextlib
import contextvars
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kcompile.errors import TraceError
from kcompile.ir import origin

if TYPE_CHECKING:
    from kcompile.tracing.tracer import Tracer

_PATH: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("kcompile_path", default=())
_HIDDEN: contextvars.ContextVar[int] = contextvars.ContextVar("kcompile_hidden", default=0)
_TRACER: contextvars.ContextVar[Tracer | None] = contextvars.ContextVar("kcompile_tracer", default=None)
_DEVICE: contextvars.ContextVar[str | None] = contextvars.ContextVar("kcompile_device", default=None)
_NAMES_LAYER = re.compile("(layer|model) ['\"]", re.IGNORECASE)
_PACKAGE = str(Path(__file__).resolve().parents[1])


@contextlib.contextmanager
def name_scope(name: str, shown: bool = True) -> Iterator[None]:
    """Variable paths and node origins made within carry this name in front; origins only where ``shown``."""
    path = (*_PATH.get(), name)
    token = _PATH.set(path)
    hidden = _HIDDEN.set(_HIDDEN.get() if shown else len(path))
    try:
        with origin("/".join(path[_HIDDEN.get() :])):
            yield
    finally:
        _HIDDEN.reset(hidden)
        _PATH.reset(token)


@contextlib.contextmanager
def root_scope() -> Iterator[None]:
    """Paths made within start anew."""
    token, hidden = _PATH.set(()), _HIDDEN.set(0)
    try:
        yield
    finally:
        _HIDDEN.reset(hidden)
        _PATH.reset(token)


def current_path() -> str:
    """The names of all open scopes, joined by slashes."""
    return "/".join(_PATH.get())


def current_tracer() -> Tracer | None:
    """The trace in progress, or None where code runs eagerly or builds a functional model."""
    return _TRACER.get()


@contextlib.contextmanager
def tracing(tracer: Tracer | None) -> Iterator[Tracer | None]:
    """Makes ``tracer`` the trace in progress; None suspends tracing."""
    token = _TRACER.set(tracer)
    try:
        yield tracer
    finally:
        _TRACER.reset(token)


@contextlib.contextmanager
def device_scope(name: str) -> Iterator[None]:
    """What is computed within runs on this device, a name that torch knows."""
    token = _DEVICE.set(name)
    try:
        yield
    finally:
        _DEVICE.reset(token)


def current_device() -> str | None:
    """The innermost `device_scope`'s name; None outside of all, where everything runs where its tensors are."""
    return _DEVICE.get()


def user_location() -> str:
    """``file:line`` of the innermost call that is not kcompile's own code, or an empty string."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_PACKAGE, "<frozen")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def locate(error: Exception) -> None:
    """Put layer and line behind the message of a plain error that names no layer."""
    text = str(error)
    if type(error) in (ValueError, TraceError) and len(error.args) == 1 and not _NAMES_LAYER.search(text):
        error.args = (located(text),)


def located(message: str) -> str:
    """The message with the layer's path and the user's file and line behind it."""
    path, place = current_path(), user_location()
    parts = [f"layer {path!r}" if path else "", place]
    where = ", ".join(p for p in parts if p)
    return f"{message} ({where})" if where else message

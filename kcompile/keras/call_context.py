"""What the outermost call of a layer decides for all calls within."""

from __future__ import annotations

import contextvars


class CallContext:
    """Whether the outermost call trains; None where it was not told."""

    def __init__(self, training: bool | None):
        self.training = training


CONTEXT: contextvars.ContextVar[CallContext | None] = contextvars.ContextVar("kcompile_call", default=None)

"""Where messages for people go: standard output, or the log where interactive logging is off."""

from __future__ import annotations

import logging
import sys

from kcompile.keras import config

LOG = logging.getLogger("kcompile.keras")


def print_message(text: str, end: str = "\n") -> None:
    """Write a line, or log it at level INFO; a line without an ``end`` is to be rewritten and is not logged."""
    if config.is_interactive_logging_enabled():
        sys.stdout.write(text + end)
        sys.stdout.flush()
    elif end:
        LOG.info(text.strip())

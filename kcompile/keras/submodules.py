"""Modules of Keras's that hold a function or two: written in their parent's file, imported by their own names."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def submodule(name: str, doc: str, **members: Any) -> Any:
    """A module with these members that ``import`` finds under its full name."""
    module = ModuleType(name, doc)
    module.__dict__.update(members, __all__=sorted(members))
    sys.modules[name] = module
    return module

"""Every exception that kcompile raises on purpose.

::

    KcompileError                       exit code 1
    ├── UsageError (ValueError)         2  an argument, a script or a file that can't be used as asked
    │   ├── ScriptError                    a user's Python script fails or holds no model
    │   └── FileFormatError                a model file is damaged, hostile or of an unknown kind
    ├── GraphError (ValueError)         2  a graph that is not well formed
    │   ├── InferError                     operands whose types an operator refuses
    │   └── ParseError                     text that is not a graph
    ├── TraceError (TypeError)          2  Python that can't be followed symbolically
    │   └── NoAttributeError (AttributeError)  what only a tensor with values has
    ├── UnsupportedError (NotImplementedError)
    │                                   3  a known thing that the target can't express
    ├── RunError (RuntimeError)         2  values or shapes that an operator can't compute with, as a model runs
    │   └── OutOfRangeError (IndexError)   an index, an id or a class beyond what there is
    ├── CheckError (AssertionError)     4  a file that doesn't compute what the model computes
    ├── MissingError (RuntimeError)     5  a package or a device that isn't here
    ├── WorkerError (RuntimeError)      6  a process of a distributed run was killed or failed
    └── StoppedError                  130  training that Ctrl-C ended; says how to go on

Each class also derives from the built-in that Keras users expect to catch. ``exit_code`` is the
process's exit status when the command line ends with that error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KcompileError(Exception):
    """Base of all errors raised on purpose; ``str()`` is one line that a user can act on."""

    exit_code = 1


class UsageError(KcompileError, ValueError):
    """An argument, script or file that can't be used as asked."""

    exit_code = 2


class ScriptError(UsageError):
    """A user's Python script fails, or holds no model or more than one."""


class FileFormatError(UsageError):
    """A model file is damaged, hostile or of a kind that is not known."""


class GraphError(KcompileError, ValueError):
    """A graph that is not well formed."""

    exit_code = 2


class InferError(GraphError):
    """Operands whose types an operator refuses; says which operator and what it wants."""


class ParseError(GraphError):
    """Text that is not a graph; says the line."""


class TraceError(KcompileError, TypeError):
    """Python code that can't be followed with symbolic values; says layer, file and line."""

    exit_code = 2


class NoAttributeError(TraceError, AttributeError):
    """A symbolic tensor's attribute that only a tensor with values has."""


class UnsupportedError(KcompileError, NotImplementedError):
    """A known thing that the target can't express; says operator, layer and what to do."""

    exit_code = 3


class RunError(KcompileError, RuntimeError):
    """Values or shapes that an operator can't compute with, found as a model runs; says layer and operator."""

    exit_code = 2


class OutOfRangeError(RunError, IndexError):
    """An index, an id or a class beyond what there is; says which, and the range."""


class CheckError(KcompileError, AssertionError):
    """A file that doesn't compute what the model computes."""

    exit_code = 4


class MissingError(KcompileError, RuntimeError):
    """A package or a device that is not here; says how to get it."""

    exit_code = 5


class WorkerError(KcompileError, RuntimeError):
    """A process of a distributed run was killed or failed; says which, and how to go on."""

    exit_code = 6


class StoppedError(KcompileError):
    """Training that Ctrl-C ended; says what is kept and how to go on."""

    exit_code = 130  # what shells give for Ctrl-C


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest of ``known``, or an empty string."""
    close = difflib.get_close_matches(name, [k for k in known if isinstance(k, str)], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def printable(name: object, limit: int = 200) -> str:
    """``name`` as one safe line: control characters escaped, cut at ``limit`` characters."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
    return text if len(text) <= limit else text[: limit - 1] + "…"

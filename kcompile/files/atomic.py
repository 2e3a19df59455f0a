"""Files that appear whole or not at all; of several processes that do the same, one writes them."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from kcompile.errors import UsageError

_OTHER_WRITES = [False]


def leave_to_another() -> None:
    """From now on another process writes the files: what this one would write goes nowhere."""
    _OTHER_WRITES[0] = True


def writes() -> bool:
    """Whether this process is the one that writes files."""
    return not _OTHER_WRITES[0]


def own_path(path: str | Path) -> Path:
    """The path; one in a folder that goes with this process where another writes the files."""
    return Path(path) if writes() else Path(_scratch().name) / Path(path).name


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kcompile-")


def forget(path: Path) -> None:
    """Delete the file, and what processes that were killed while they wrote it have left."""
    for found in (path, *path.parent.glob(f".{path.name}.*")):
        found.unlink(missing_ok=True)


def folder(path: Path) -> Path:
    """The folder, made where it is not there; UsageError where it can't be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        check_folder(path)
        raise UsageError(f"{path}: can't make the folder: {error.strerror}") from error
    return path


def check_folder(path: Path) -> None:
    """Raise UsageError where no file can be written into the folder, nor it be made; nothing is made."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise UsageError(f"{path}: can't write there: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{path}: can't write there: Permission denied")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream into a temporary file beside ``path``, which takes that name where the block ends well.

    Raises UsageError where the folder is missing or can't be written to.
    """
    if not writes():
        with tempfile.TemporaryFile() as nowhere:
            yield nowhere  # type: ignore[misc]
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path}: can't write there: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path}: can't write: {error.strerror}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

"""The ``.keras`` file: a zip archive of metadata.json, config.json and model.weights.h5 (Keras 3)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kcompile.errors import FileFormatError, UsageError, printable
from kcompile.files.atomic import replacing

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
MOST_JSON = 64 << 20  # bytes: the largest known model's config is under 2 MB
# A member that unpacks to more than this, and to more than 100 times what is stored, is a bomb.
BOMB_SIZE, BOMB_RATIO = 16 << 20, 100


@dataclass(frozen=True)
class KerasArchive:
    """What a ``.keras`` file holds; ``weights`` are the bytes of an HDF5 file."""

    metadata: dict[str, Any]
    config: dict[str, Any]
    weights: bytes


def read_archive(path: Path) -> KerasArchive:
    """Read a ``.keras`` file. Raises UsageError where there is none, FileFormatError where it is damaged."""
    if not path.is_file():
        raise UsageError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [i.filename for i in archive.infolist()]
            for wanted in (METADATA, CONFIG, WEIGHTS):
                if names.count(wanted) != 1:
                    raise FileFormatError(f"{path}: holds {names.count(wanted)} members called {wanted}, not 1")
            metadata = _json(archive, METADATA, path)
            config = _json(archive, CONFIG, path)
            return KerasArchive(metadata, config, _member(archive, WEIGHTS, path, None))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path}: not a .keras file: {printable(error)}") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path, most: int | None) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > BOMB_SIZE and info.file_size > BOMB_RATIO * max(info.compress_size, 1):
        raise FileFormatError(
            f"{path}: {name} claims {info.file_size} bytes out of {info.compress_size} stored ones; not unpacked"
        )
    if most is not None and info.file_size > most:
        raise FileFormatError(f"{path}: {name} has {info.file_size} bytes, more than {most}")
    with archive.open(name) as stream:
        return stream.read()


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_member(archive, name, path, MOST_JSON))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path}: {name} is not JSON: {printable(error)}") from error
    if not isinstance(found, dict):
        raise FileFormatError(f"{path}: {name} holds a {type(found).__name__}, not an object")
    return found


def write_archive(
    path: Path, metadata: dict[str, Any], config: dict[str, Any], write_weights: Callable[[BinaryIO], None]
) -> None:
    """Write a ``.keras`` file; ``write_weights`` gets the stream of its weights member."""
    with replacing(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(METADATA, json.dumps(metadata))
        archive.writestr(CONFIG, json.dumps(config))
        with archive.open(WEIGHTS, "w", force_zip64=True) as member:
            write_weights(member)  # type: ignore[arg-type]

"""ONNX models as files: whole or not at all, weights beside the model above 2 GB."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from kcompile.errors import CheckError, FileFormatError, UsageError, printable

# A protobuf message ends at 2 GiB; nodes and names need some of that.
EXTERNAL_DATA_ABOVE = 2_000_000_000


@dataclass
class Staged:
    """A model written into a folder of its own, not yet under its name."""

    path: Path
    final: list[Path] = field(default_factory=list)


@contextlib.contextmanager
def staged(model: onnx.ModelProto, path: Path, external_data_above: int | None = None) -> Iterator[Staged]:
    """Write the model beside ``path``; it takes that name where the block ends without an error.

    Above ``external_data_above`` bytes the weights go to ``<name>.data`` beside it. Raises
    UsageError where the folder can't be written to.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UsageError(f"{path}: can't write there: {error.strerror}") from error
    try:
        made = folder / path.name
        limit = EXTERNAL_DATA_ABOVE if external_data_above is None else external_data_above
        try:
            _write(model, made, limit)
        except OSError as error:
            raise UsageError(f"{path}: can't write: {error.strerror}") from error
        target = Staged(made)
        yield target
        # The data first: a reader that finds the new model finds its data.
        for file in sorted(folder.iterdir(), key=lambda f: f.name == path.name):
            try:
                os.replace(file, path.parent / file.name)
            except OSError as error:
                raise UsageError(f"{path}: can't write: {error.strerror}") from error
            target.final.insert(0, path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(model: onnx.ModelProto, path: Path, limit: int) -> None:
    if model.ByteSize() <= limit:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)


def check(staged: Staged) -> None:
    """onnx's checker with strict shape inference; CheckError says what it found."""
    try:
        onnx.checker.check_model(str(staged.path), full_check=True)
        if staged.path.stat().st_size < EXTERNAL_DATA_ABOVE:
            model = onnx.load(str(staged.path), load_external_data=False)
            onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = printable(" ".join(str(error).split()), 300)
        raise CheckError(f"onnx's checker refuses the file: {text}") from error


def read(path: str | Path, weights: bool = True) -> onnx.ModelProto:
    """The model of a file; raises UsageError where there is none, FileFormatError where it is not ONNX."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        model = onnx.load(str(path), load_external_data=weights)
    except Exception as error:  # protobuf's DecodeError has no stable home to import from
        text = printable(" ".join(str(error).split()))
        raise FileFormatError(f"{path}: not an ONNX file: {text}") from error
    if not model.graph.node and not model.graph.output:
        raise FileFormatError(f"{path}: not an ONNX file: it holds no graph")
    return model

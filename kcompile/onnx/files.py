"""ONNX models as files: whole or not at all, weights beside the model above 2 GB."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from kcompile.errors import CheckError, FileFormatError, UsageError, printable

# A protobuf message ends at 2 GiB; nodes and names need some of that.
EXTERNAL_DATA_ABOVE = 2_000_000_000


@dataclass
class Staged:
    """A model written into a folder of its own, not yet under its name."""

    path: Path
    final: list[Path] = field(default_factory=list)

    def restage(self, model: onnx.ModelProto | bytes, limit: int | None = None) -> None:
        """Put another model in its place."""
        for file in self.path.parent.iterdir():
            file.unlink()
        _write(model, self.path, EXTERNAL_DATA_ABOVE if limit is None else limit)

    def size(self) -> int:
        """Bytes of the model and of what lies beside it."""
        return sum(file.stat().st_size for file in self.path.parent.iterdir())


@contextlib.contextmanager
def staged(model: onnx.ModelProto | bytes, path: Path, external_data_above: int | None = None) -> Iterator[Staged]:
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


def _write(model: onnx.ModelProto | bytes, path: Path, limit: int) -> None:
    if isinstance(model, bytes):
        path.write_bytes(model)
        return
    # Weights alone tell for large models, whose bytes are better not made in vain.
    if sum(len(t.raw_data) for t in model.graph.initializer) <= limit:
        data = model.SerializeToString(deterministic=True)
        if len(data) <= limit:
            path.write_bytes(data)
            return
    onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)
    # Saving leaves the model without its weights; it may be needed again.
    onnx.load_external_data_for_model(model, str(path.parent))


def check(path: Path) -> None:
    """onnx's checker with strict shape inference; CheckError says what it found."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        if path.stat().st_size < EXTERNAL_DATA_ABOVE:
            model = _weightless(onnx.load(str(path), load_external_data=False))
            onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = printable(" ".join(str(error).split()), 300)
        raise CheckError(f"onnx's checker refuses the file: {text}") from error


def _weightless(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with large initialisers as inputs, for inference that copies all it is given."""
    graph = model.graph
    given = {i.name for i in graph.input}
    large = [t for t in graph.initializer if len(t.raw_data) > 4096 and t.name not in given]
    graph.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in large)
    names = {t.name for t in large}
    small = [t for t in graph.initializer if t.name not in names]
    # Made anew: removing one by one copies the rest each time.
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in small]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


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


def has_external_data(path: Path) -> bool:
    """Whether weights of a file lie beside it."""
    model = read(path, weights=False)
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)


@contextlib.contextmanager
def scratch(model: onnx.ModelProto | bytes, path: Path) -> Iterator[Path]:
    """The model as a file in a folder of its own beside ``path``, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix=".original.", dir=path.parent))
    try:
        _write(model, folder / "original.onnx", EXTERNAL_DATA_ABOVE)
        yield folder / "original.onnx"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arrays(model: onnx.ModelProto, names: Collection[str]) -> dict[str, np.ndarray]:
    """The initialisers of these names."""
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names}

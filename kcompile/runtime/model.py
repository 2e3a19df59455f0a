"""`load`: an ONNX file as a Python callable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import MissingError, UnsupportedError, UsageError, did_you_mean, printable
from kcompile.runtime.providers import check_device, providers
from kcompile.runtime.session import has_recurrence, open_session, run_bound, run_session

DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64, "tensor(uint32)": np.uint32, "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_, "tensor(string)": np.object_,
}  # fmt: skip


class OnnxModel:
    """A session on one device: ``model(x)`` for one input, ``model({"name": x})`` for several.

    Gives one numpy array where the model has one output, else a dict by output name.
    """

    def __init__(self, path: str | Path | bytes, device: str = "cpu", threads: int | None = None, level: str = "all"):
        self.session = _open(path, device, level, threads)
        self.on_cuda = "CUDAExecutionProvider" in self.session.get_providers()
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        for end in (*self.session.get_inputs(), *self.session.get_outputs()):
            if end.type not in DTYPES:
                raise UnsupportedError(f"{printable(end.name)!r} is a {printable(end.type)}: numpy has no such array")
        self.recurrent = has_recurrence(path)
        self.output_names = [o.name for o in self.session.get_outputs()]

    @property
    def input_names(self) -> list[str]:
        return list(self.inputs)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self.run(self.feeds(*args, **kwargs)))

    def feeds(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """Arrays by input name, in the model's dtypes; raises UsageError naming what does not fit."""
        if len(args) == 1 and isinstance(args[0], dict):
            kwargs, args = {**args[0], **kwargs}, ()
        elif len(args) == 1 and isinstance(args[0], (list, tuple)) and len(self.inputs) > 1:
            args = tuple(args[0])
        if len(args) > len(self.inputs):
            raise UsageError(f"the model takes {len(self.inputs)} input(s) {self.input_names}, got {len(args)}")
        given = dict(zip(self.inputs, args, strict=False))
        twice = [k for k in kwargs if k in given]
        if twice:
            raise UsageError(f"input {printable(twice[0])!r} is given twice")
        given |= kwargs
        unknown = [k for k in given if k not in self.inputs]
        if unknown:
            close = did_you_mean(str(unknown[0]), self.inputs)
            raise UsageError(
                f"the model has no input {printable(unknown[0])!r}{close}; its inputs are {self.input_names}"
            )
        missing = [k for k in self.inputs if k not in given]
        if missing:
            raise UsageError(f"no value for the model's input(s) {missing}")
        return {name: self.array(name, value) for name, value in given.items()}

    def array(self, name: str, value: Any) -> np.ndarray:
        """``value`` in an input's dtype; UsageError where its kind or shape does not fit."""
        spec = self.inputs[name]
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        array = _converted(array, np.dtype(DTYPES[spec.type]), f"input {printable(name)!r}")
        fits = array.ndim == len(spec.shape) and all(
            not isinstance(want, int) or want == got for want, got in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            shown = ", ".join(printable(d) for d in spec.shape)
            raise UsageError(f"input {printable(name)!r} wants the shape [{shown}], got {list(array.shape)}")
        if self.recurrent and array.size == 0:
            raise UsageError(
                f"input {printable(name)!r} is empty ({list(array.shape)}), and ONNX Runtime's LSTM and GRU end the "
                "process when they run on nothing; give at least one row and one step"
            )
        # ascontiguousarray makes a scalar an array of one axis.
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in order for arrays that fit; on CUDA through IO binding."""
        return (run_bound if self.on_cuda else run_session)(self.session, feeds)

    def _named(self, outputs: list[np.ndarray]) -> Any:
        return outputs[0] if len(outputs) == 1 else dict(zip(self.output_names, outputs, strict=True))

    def predict(self, *args: Any, batch_size: int = 32, **kwargs: Any) -> Any:
        """Outputs for all rows, computed ``batch_size`` at a time."""
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        feeds = self.feeds(*args, **kwargs)
        scalars = [e.name for e in (*self.inputs.values(), *self.session.get_outputs()) if not e.shape]
        if scalars:
            raise UsageError(f"{printable(scalars[0])!r} has no batch axis, so the model can't run in batches; call it")
        parts = [self.run(batch) for batch in _batches(feeds, batch_size)]
        return self._named([np.concatenate(column) for column in zip(*parts, strict=True)])

    def __repr__(self) -> str:
        return (
            f"<OnnxModel inputs={self.input_names} outputs={self.output_names} on {'CUDA' if self.on_cuda else 'CPU'}>"
        )


def _open(path: str | Path | bytes, device: str, level: str, threads: int | None) -> Any:
    """A session on the device; MissingError where CUDA is asked for and does not start."""
    wanted = providers(device)
    try:
        session = open_session(path, wanted, level, threads)
    except UnsupportedError as error:
        if len(wanted) == 1:
            raise
        # Opens on the CPU: then it was not the file.
        session = open_session(path, wanted[1:], level, threads)
        if device != "auto":
            raise MissingError(f"device {device!r}: {error}") from error
    check_device(session, device)
    return session


def _converted(array: np.ndarray, wanted: np.dtype, what: str) -> np.ndarray:
    """``array`` in another dtype; UsageError where its kind or its values don't fit."""
    if array.dtype == wanted:
        return array
    kinds = {"b": "biu", "i": "biu", "u": "biu", "f": "biuf", "O": "OUS"}[wanted.kind]
    if array.dtype.kind not in kinds and array.dtype.name != "bfloat16":
        raise UsageError(f"{what} wants {wanted}, got {array.dtype}")
    if wanted.kind in "iu" and array.size:
        least, most, ends = int(array.min()), int(array.max()), np.iinfo(wanted)
        if least < ends.min or most > ends.max:
            raise UsageError(f"{what} wants {wanted}, got values from {least} to {most}")
    return array.astype(wanted)


def _batches(feeds: dict[str, np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    lengths = {len(a) for a in feeds.values()}
    if len(lengths) != 1:
        raise UsageError(f"the inputs have different numbers of rows: {sorted(lengths)}")
    length = lengths.pop()
    for start in range(0, max(length, 1), size):
        yield {name: a[start : start + size] for name, a in feeds.items()}


def load(path: str | Path, device: str = "cpu", threads: int | None = None) -> OnnxModel:
    """The ONNX file as a callable on numpy arrays.

    ``device`` is cpu, cuda (cuda:1, ...) or auto. Raises MissingError for a device that is not
    here, FileFormatError for a file that is no ONNX model.
    """
    return OnnxModel(path, device, threads)

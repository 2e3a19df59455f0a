"""`load`: an ONNX file as a Python callable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import UsageError, did_you_mean, printable
from kcompile.runtime.providers import check_device, providers
from kcompile.runtime.session import open_session

_DTYPES = {
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
        self.path = path if isinstance(path, bytes) else str(path)
        self.device = device
        self.session = open_session(path, providers(device), level, threads)
        check_device(self.session, device)
        self.inputs = {i.name: i for i in self.session.get_inputs()}
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
            raise UsageError(f"the model takes {len(self.inputs)} inputs {self.input_names}, got {len(args)}")
        given = {**dict(zip(self.inputs, args, strict=False)), **kwargs}
        unknown = [k for k in given if k not in self.inputs]
        if unknown:
            raise UsageError(
                f"the model has no input {printable(unknown[0])!r}{did_you_mean(unknown[0], self.inputs)}; "
                f"its inputs are {self.input_names}"
            )
        missing = [k for k in self.inputs if k not in given]
        if missing:
            raise UsageError(f"no value for the model's input(s) {missing}")
        return {name: self.array(name, value) for name, value in given.items()}

    def array(self, name: str, value: Any) -> np.ndarray:
        """``value`` in an input's dtype; UsageError where its kind or shape does not fit."""
        spec = self.inputs[name]
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        wanted = np.dtype(_DTYPES[spec.type])
        if array.dtype != wanted:
            kinds = {"b": "biu", "i": "biu", "u": "biu", "f": "biuf"}.get(wanted.kind, "")
            if array.dtype.kind not in kinds:
                raise UsageError(f"input {name!r} wants {wanted}, got {array.dtype}")
            array = array.astype(wanted)
        shape = spec.shape
        if array.ndim != len(shape) or any(
            isinstance(want, int) and want != got for want, got in zip(shape, array.shape, strict=True)
        ):
            shown = ", ".join(map(str, shape))
            raise UsageError(f"input {name!r} wants the shape [{shown}], got {list(array.shape)}")
        return np.ascontiguousarray(array)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in order for arrays that fit; on CUDA through IO binding."""
        if not self.device.startswith("cuda"):
            return self.session.run(None, feeds)
        binding = self.session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in self.output_names:
            binding.bind_output(name)
        self.session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    def _named(self, outputs: list[np.ndarray]) -> Any:
        return outputs[0] if len(outputs) == 1 else dict(zip(self.output_names, outputs, strict=True))

    def predict(self, *args: Any, batch_size: int = 32, **kwargs: Any) -> Any:
        """Outputs for all rows, computed ``batch_size`` at a time."""
        feeds = self.feeds(*args, **kwargs)
        parts = [self.run(batch) for batch in _batches(feeds, batch_size)]
        return self._named([np.concatenate(column) for column in zip(*parts, strict=True)])

    def __repr__(self) -> str:
        return f"<OnnxModel inputs={self.input_names} outputs={self.output_names} device={self.device}>"


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

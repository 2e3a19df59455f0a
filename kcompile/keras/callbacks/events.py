"""Event files that TensorBoard reads, written with the ``tensorboard`` package."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import MissingError
from kcompile.files.atomic import folder
from kcompile.keras.imagefiles import array_to_img


class EventFile:
    """The event file of one folder; raises MissingError where ``tensorboard`` is not installed."""

    def __init__(self, place: Path):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise MissingError(
                "the TensorBoard callback needs the package tensorboard: pip install 'kcompile[tensorboard]'"
            ) from error
        self._event, self._summary = event_pb2.Event, summary_pb2
        self._writer = EventFileWriter(str(folder(place)))

    def scalar(self, tag: str, value: Any, step: int) -> None:
        """A number; an array of several is left out, as TensorBoard draws curves of numbers."""
        from tensorboard.plugins.scalar import metadata

        if np.ndim(value) == 0:
            self._write(tag, metadata.create_summary_metadata("", ""), np.float32(value), step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """How an array's numbers are distributed, in 30 bins: rows of (from, to, count)."""
        from tensorboard.plugins.histogram import metadata

        counts, edges = np.histogram(values.astype(np.float64), bins=30)
        rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
        self._write(tag, metadata.create_summary_metadata("", ""), rows, step)

    def images(self, tag: str, stack: np.ndarray, step: int) -> None:
        """Images [N, H, W, C] of 1, 3 or 4 channels; numbers from 0 to 1."""
        from tensorboard.plugins.image import metadata

        size = [str(n).encode() for n in (stack.shape[2], stack.shape[1])]
        pictures = [*size, *(_png(image) for image in stack)]
        self._write(tag, metadata.create_summary_metadata("", ""), pictures, step)

    def model(self, text: str) -> None:
        """A model's JSON, which TensorBoard's graph page draws."""
        kind = self._summary.SummaryMetadata()
        kind.plugin_data.plugin_name, kind.plugin_data.content = "graph_keras_model", b"1"
        self._write("keras", kind, text.encode(), 0)

    def _write(self, tag: str, kind: Any, values: Any, step: int) -> None:
        from tensorboard.util.tensor_util import make_tensor_proto

        made = self._summary.Summary()
        made.value.add(tag=tag, metadata=kind, tensor=make_tensor_proto(values))
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=made))

    def flush(self) -> None:
        """Everything so far on the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and end."""
        self._writer.close()


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    array_to_img(np.clip(image, 0, 1) * 255, scale=False, data_format="channels_last").save(stream, format="png")
    return stream.getvalue()

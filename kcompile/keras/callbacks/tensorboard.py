"""`TensorBoard`: scalars, histograms and images of a training run for TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.files.atomic import own_path
from kcompile.keras import backend, config
from kcompile.keras.callbacks.base import Callback
from kcompile.keras.callbacks.events import EventFile


class TensorBoard(Callback):
    """Writes event files under ``log_dir/train`` and ``log_dir/validation``, under Keras's names.

    After each epoch ``epoch_<name>`` of all logs and ``epoch_learning_rate``; after each evaluation
    ``evaluation_<name>_vs_iterations``; with ``update_freq`` a number (or "batch") also ``batch_<name>`` every so
    many batches. ``histogram_freq`` is every how many epochs to write histograms of all weights
    (``write_images``: images too). ``write_graph`` writes the layers of a functional or Sequential model, which
    the graph page draws. ``embeddings_freq`` writes the tables of Embedding layers for the projector, with
    ``embeddings_metadata`` (a file, or one for each layer's name). ``profile_batch`` must be 0, as in Keras on torch.

    Raises MissingError where the package ``tensorboard`` is not installed.
    """

    def __init__(
        self,
        log_dir: str | Path = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):
        super().__init__()
        if profile_batch:
            raise ValueError(
                f"TensorBoard: profiling is not available, `profile_batch` must be 0, got {profile_batch!r}"
            )
        self.log_dir, self.histogram_freq, self.write_graph = str(own_path(log_dir)), histogram_freq, write_graph
        self.write_images, self.write_steps_per_second = write_images, write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        if self.update_freq != "epoch" and not isinstance(self.update_freq, int):
            raise ValueError(f"TensorBoard: `update_freq` is 'batch', 'epoch' or a number, got {update_freq!r}")
        self.embeddings_freq, self.embeddings_metadata = embeddings_freq, embeddings_metadata
        self._files: dict[str, EventFile] = {}
        self._batch = 0
        self._batch_start = self._epoch_start = 0.0
        self._iterations_before = 0
        if self.update_freq != "epoch":
            # Only where it is asked for: a callback that looks at batches makes each wait for its numbers.
            self.on_train_batch_end = self._write_batch  # type: ignore[method-assign]

    def _file(self, name: str) -> EventFile:
        if name not in self._files:
            self._files[name] = EventFile(Path(self.log_dir) / name)
        return self._files[name]

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._files = {}
        if self.write_graph and type(model).__name__ in ("Functional", "Sequential"):
            self._file("train").model(model.to_json())
        if self.embeddings_freq:
            self._write_projector()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._batch = 0

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batch += 1
        self._batch_start = time.perf_counter()

    def _write_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._batch % int(self.update_freq) == 0:
            values = dict(logs or {})
            if self.write_steps_per_second:
                values["steps_per_second"] = 1 / max(time.perf_counter() - self._batch_start, 1e-9)
            for name, value in values.items():
                self._file("train").scalar(f"batch_{name}", value, self._batch)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.model.optimizer is None:
            return
        for name, value in (logs or {}).items():
            self._file("validation").scalar(f"evaluation_{name}_vs_iterations", value, self._iterations())
        self._file("validation").flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.write_steps_per_second:
            self._iterations_before, self._epoch_start = self._iterations(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        train = {k: v for k, v in (logs or {}).items() if not k.startswith("val_")}
        if train:
            train.update(self._rates())
        if self.write_steps_per_second:
            elapsed = max(time.perf_counter() - self._epoch_start, 1e-9)
            train["steps_per_second"] = (self._iterations() - self._iterations_before) / elapsed
        validation = {k.removeprefix("val_"): v for k, v in (logs or {}).items() if k.startswith("val_")}
        for name, values in (("train", train), ("validation", validation)):
            for key, value in values.items():
                self._file(name).scalar(f"epoch_{key}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings()
        for file in self._files.values():
            file.flush()

    def _iterations(self) -> int:
        return int(backend.convert_to_numpy(self.model.optimizer.iterations))

    def _rates(self) -> dict[str, float]:
        outer = self.model.optimizer
        inner = getattr(outer, "inner_optimizer", outer)
        several = getattr(inner, "optimizers", None)
        named = {f"learning_rate_{o.name}": o for o in several} if several else {"learning_rate": inner}
        return {k: float(backend.convert_to_numpy(o.learning_rate)) for k, o in named.items()}

    def _write_weights(self, epoch: int) -> None:
        for layer in self.model.layers:
            for weight in layer.weights:
                tag, array = weight.path.replace(":", "_"), weight.numpy().astype(np.float32)
                self._file("train").histogram(f"{tag}/histogram", array, epoch)
                stack = _as_images(array)
                if self.write_images and stack is not None:
                    self._file("train").images(f"{tag}/image", stack, epoch)

    def _embeddings(self) -> list[Any]:
        from kcompile.keras.layers import Embedding

        return [layer for layer in self.model.layers if isinstance(layer, Embedding)]

    def _write_projector(self) -> None:
        """The file that tells TensorBoard's projector which table belongs to which layer."""
        given = self.embeddings_metadata
        names = [layer.name for layer in self._embeddings()]
        unknown = sorted(set(given) - set(names)) if isinstance(given, dict) else []
        if unknown:
            raise ValueError(f"TensorBoard: `embeddings_metadata` names {unknown}, the Embedding layers are {names}")
        lines = []
        for name in names:
            metadata = given.get(name) if isinstance(given, dict) else given
            told = f'  metadata_path: "{metadata}"\n' if metadata is not None else ""
            lines.append(f'embeddings {{\n  tensor_name: "{name}/embeddings"\n  tensor_path: "{name}.tsv"\n{told}}}\n')
        Path(self.log_dir).mkdir(parents=True, exist_ok=True)
        (Path(self.log_dir) / "projector_config.pbtxt").write_text("".join(lines))

    def _write_embeddings(self) -> None:
        for layer in self._embeddings():
            np.savetxt(Path(self.log_dir) / f"{layer.name}.tsv", layer.embeddings.numpy(), fmt="%.7g", delimiter="\t")


def _as_images(array: np.ndarray) -> np.ndarray | None:
    """A weight as images [N, H, W, C], the longer side across; None for what has too many axes."""
    squeezed = np.squeeze(array)
    if squeezed.ndim == 1:
        return squeezed.reshape(1, -1, 1, 1)
    if squeezed.ndim == 2:
        wide = squeezed.T if squeezed.shape[0] > squeezed.shape[1] else squeezed
        return wide[None, :, :, None]
    if squeezed.ndim == 3:
        if config.image_data_format() == "channels_last":
            # Each kernel its own image.
            squeezed = squeezed.transpose(2, 0, 1)
        return squeezed[..., None]
    return squeezed if squeezed.ndim == 4 and squeezed.shape[-1] in (1, 3, 4) else None

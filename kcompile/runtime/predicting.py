"""`predict_file`: an ONNX file's outputs for all rows of a table, however long it is."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcompile.errors import UsageError, printable
from kcompile.files.atomic import replacing
from kcompile.runtime.batches import Predictor, Settings, match_columns
from kcompile.runtime.workers import in_processes
from kcompile.tables.columns import Outputs
from kcompile.tables.files import Table, check_names, check_target, open_writer

# Batches of rows of different lengths that are read together, so that rows of equal length find each other.
WINDOW = 16
BACKENDS = ("processes", "ray")


@dataclass(frozen=True)
class Predicted:
    """What `predict_file` did: ``columns`` are those of the file that it wrote."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return f"{self.rows} rows in {self.seconds:.2f} s, {self.rows / self.seconds:.0f} a second"


def predict_file(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    keep: Sequence[str] = (),
    batch_size: int = 128,
    workers: int = 1,
    threads: int | None = None,
    device: str = "cpu",
    backend: str = "processes",
    progress: Callable[[int], None] | None = None,
) -> Predicted:
    """Write the outputs of the ONNX file ``model`` for all rows of ``data`` to ``output``, in their order.

    ``data`` are .parquet, .csv, .jsonl, .npy or .npz files, folders of them or patterns, read some
    batches at a time; the columns are the model's inputs by name, or as ``columns`` says:
    ``{"x": ["a", "b"]}`` makes vectors of two columns. ``output`` is .parquet, .csv, .jsonl or .npy; it
    appears whole at the end, with the columns ``keep`` before the outputs. Each of several ``workers``
    is a process with a session of ``threads`` (1) threads; one worker is this process (all cores).
    ``backend="ray"`` runs them in Ray Data. ``progress`` is called with the number of rows done.

    Raises UsageError naming file, column and row for what does not fit, MissingError for a package
    that is needed, FileFormatError for a damaged file.
    """
    started, target = time.perf_counter(), Path(output)
    _check_options(target, batch_size, workers, backend)
    table = Table([data] if isinstance(data, (str, Path)) else list(data))
    if target.resolve() in {file.resolve() for file in table.files}:
        raise UsageError(f"{output}: is one of the files that are read; write to another")
    here = Predictor(Settings(str(model), {}, batch_size, device, threads or (None if workers == 1 else 1)))
    here.settings = dataclasses.replace(here.settings, columns=_matched(here, table, columns or {}, keep))
    names, dims = here.model.output_names, here.dims
    results, done = _results(table, keep, here, workers, backend), 0
    del here
    with replacing(target) as stream, contextlib.closing(results):
        writer = open_writer(target, stream)
        for kept, outputs in results:
            writer.write(kept, outputs, dims)
            done += len(next(iter((outputs or kept).values())))
            if progress is not None:
                progress(done)
        writer.close()
    return Predicted(target, done, (*keep, *names), time.perf_counter() - started)


def _check_options(target: Path, batch_size: int, workers: int, backend: str) -> None:
    if batch_size < 1 or workers < 1:
        raise UsageError(f"batch_size and workers must be at least 1, got {batch_size} and {workers}")
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; use {' or '.join(BACKENDS)}")
    check_target(target)
    if backend == "ray" and target.suffix == ".npy":
        raise UsageError(f"{target}: Ray's blocks are tables; write .parquet, .csv or .jsonl")


def _matched(
    here: Predictor, table: Table, columns: Mapping[str, str | Sequence[str]], keep: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The columns of each input; UsageError where those or the kept ones are not there, or would be written twice."""
    given = {name: (c,) if isinstance(c, str) else tuple(c) for name, c in columns.items()}
    matched = match_columns(here.model.inputs, table.names, given, str(table.files[0]))
    check_names(table.files[0], table.names, keep)
    for name in keep:
        if name in here.model.output_names:
            raise UsageError(f"column {printable(name)!r} can't be kept: an output of the model has that name")
    return matched


def _results(
    table: Table, keep: Sequence[str], here: Predictor, workers: int, backend: str
) -> Generator[tuple[dict[str, Any], Outputs], None, None]:
    """(kept columns, outputs) for some rows after the others."""
    settings, size = here.settings, (here.fixed or here.settings.batch_size) * (WINDOW if here.varies else 1)
    if backend == "ray":
        from kcompile.runtime.ray_data import predicted

        yield from predicted(table, keep, settings, here.dims, size, workers)
        return
    read = [c for columns in settings.columns.values() for c in columns]
    chunks = table.rows(list(dict.fromkeys([*read, *keep])), size)
    items = (({k: rows.arrays[k] for k in keep}, {c: rows.column(c) for c in read}) for rows in chunks)
    if workers > 1:
        del here  # the weights are with the processes
        yield from in_processes(Predictor, settings, items, workers)
        return
    for kept, columns in items:
        yield kept, here(columns)

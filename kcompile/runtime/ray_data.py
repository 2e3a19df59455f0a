"""Prediction in Ray Data: the same rows, batches and checks, in processes that may be on other machines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from kcompile.errors import MissingError, UsageError, printable
from kcompile.runtime.batches import Predictor, Settings
from kcompile.tables.columns import Outputs
from kcompile.tables.files import Rows, Table, outputs_to_arrow

ERROR = "kcompile.error"  # the only column of a block that stands for an error


class BlockPredictor:
    """What Ray calls with each block of rows: the kept columns and the outputs as Arrow has them."""

    def __init__(self, settings: Settings, keep: Sequence[str], dims: dict[str, tuple[Any, ...]], source: str):
        self.predictor, self.keep, self.dims, self.source = Predictor(settings), keep, dims, source

    def __call__(self, block: Any) -> Any:
        rows = Rows(self.source, 0, {n: block.column(n).combine_chunks() for n in block.column_names})
        read = {c for columns in self.predictor.settings.columns.values() for c in columns}
        try:
            outputs = self.predictor({c: rows.column(c) for c in read})
        except UsageError as error:
            # Raised, it would arrive as the text of a traceback.
            return block.slice(0, 1).select([]).append_column(ERROR, [[str(error)]])
        made = block.select(list(self.keep))
        for name, values in outputs_to_arrow(outputs, self.dims).items():
            made = made.append_column(name, values)
        return made


def predicted(
    table: Table, keep: Sequence[str], settings: Settings, dims: dict[str, tuple[Any, ...]], size: int, workers: int
) -> Iterator[tuple[dict[str, Any], Outputs]]:
    """(kept columns and outputs, nothing) for some rows after the others, in their order.

    Raises UsageError for files that are not Parquet and for a process that dies, MissingError where Ray is
    not installed. Rows are numbered within a block in messages: Ray does not tell where a block stands.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingError("backend ray needs Ray: pip install 'kcompile[ray]'") from error
    files = [str(path.absolute()) for path in table.files]
    if any(path.suffix != ".parquet" for path in table.files):
        raise UsageError("backend ray reads .parquet files only; use the backend processes")
    read = [c for columns in settings.columns.values() for c in columns]
    names = list(dict.fromkeys([*read, *keep]))
    if not ray.is_initialized():
        ray.init(logging_level="warning", log_to_driver=False, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Reading needs a processor too, and waits forever where the workers have them all.
    share = min(1.0, (ray.cluster_resources()["CPU"] - 1) / workers) if workers > 1 else 0.5
    data = ray.data.read_parquet(files).select_columns(names).map_batches(
        BlockPredictor, fn_constructor_args=(settings, tuple(keep), dims, f"a block of {table.files[0]}"),
        batch_format="pyarrow", batch_size=size, compute=ray.data.ActorPoolStrategy(size=workers), zero_copy_batch=True, num_cpus=max(share, 0.1),
    )  # fmt: skip
    try:
        for block in data.iter_batches(batch_format="pyarrow", batch_size=None):
            if block.column_names == [ERROR]:
                raise UsageError(block.column(ERROR)[0].as_py())
            yield {name: block.column(name).combine_chunks() for name in block.column_names}, {}
    except ray.exceptions.RayError as error:
        raise UsageError(f"Ray: {printable(' '.join(str(error).split()))}") from error

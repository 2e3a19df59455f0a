"""Prediction in Ray Data: the same rows, batches and checks, in processes that may be on other machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kcompile.errors import KcompileError, MissingError, UsageError, printable
from kcompile.runtime.batches import Predictor, Settings
from kcompile.tables.columns import Outputs
from kcompile.tables.files import Rows, Table, outputs_to_arrow


class BlockPredictor:
    """What Ray calls with each block of rows: the kept columns and the outputs as Arrow has them."""

    def __init__(self, settings: Settings, keep: Sequence[str], dims: dict[str, tuple[Any, ...]], source: str):
        self.predictor, self.keep, self.dims, self.source = Predictor(settings), keep, dims, source

    def __call__(self, block: Any) -> Any:
        rows = Rows(self.source, 0, {n: block.column(n).combine_chunks() for n in block.column_names})
        read = {c for columns in self.predictor.settings.columns.values() for c in columns}
        outputs = self.predictor({c: rows.column(c) for c in read})
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
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    data = ray.data.read_parquet(files, columns=names).map_batches(
        BlockPredictor, fn_constructor_args=(settings, tuple(keep), dims, f"a block of {table.files[0]}"),
        batch_format="pyarrow", batch_size=size, concurrency=workers, zero_copy_batch=True,
    )  # fmt: skip
    try:
        for block in data.iter_batches(batch_format="pyarrow", batch_size=None):
            yield {name: block.column(name).combine_chunks() for name in block.column_names}, {}
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KcompileError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise cause from error
        raise UsageError(f"Ray: {printable(' '.join(str(error).split()))}") from error

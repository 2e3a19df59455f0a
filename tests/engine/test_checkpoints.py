"""Parts of variables written by all processes; here one that is a group of its own (`tests/distribution` has several)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from kcompile.engine import checkpoints
from kcompile.engine.shards import Sharded
from kcompile.tracing.variable import Variable


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def variable(array: np.ndarray, axis: int | None = None) -> Variable:
    made = Variable(array)
    if axis is not None:
        made.storage = Sharded(torch.from_numpy(array), axis)
    return made


def test_written_and_read(group: None, tmp_path: Path) -> None:
    """What is split, and nothing else; what a run that was killed has left there is gone."""
    arrays = {
        "columns": np.arange(15, dtype=np.float32).reshape(5, 3),
        "rows": np.arange(6, dtype=np.float16).reshape(3, 2),
    }
    variables = {"columns": variable(arrays["columns"], 1), "rows": variable(arrays["rows"], 0)}
    assert [checkpoints.split(v) for v in (variables["rows"], variable(np.ones(2, np.float32)))] == [True, False]
    (tmp_path / "shards-4").mkdir()
    (tmp_path / "shards-4" / "left").write_text("half")
    assert checkpoints.save(tmp_path, 4, {**variables, "whole": variable(np.ones(2, np.float32))}) == "shards-4"
    assert not (tmp_path / "shards-4" / "left").exists()
    found = checkpoints.load(tmp_path / "shards-4")
    assert sorted(found) == ["columns", "rows"]
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_nothing_is_split(tmp_path: Path) -> None:
    assert checkpoints.save(tmp_path, 1, {"w": variable(np.ones(3, np.float32))}) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("but", "left"), [(None, ["other"]), ("shards-2", ["other", "shards-2"])])
def test_forgetting(tmp_path: Path, but: str | None, left: list[str]) -> None:
    for name in ("shards-1", "shards-2", "shards-10", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    checkpoints.forget(tmp_path, but)
    assert sorted(p.name for p in tmp_path.iterdir()) == left

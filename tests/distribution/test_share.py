"""What processes tell each other around a step, on ranks side by side in one process."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kcompile.engine import distributed
from kcompile.engine.shards import Sharded
from kcompile.errors import TraceError, UnsupportedError, UsageError
from kcompile.ir import Constant, Graph, Type, input_value, weight
from kcompile.ir.types import f32
from kcompile.keras import distribution, generators
from kcompile.keras.distribution import distributions
from kcompile.keras.distribution.share import BATCH, Joint, PerBatch, Share, Split
from kcompile.operators.collectives import GatherParts
from kcompile.operators.reduction import Max
from kcompile.tracing.variable import Variable
from tests.distribution.threads import Ranks, ranks


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    """Two ranks that share batches."""
    made = ranks(monkeypatch, 2)
    monkeypatch.setattr(distributions, "_CURRENT", [distribution.DataParallel.__new__(distribution.DataParallel)])
    yield made


def test_alone() -> None:
    """One process asks nobody."""
    assert distributions.active() is None and distributions.own_rows() is None
    assert distributions.first_process(3) == 3 and distributions.any_process(True)
    distributions.same_data(rows=3)
    distributions.in_step()
    distributions.one_process("this")
    assert isinstance(distributions.step(lambda share: share), Share)
    share = Share()
    assert (
        share.tensors([1], 2) == [1]
        and share.exchange([], []) is None
        and share.runner("traced", "fallback") == "fallback"
    )


def test_together(two: Ranks) -> None:
    assert distributions.own_rows() is distributed.own_span
    assert two.run(distributions.first_process) == [0, 0]
    assert two.run(lambda rank: distributions.any_process(rank == 1)) == [True, True]
    two.run(lambda rank: distributions.same_data(rows=3, size=2))
    with pytest.raises(UnsupportedError, match="this can't be split over processes"):
        distributions.one_process("this")
    made = distributions.step(lambda share: share)
    assert type(made.split) is Split and type(made.joint) is Joint and made.count == 2


@pytest.mark.parametrize("shards", [False, True])
def test_what_a_distribution_splits(two: Ranks, monkeypatch: pytest.MonkeyPatch, shards: bool) -> None:
    monkeypatch.setattr(distribution.DataParallel, "shards", shards)
    made = distributions.step(lambda share: share)
    assert made.split.shards is made.joint.shards is shards


def test_which_part_of_a_batch(two: Ranks) -> None:
    """Replicas of a model that is split over both are the same one."""
    devices = ["cpu:0", "cpu:1"]
    both = distribution.LayoutMap(distribution.DeviceMesh((1, 2), ["batch", "model"], devices))
    assert two.run(lambda rank: distribution.DataParallel(devices=devices).data_shard_id) == [0, 1]
    assert two.run(lambda rank: distribution.ModelParallel(layout_map=both).data_shard_id) == [0, 0]


def test_other_data(two: Ranks) -> None:
    """All ranks say so, or those that are right would wait for the others."""

    def rank(number: int) -> str:
        with pytest.raises(UsageError) as raised:
            distributions.same_data(rows=3 + number, size=2)
        return str(raised.value)

    assert two.run(rank) == [
        "fit: each process must be given the same data, another rank was not",
        "fit: each process must be given the same data; rows: 3 in rank 0, 4 in rank 1",
    ]


def test_random_numbers_in_step(two: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the first one's."""
    monkeypatch.setattr(generators, "states", lambda: ({"numpy": two.rank()}, {"python": two.rank()}))
    found: list[Any] = []
    monkeypatch.setattr(generators, "set_states", lambda arrays, plain: found.append((arrays, plain)))
    two.run(lambda rank: distributions.in_step())
    assert found == [({"numpy": 0}, {"python": 0})] * 2


def test_rows(two: Ranks) -> None:
    """Of whole tensors a rank takes its own; of its own it is told the whole length."""
    x, y, weight = torch.arange(5), torch.arange(10).reshape(5, 2), torch.tensor(7)
    split = Split(False)
    spans = [slice(0, 2), slice(2, 5)]
    for given, whole in (((x, y, weight), None), (None, 5)):
        made = two.run(
            lambda rank, g=given, w=whole: split.tensors(list(g or (x[spans[rank]], y[spans[rank]], weight)), w)
        )
        for span, (own_x, own_y, own_weight, told) in zip(spans, made, strict=True):
            assert torch.equal(own_x, x[span]) and torch.equal(own_y, y[span]) and own_weight is weight
            assert told.shape == (5,)
    with pytest.raises(UsageError, match=r"arrays of one batch have \[4, 5\] rows"):
        split.tensors([x, y[:4]], None)


@pytest.mark.parametrize(("rows", "wanted"), [(1, "joint"), (2, "joint"), (3, "split"), (4, "split")])
def test_which_step_a_batch_goes_through(rows: int, wanted: str) -> None:
    settled: list[str] = []

    class Step(SimpleNamespace):
        def __call__(self, batch: Any) -> str:
            return str(self.name)

        def settle(self) -> None:
            settled.append(self.name)

    step = PerBatch(Step(name="split"), Step(name="joint"), 3)
    assert step((np.zeros((rows, 2)),)) == wanted
    step.settle()
    assert settled == ["split", "joint"]


def test_what_cannot_be_traced() -> None:
    def fails(batch: Any) -> None:
        raise TraceError("float() of a tensor")

    runner = Joint(False).runner(fails, "eager")
    with pytest.raises(UnsupportedError, match=r"can't be split: float\(\) of a tensor; write it with keras\.ops"):
        runner(())


@pytest.mark.parametrize("shards", [False, True])
def test_weights_and_slots_are_placed(two: Ranks, shards: bool) -> None:
    """All start from the first one's; with ``shards`` trained ones and slots of their shape are split."""

    def rank(number: int) -> None:
        made = [
            Variable(np.full(shape, float(number), np.float32)) for shape in ((4, 3), (3,), (5,), (4, 3), (4,), (5,))
        ]
        kernel, small, frozen, momentum, row, other = made
        optimizer = SimpleNamespace(
            variables=[momentum, row, other],
            slots={id(momentum): ("m", kernel), id(row): ("r", kernel), id(other): ("m", frozen)},
        )
        joint = Joint(shards)
        joint.place(made, [kernel, small], optimizer)
        split = [isinstance(v.storage, Sharded) for v in made]
        assert split == [shards, False, False, shards, False, False]
        joint.place(made, [kernel, small], optimizer)  # a second step's, of the same model
        assert [isinstance(v.storage, Sharded) for v in made] == split
        assert all((v.numpy() == 0).all() for v in made)
        whole = [v for v in made if not isinstance(v.storage, Sharded)]
        read = weight("k", Type(f32, (4, 3)))
        update = joint.update(Graph("u", [], [read], updates=[("k", read)]), {"k": kernel})
        own = Type(f32, (2, 3) if shards else (4, 3))
        assert [v.type for _, v in update.updates] == [own] == [v.type for v in update.weight_values().values()]
        assert [n.op.chunked for n in update.nodes if isinstance(n.op, GatherParts)] == [True] * shards
        buckets = joint.exchange([torch.zeros(1)] * len(made), made).buckets
        assert sorted(i for b in buckets for i in b) == [i for i, v in enumerate(made) if v in whole]

    two.run(rank)


def test_prediction_splits_nothing(two: Ranks) -> None:
    """Without an optimizer."""
    variable = Variable(np.ones((4, 3), np.float32))
    two.run(lambda rank: Joint(True).place([variable], [variable], None))
    assert not isinstance(variable.storage, Sharded)


@pytest.mark.parametrize("kind", [Split, Joint])
@pytest.mark.parametrize(("trains", "wanted"), [(True, [0.5]), (False, [])])
def test_each_rank_gives_its_share_of_a_loss(two: Ranks, kind: type[Joint], trains: bool, wanted: list[float]) -> None:
    """Of one that is differentiated; what is only shown is whole."""
    x = input_value("x", Type(f32, (BATCH, 2)))
    made = kind(False).graph(Graph("g", [x], [Max((0, 1))(x)]), {}, trains)
    assert [float(n.op.value.data) for n in made.nodes if isinstance(n.op, Constant)] == wanted

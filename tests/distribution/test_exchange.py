"""What ranks send each other and how a variable is cut, on ranks side by side in one process."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from kcompile.engine import collectives, distributed
from kcompile.engine.shards import Sharded, axis_to_split, shard
from kcompile.tracing.variable import Variable
from tests.distribution.threads import ranks

Patch = pytest.MonkeyPatch
COUNTS = [2, 3, 5]


def test_alone() -> None:
    """Without other processes: the number, and everything is one's own."""
    assert (collectives.world(), collectives.rank()) == (1, 0)
    assert collectives.run(7, False) == collectives.run(7, True) == (0, 7)
    assert distributed.agreed("mine") == "mine" and not distributed.any_rank(False) and distributed.any_rank(True)
    x = torch.zeros(3)
    assert collectives.gather_parts(x, 0, 3, 3, True).data_ptr() != x.data_ptr() != collectives.all_reduce(x).data_ptr()
    distributed.wait()
    distributed.same_everywhere([torch.zeros(2)])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("unit", [0, 1, 4, 5, 7, 12])
def test_runs(monkeypatch: Patch, unit: int, count: int) -> None:
    """Of rows they differ by one at most; of weights they are torch.chunk's."""
    made = ranks(monkeypatch, count)
    for chunked in (False, True):
        runs = made.run(lambda rank, chunked=chunked: collectives.run(unit, chunked))
        assert (
            made.run(lambda rank, c=chunked: [collectives.run(unit, c, of=r) for r in range(count)]) == [runs] * count
        )
        assert [i for begin, end in runs for i in range(begin, end)] == list(range(unit))
        lengths = [end - begin for begin, end in runs]
        chunks = [len(c) for c in torch.arange(unit).chunk(count)] if unit else []
        if chunked:
            assert lengths == [*chunks, *[0] * (count - len(chunks))]
        else:
            assert max(lengths) - min(lengths) <= 1


# The whole's shape, the axis, its unit (a multiple of it lies along the axis).
PARTS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "rows": ((7, 3), 0, 7),
    "evenly": ((12, 2), 0, 12),
    "columns": ((3, 8), 1, 8),
    "the middle": ((2, 5, 3), 1, 5),
    "pairs of rows": ((14, 2), 0, 7),
    "triples of columns": ((2, 12), 1, 4),
    "fewer than ranks": ((2, 3), 0, 2),
    "none": ((0, 3), 0, 0),
    "a vector": ((9,), 0, 9),
}


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
@pytest.mark.parametrize("chunked", [False, True], ids=["rows", "chunks"])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", PARTS)
def test_parts(monkeypatch: Patch, name: str, count: int, chunked: bool, backend: str) -> None:
    """Joined they are the whole, and a part's gradient is the sum of what all ranks have for it."""
    shape, axis, unit = PARTS[name]
    whole = torch.arange(float(np.prod(shape))).reshape(shape)
    made = ranks(monkeypatch, count, backend)

    def rank(number: int) -> Any:
        given = whole.clone().requires_grad_()
        part = collectives.own_part(given, axis, unit, chunked)
        assert part.is_contiguous() and part.untyped_storage().nbytes() == part.nbytes
        joined = collectives.gather_parts(part, axis, unit, shape[axis], chunked)
        assert torch.equal(joined, whole)
        (gradient,) = torch.autograd.grad((joined * whole * (number + 1)).sum(), part)
        wanted = collectives.own_part(whole * sum(range(1, count + 1)), axis, unit, chunked)
        assert torch.equal(gradient, wanted)
        (gradient,) = torch.autograd.grad((part * 2).sum(), given)
        return gradient

    # The gradients of all ranks' own parts cover the whole once.
    assert torch.equal(sum(made.run(rank)), torch.full(shape, 2.0))
    # nccl has a sum of which every rank gets its run, where these are of one length.
    even = unit % count == 0 and backend == "nccl"
    assert made.said == ["all_gather", "reduce_scatter" if even else "all_reduce"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "int8", "bool"])
def test_parts_of_any_type(monkeypatch: Patch, dtype: str) -> None:
    whole = (torch.arange(15).reshape(5, 3) % 2).to(getattr(torch, dtype))

    def rank(number: int) -> None:
        joined = collectives.gather_parts(collectives.own_part(whole, 0, 5, False), 0, 5, 5, False)
        assert joined.dtype is whole.dtype and torch.equal(joined, whole)

    ranks(monkeypatch, 2).run(rank)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_sums(monkeypatch: Patch, count: int, turned: bool) -> None:
    """A sum over ranks changes nothing that is given, and its gradient is the sum of gradients."""

    def rank(number: int) -> None:
        x = torch.full((3, 2), float(number))
        x = (x.t() if turned else x).requires_grad_()
        total = collectives.all_reduce(x)
        assert (total == sum(range(count))).all() and (x == number).all()
        (gradient,) = torch.autograd.grad((total * (number + 1)).sum(), x)
        assert (gradient == sum(range(1, count + 1))).all()

    ranks(monkeypatch, count).run(rank)


@pytest.mark.parametrize(("chunked", "anew", "gathers"), [(True, True, 2), (True, False, 1), (False, True, 1)])
def test_weights_are_gathered_anew(monkeypatch: Patch, chunked: bool, anew: bool, gathers: int) -> None:
    """For the backward pass, as the view of it that the forward pass had; rows of a batch are not."""
    whole = torch.arange(12.0).reshape(4, 3)
    made = ranks(monkeypatch, 2)

    def rank(number: int) -> None:
        part = collectives.own_part(whole, 0, 4, chunked).requires_grad_()
        x = torch.ones(2, 2, requires_grad=True)
        with collectives.gathered_anew() if anew else torch.enable_grad():
            y = x @ collectives.gather_parts(part, 0, 4, 4, chunked)[1:, ::2].t()[:, 1:]
            del number
        gradient, own = torch.autograd.grad((y * torch.tensor([[1.0, 2.0]]).t()).sum(), [x, part])
        wanted = whole[1:, ::2].t()[:, 1:]
        assert torch.equal(gradient, torch.stack([wanted.sum(1), 2 * wanted.sum(1)]))
        assert own.shape == (2, 3)

    made.run(rank)
    assert made.said.count("all_gather") == gathers
    assert not collectives._GATHERED


def test_what_ranks_agree_on(monkeypatch: Patch) -> None:
    made = ranks(monkeypatch, 3)
    assert made.run(lambda rank: distributed.agreed({"rank": rank})) == [{"rank": 0}] * 3
    assert made.run(lambda rank: distributed.any_rank(rank == 2)) == [True] * 3
    assert made.run(lambda rank: distributed.any_rank(False)) == [False] * 3
    made.said.clear()
    made.run(lambda rank: distributed.wait())
    assert made.said == ["barrier"]


def test_all_start_from_the_first_ones_weights(monkeypatch: Patch) -> None:
    """In place, whatever they are like in memory."""

    def rank(number: int) -> list[torch.Tensor]:
        base = torch.full((4, 3), float(number))
        own = [
            base.t(),
            torch.tensor(number),
            torch.nn.Parameter(torch.full((2,), 1.0 + number)),
            torch.ones(2) > number,
        ]
        distributed.same_everywhere(own)
        assert (base == 0).all()
        return own

    for first, *rest in zip(*ranks(monkeypatch, 3).run(rank), strict=True):
        assert all(torch.equal(first, other) for other in rest)


@pytest.mark.parametrize(("batch", "spans"), [
    ((0, 9), [(0, 3), (3, 6), (6, 9)]),
    ((8, 16), [(8, 10), (10, 13), (13, 16)]),
    ((8, 11), [(8, 9), (9, 10), (10, 11)]),
    ((8, 10), [(8, 10)] * 3),  # less than ranks: all rows for all
])  # fmt: skip
def test_rows_of_a_batch(monkeypatch: Patch, batch: tuple[int, int], spans: list[tuple[int, int]]) -> None:
    made = ranks(monkeypatch, 3)
    assert made.run(lambda rank: distributed.own_span(batch)) == spans
    rows = torch.arange(batch[1] - batch[0]) + batch[0]
    if len(rows) >= 3:
        found = made.run(lambda rank: distributed.own_rows([rows, torch.tensor(5)], len(rows)))
        assert [(int(own[0]), int(own[-1]) + 1) for own, _ in found] == spans
        assert [int(scalar) for _, scalar in found] == [5] * 3
    told = distributed.told(len(rows))
    assert told.shape == rows.shape and told.dtype is torch.int8 and told.untyped_storage().nbytes() == 1


@pytest.mark.parametrize(("room", "wanted"), [
    (1, [[5], [4], [2], [1], [0]]),
    (24, [[5], [4, 2], [1], [0]]),  # no more than 24 bytes of one type
    (1 << 20, [[5], [4, 2, 1, 0]]),
])  # fmt: skip
def test_buckets(room: int, wanted: list[list[int]]) -> None:
    """From the last parameter to the first, without those that are split, of one type each."""
    parameters = [torch.zeros(n, dtype=d) for n, d in
                  ((5, torch.float32), (4, torch.float32), (3, torch.float32), (9, torch.float32), (3, torch.float32),
                   (2, torch.float16))]  # fmt: skip
    assert distributed.Buckets(parameters, [0, 1, 2, 4, 5], room).buckets == wanted


@pytest.mark.parametrize("room", [1, 40, 1 << 20])
def test_gradients_are_summed(monkeypatch: Patch, room: int) -> None:
    """Those of whole parameters, unused ones too; others come summed. In any order in which they come to be known."""

    def parameters() -> list[torch.Tensor]:
        return [torch.full(s, 2.0, requires_grad=True) for s in ((3, 2), (4,), (2,), (1, 5))]

    def rank(number: int) -> list[list[torch.Tensor]]:
        found = []
        for order in ([0, 1, 3], [3, 0, 1]):
            own = parameters()
            exchange = distributed.Buckets(own, [0, 1, 3], room)
            loss = sum(((number + 1) * own[i] ** 2).sum() for i in order) * (own[2] if number else own[2] ** 2).sum()
            found.append(exchange.differentiate(loss + own[2].sum(), own))
            plain = distributed.Alone().differentiate(own[0].sum(), own[:2])
            assert (plain[0] == 1).all() and (plain[1] == 0).all()
            found.append(exchange.summed([torch.full_like(p, float(number + 1)) for p in own]))
            found.append(exchange.differentiate(own[1].sum(), own))
            assert not any(p._backward_hooks for p in own)
        return found

    made = ranks(monkeypatch, 2)
    one, other = made.run(rank)
    for mine, theirs in zip(one, other, strict=True):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert a.shape == parameters()[i].shape and (i == 2 or torch.equal(a, b))
    for differentiated, summed, unused in (one[:3], one[3:]):
        # d/dp of p^2 (n + 1) for n 0 and 1, times 8 (2^2 + 2^2) and 4 (2 + 2)
        assert all((differentiated[i] == 4 * 8 + 8 * 4).all() for i in (0, 1, 3))
        assert [float(g.reshape(-1)[0]) for g in summed] == [3, 3, 1, 3]
        assert [float(g.reshape(-1)[0]) for g in unused] == [0, 2, 0, 0]
    assert set(made.said) == {"all_reduce"} and len(made.said) == 6 * (1 if room > 64 else 3 if room == 1 else 2)


def test_gradients_are_sent_while_the_backward_pass_goes_on(monkeypatch: Patch) -> None:
    """The last layer's before the first layer's are there."""
    made = ranks(monkeypatch, 2)

    def rank(number: int) -> list[str]:
        first, last = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
        h = torch.ones(1, 2) @ first
        seen: list[str] = []
        h.register_hook(lambda g: seen.extend(made.said))
        distributed.Buckets([first, last], [0, 1], 1).differentiate((h @ last).sum(), [first, last])
        return seen

    assert made.run(rank)[0] == ["all_reduce"]


def test_only_what_is_split_is_gathered_anew() -> None:
    tensors = [torch.zeros(2), torch.zeros(2)]
    assert isinstance(distributed.Buckets(tensors, [0, 1]).forward(), contextlib.nullcontext)
    assert isinstance(distributed.Buckets(tensors, [1]).forward(), torch.autograd.graph.saved_tensors_hooks)


LOST = {
    "[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1": True,
    "Connection reset by peer": True,
    "Timed out waiting 600000ms for recv operation to complete": True,
    "[../third_party/gloo/gloo/transport/tcp/buffer.cc:1] error": True,
    "mat1 and mat2 shapes cannot be multiplied": False,
}


@pytest.mark.parametrize("text", LOST)
def test_a_lost_rank(monkeypatch: Patch, text: str) -> None:
    assert distributed.lost(RuntimeError(text)) is None  # in one process
    found = ranks(monkeypatch, 2).run(lambda rank: distributed.lost(RuntimeError(text)))
    if not LOST[text]:
        assert found == [None, None]
        return
    assert [str(e).partition(" another")[0] for e in found] == [f"rank {r} lost contact with" for r in range(2)]
    assert all(isinstance(e, distributed.LostRankError) and e.exit_code == 75 for e in found)
    assert all(ranks(monkeypatch, 2).run(lambda rank: distributed.lost(dist.DistBackendError("NCCL"))))


LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LOCAL_RANK": "3"}


@pytest.mark.parametrize(("device", "seconds", "environment", "wanted"), [
    ("cpu", None, {}, ("gloo", 600)),
    ("cpu", 5.0, {"KCOMPILE_TIMEOUT": "7"}, ("gloo", 5)),
    ("cpu", None, {"KCOMPILE_TIMEOUT": "7"}, ("gloo", 7)),
    ("cuda", None, {}, ("cpu:gloo,cuda:nccl", 600)),
    ("cpu", None, {"MASTER_PORT": None}, None),  # not started by a launcher
])  # fmt: skip
def test_joining(
    monkeypatch: Patch, device: str, seconds: float | None, environment: dict[str, str | None], wanted: Any
) -> None:
    for name, value in {**LAUNCHED, **environment}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    met: list[Any] = []
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, timeout: met.append((backend, timeout.total_seconds()))
    )
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: met.append(number))
    monkeypatch.setattr(distributed.atexit, "register", lambda function: met.append(function.__name__))
    distributed.join(device, seconds)
    assert met == ([] if wanted is None else [*([3] if device == "cuda" else []), wanted, "leave"])
    started = wanted is not None
    assert distributed.started() is started
    assert distributed.own_device("cpu") == "cpu"
    assert distributed.own_device("cuda") == ("cuda:3" if started else "cuda")
    ranks(monkeypatch, 2).run(lambda rank: distributed.join(device, seconds))  # a second time is nothing
    assert len(met) == (0 if wanted is None else 3 if device == "cuda" else 2)


@pytest.mark.parametrize(("kind", "count", "gpus", "wanted"), [
    ("cpu", 1, 2, 1), ("cpu", 3, 0, 3), (None, 3, 0, 3), (None, 1, 0, 1),
    ("gpu", 1, 2, 2), ("cuda", 3, 2, 3), ("gpu", 3, 0, 0), ("tpu", 3, 2, 0), (None, 3, 2, 3), (None, 1, 2, 2),
])  # fmt: skip
def test_devices(monkeypatch: Patch, kind: str | None, count: int, gpus: int, wanted: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if count > 1:
        ranks(monkeypatch, count)
        monkeypatch.setattr(dist, "get_backend_config", lambda: "cuda:nccl" if gpus else "cpu:gloo")
    assert distributed.on_gpus() is (gpus > 0)
    assert distributed.count_of_devices(kind) == wanted


@pytest.mark.parametrize(("shape", "count", "wanted"), [
    ((), 2, None), ((7,), 1, None), ((8,), 1, None), ((0,), 2, None), ((1,), 2, None), ((3,), 2, None), ((2,), 2, 0),
    ((4,), 2, 0), ((5,), 2, 0), ((3, 5), 2, 1), ((3, 9, 2), 2, 2), ((6, 4), 2, 0), ((4, 6), 2, 1), ((9, 4), 2, 1),
    ((6,), 4, None), ((8, 8), 2, 0), ((0, 4), 2, 1),
])  # fmt: skip
def test_where_a_variable_is_cut(monkeypatch: Patch, shape: tuple[int, ...], count: int, wanted: int | None) -> None:
    ranks(monkeypatch, count)
    assert axis_to_split(shape) == wanted


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_variable_in_parts(monkeypatch: Patch, axis: int, trainable: bool) -> None:
    """Read and written whole on all ranks; a part of its own is in memory."""
    whole = np.arange(15, dtype=np.float32).reshape(5, 3)

    def rank(number: int) -> None:
        variable = Variable(whole.copy(), trainable=trainable)
        shard(variable, axis)
        held = variable.storage
        shard(variable, 1 - axis)  # it is split already
        assert isinstance(held, Sharded) and variable.storage is held and variable.shape == (5, 3)
        assert (held.axis, held.unit, held.dtype) == (axis, whole.shape[axis], torch.float32)
        size = [[3, 2], [2, 1]][axis][number]
        assert held.local.shape == ((size, 3) if axis == 0 else (5, size))
        assert isinstance(held.local, torch.nn.Parameter) is trainable and held.held() is held.local
        np.testing.assert_array_equal(variable.numpy(), whole)
        local = held.local
        variable.assign(2.0 * whole.astype(np.float64))
        assert held.local is local and local.dtype is torch.float32 and variable.storage is held
        np.testing.assert_array_equal(held.read(), 2 * whole)

    ranks(monkeypatch, 2).run(rank)

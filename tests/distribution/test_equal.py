"""Several processes train to what one does: curves, weights, optimizer state, evaluation, prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.distribution.cases import APART, CASES, TOGETHER, applied, trained
from tests.distribution.noise import NOISE
from tests.distribution.ranks import results
from tests.distribution.worker import compiled, reads

ALL = {**CASES, **NOISE}
JOBS = ("data:cases", "fsdp:cases", "data:operations", "fsdp:memory", "data:reads", "data:refused")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return results(tmp_path_factory.mktemp("ranks"), 2, *JOBS)


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return {}


def leaves(tree: Any) -> list[np.ndarray]:
    if isinstance(tree, dict):
        return [a for key in sorted(tree) for a in leaves(tree[key])]
    return [a for part in tree for a in leaves(part)] if isinstance(tree, list) else [np.asarray(tree)]


def assert_same(found: Any, wanted: Any) -> None:
    """Equal to 1e-5 of each array's range, of 0.01 at least: small gradients are what is left of larger numbers."""
    pairs = list(zip(leaves(found), leaves(wanted), strict=True))
    assert pairs
    for a, b in pairs:
        scale = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(scale, 1e-2))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["data", "fsdp"])
@pytest.mark.parametrize("name", ALL)
def test_training(two: list[dict[str, Any]], one: dict[str, Any], name: str, kind: str, rank: int) -> None:
    wanted = one.setdefault(name, None) or one.update({name: trained(ALL[name])}) or one[name]
    found = two[rank][f"{kind}:cases"][name]
    assert len(found["curves"]["loss"]) == 3
    for part in wanted:
        assert_same(found[part], wanted[part])


@pytest.mark.parametrize("name", [*APART, *TOGETHER])
def test_operators(two: list[dict[str, Any]], name: str) -> None:
    model, loss = applied({**APART, **TOGETHER}[name])
    # Half precision has its own digits.
    tolerance = 2e-3 if name == "half precision" else 1e-5
    for found in two:
        its_loss, its_weight, talk = found["data:operations"][name]
        np.testing.assert_allclose(its_loss, loss, rtol=tolerance)
        np.testing.assert_allclose(its_weight, model.weights[0].numpy(), rtol=tolerance, atol=tolerance)
        # Rows are sent to other ranks only where an operator needs them.
        assert ("gather_parts" in talk) == (name in TOGETHER)


def test_each_rank_holds_its_part(two: list[dict[str, Any]]) -> None:
    for found in two:
        held, whole, gathered = found["fsdp:memory"]
        assert whole > 2_500_000
        assert held <= 0.51 * whole
        assert gathered == 0


@pytest.mark.parametrize("shuffle", ["False", "True", "batch"])
def test_a_rank_reads_its_rows_only(two: list[dict[str, Any]], shuffle: str) -> None:
    """But for the last batch, of one row, which both compute."""
    wanted_rows, wanted = reads("")[shuffle]
    (first, weights), (second, _) = (found["data:reads"][shuffle] for found in two)
    assert_same(weights, wanted)
    for one, other, whole in zip(first, second, wanted_rows, strict=True):
        assert sorted(whole) == sorted({*one, *other}) == list(range(21))
        assert (len(one), len(other)) == (11, 11)


REFUSED = {
    "eager": "UnsupportedError: distribution: run_eagerly=True can't be split over processes; leave it out, or train in one",
    "untraced": "UnsupportedError: distribution: a step that can't be traced can't be split: ",
    "auto_shard_dataset": "UnsupportedError: DataParallel: auto_shard_dataset=False is not supported: give every process",
    "layouts": "UnsupportedError: ModelParallel: layouts of single variables are not supported; use keras.distribution.Fully",
    "devices": "UsageError: DataParallel: 1 devices need 1 processes, here are 2: start the script with torchrun",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(two: list[dict[str, Any]], name: str) -> None:
    for found in two:
        message = found["data:refused"][name]
        assert message.startswith(REFUSED[name])
        assert "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "fsdp"])
def test_compiled_code_talks_too(tmp_path: Any, kind: str) -> None:
    wanted = compiled("")
    for found in results(tmp_path, 2, f"{kind}:compiled"):
        for part in wanted:
            assert_same(found[f"{kind}:compiled"][part], wanted[part])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "fsdp"])
def test_more_ranks(tmp_path: Any, kind: str) -> None:
    """Three and five ranks: uneven parts of rows and of weights, batches with fewer rows than ranks."""
    for count in (3, 5):
        for found in results(tmp_path, count, f"{kind}:cases"):
            for name, make in ALL.items():
                wanted = trained(make)
                for part in wanted:
                    assert_same(found[f"{kind}:cases"][name][part], wanted[part])

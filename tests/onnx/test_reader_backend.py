"""The reference of the reader: the ONNX project's own node tests.

Every test that ONNX Runtime passes must pass again after the model was read, optimised and written.
"""

from __future__ import annotations

from collections import Counter

import pytest

from kcompile.errors import UnsupportedError
from tests.onnx import backend

# The tests that need not come through, with the reason.
_OLD = "the operator had another form then, and the IR has none: the file is kept whole"
EXCEPTIONS = {
    "test_loop11": _OLD,
    "test_scan_sum": _OLD,
    "test_upsample_nearest": _OLD,
    **{
        f"test_affine_grid_{n}d{corners}_expanded": "Range of vectors is against the specification; ONNX Runtime runs it "
        "only where no shape is known, and says no once the If that hides the shape is gone: the file is kept whole"
        for n in (2, 3)
        for corners in ("", "_align_corners")
    },
}
# onnx 1.23: shape inference of MeanVarianceNormalization's body fails at opset 17, whoever wrote it.
UNCHECKED = {"test_mvn"}
# How many tests have to come through, in each variant.
LEAST = {"as written": 1505, "fixed": 1480, "free": 1475}
# Of the nodes in them, how many the IR has its own operator for.
READ = {"as written": 0.88, "fixed": 0.9, "free": 0.88}

COUNTS: dict[str, Counter[str]] = {kind: Counter() for kind in backend.VARIANTS}
KINDS = [pytest.param(k, marks=[] if k == "as written" else pytest.mark.slow) for k in backend.VARIANTS]


@pytest.mark.parametrize("operator", backend.groups())
@pytest.mark.parametrize("kind", KINDS)
def test_what_onnx_runtime_passes_passes_again(kind: str, operator: str) -> None:
    wrong = []
    for written in backend.groups()[operator]:
        test = backend.variant(written, kind)
        if test is None or not backend.passes(test.model, test):
            continue
        try:
            made, account = backend.through(test.model)
        except UnsupportedError:
            if test.name not in EXCEPTIONS:
                raise
            continue
        if not backend.passes(made, test):
            if test.name in EXCEPTIONS:
                continue
            wrong.append(test.name)
        elif test.name not in UNCHECKED and backend.valid(test.model) and not backend.valid(made):
            wrong.append(f"{test.name} (onnx's checker)")
        else:
            COUNTS[kind]["passed"] += 1
        COUNTS[kind]["read"] += account.read.total()
        COUNTS[kind]["whole"] += account.whole.total()
    COUNTS[kind]["groups"] += 1
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_how_many_come_through(kind: str) -> None:
    count = COUNTS[kind]
    if count["groups"] < len(backend.groups()):
        pytest.skip("counted where all of them ran, in one process")
    assert count["passed"] >= LEAST[kind]
    assert count["read"] / (count["read"] + count["whole"]) > READ[kind]

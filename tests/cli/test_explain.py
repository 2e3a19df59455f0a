"""`--explain`: what fired where, with its effect; what was skipped, and why; totals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

NET = """
from kcompile import keras
from kcompile.keras import layers
shared = layers.Dense(4, name="shared")
x = keras.Input((4,), name="x")
folded = layers.BatchNormalization(name="norm")(layers.Dense(4, name="hidden")(x))
twice = shared(x)
model = keras.Model(x, [folded, layers.BatchNormalization(name="late")(twice), twice], name="net")
"""


@pytest.mark.parametrize("argv", [("graph", "net.py"), ("export", "net.py"), ("optimize", "net.onnx")])
def test_json(kc: Run, argv: tuple[str, ...]) -> None:
    Path("net.py").write_text(NET)
    if argv[0] == "optimize":
        assert kc("export", "net.py").code == 0
    found = kc(*argv, "--explain", "--json").json["explain"]
    for key in ("nodes", "bytes", "flops"):
        assert found["after"][key] - found["before"][key] == sum(e["effect"][key] for e in found["entries"])
    if argv[0] != "optimize":
        fold = next(e for e in found["entries"] if e["name"] == "fold-batch-norm")
        # gamma, mean and variance are gone; the bias of the layer took beta's place.
        assert (fold["place"], fold["times"], fold["effect"]["nodes"]) == ("norm", 1, -1)
        assert fold["effect"]["bytes"] == -4 * 4 * 4
        assert {"rule": "fold-batch-norm", "place": "late", "reason": "linear is used 2 times"} in found["skipped"]


def test_text(kc: Run) -> None:
    Path("net.py").write_text(NET)
    done = kc("graph", "net.py", "--explain")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["place", "times", "nodes", "weights", "FLOPs"] in lines
    assert any(line[:4] == ["fold-batch-norm", "norm", "1", "-1"] for line in lines)
    assert {line[0] for line in lines if line} >= {"before", "after"} and "linear is used 2 times" in done.out
    assert "FLOPs at batch 1, other free sizes 32" in done.out

"""The models of scripts/zoo.py as files: no other optimiser finds a node to remove."""

from __future__ import annotations

import copy
import importlib.util
import sys
from functools import cache
from pathlib import Path

import onnx
import pytest

import kcompile.keras as keras
from tests.passes.peers import PEERS, node_types

_SPEC = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[2] / "scripts" / "zoo.py")
assert _SPEC is not None and _SPEC.loader is not None
zoo = sys.modules["zoo"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(zoo)

# Nodes of each file: more than this is a step back, less a step forward to be written down here.
NODES = {
    "mlp": 6, "cnn": 14, "resnet": 53, "mobilenet": 35, "efficientnet": 81, "unet": 39, "convnext": 42, "autoencoder": 18,
    "lstm": 6, "bidirectional_gru": 10, "transformer": 84, "gpt": 91, "mixer": 43, "two_tower": 15, "resnet50": 123, "mobilenet_v2": 101,
}  # fmt: skip
NAMES = [pytest.param(n, marks=[pytest.mark.slow] if e.heavy else []) for n, e in zoo.ZOO.items()]


@cache
def exported(name: str, folder: Path) -> onnx.ModelProto:
    path = folder / f"{name}.onnx"
    zoo.ZOO[name].build(keras).export(str(path), format="onnx")
    return onnx.load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.mark.parametrize("name", NAMES)
def test_number_of_nodes(name: str, folder: Path) -> None:
    assert len(node_types(exported(name, folder))) == NODES[name]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", NAMES)
def test_peers_find_nothing_to_remove(name: str, peer: str, folder: Path) -> None:
    model = exported(name, folder)
    theirs = PEERS[peer](copy.deepcopy(model))
    assert len(node_types(theirs)) >= len(node_types(model)), node_types(theirs)

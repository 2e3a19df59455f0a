"""The program of one rank, where the whole suite of `tests/distribution` has no model for it."""

from __future__ import annotations

import pytest

from kcompile.ir import Graph, Input, Type, symbol
from kcompile.ir.types import f32, i64
from kcompile.operators.collectives import GatherParts
from kcompile.operators.indexing import GatherElements
from kcompile.passes.partition import by_rows

BATCH, OWN = symbol("N"), symbol("N_own")


@pytest.mark.parametrize(("places", "together"), [(BATCH, False), (2, True)], ids=["every row", "two rows"])
def test_places_of_fewer_rows_meet_the_whole(places, together):
    """Places for the first two rows belong to these rows, wherever they are: all ranks need them."""
    x, index = Input("x", Type(f32, (BATCH, 4)))(), Input("index", Type(i64, (places, 4)))()
    graph = Graph("taken", [x, index], [GatherElements(1)(x, index)])
    made = by_rows(graph, BATCH, OWN, {}, None)
    gathers = [n for n in made.nodes if isinstance(n.op, GatherElements)]
    talks = [n for n in made.nodes if isinstance(n.op, GatherParts)]
    assert [n.types[0].shape for n in gathers] == [(2, 4) if together else (OWN, 4)]
    assert made.outputs[0].type.shape == ((2, 4) if together else (BATCH, 4))
    # The result of every row is brought together as an output; the operand only where it must be.
    assert any(n.results[0] is gathers[0].inputs[0] for n in talks) is together

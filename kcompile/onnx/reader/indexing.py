"""Gathering and scattering."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.onnx.reader.reading import Call, reads, require
from kcompile.operators import indexing


@reads("Gather")
def gather(c: Call) -> Value:
    return indexing.Gather(c.attr("axis", 0))(c[0], c[1])


@reads("GatherElements")
def gather_elements(c: Call) -> Value:
    return indexing.GatherElements(c.attr("axis", 0))(c[0], c[1])


@reads("GatherND")
def gather_nd(c: Call) -> Value:
    c.plain(batch_dims=0)
    return indexing.GatherNd()(c[0], c[1])


@reads("ScatterElements", "Scatter")
def scatter_elements(c: Call) -> Value:
    _precise(c)
    return indexing.ScatterElements(c.attr("axis", 0), c.attr("reduction", "none"))(c[0], c[1], c[2])


@reads("ScatterND")
def scatter_nd(c: Call) -> Value:
    _precise(c)
    return indexing.ScatterNd(c.attr("reduction", "none"))(c[0], c[1], c[2])


def _precise(c: Call) -> None:
    half = c.type(0).dtype.name in ("f16", "bf16")
    require(not half or c.attr("reduction", "none") == "none", "half precision would be combined in float32")

"""Normalisations."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.onnx.reader.reading import Call, reads, require
from kcompile.operators import normalization


@reads("BatchNormalization")
def batch_norm(c: Call) -> Value:
    c.single()
    c.plain(training_mode=0, spatial=1)
    c.ignore("momentum")
    require(c.version >= 7, "a BatchNormalization from before opset 7")
    require(isinstance(c.type(0).shape[1], int), "the number of channels is not known")
    epsilon = c.attr("epsilon", 1e-5)
    axes = {"channels_first": 1, "channels_last": -1}
    return c.on_image(lambda layout: normalization.BatchNorm(epsilon, axes[layout]), *(c[i] for i in range(1, 5)))


@reads("LayerNormalization", "RMSNormalization")
def layer_norm(c: Call) -> Value:
    c.single()
    c.plain(stash_type=1)
    rank, axis = c.type(0).rank, c.attr("axis", -1)
    axes = tuple(range(axis - rank if axis >= 0 else axis, 0))
    if c.op_type == "LayerNormalization":
        return normalization.LayerNorm(c.attr("epsilon", 1e-5), axes)(c[0], c[1], c.get(2))
    require(c.type(0).dtype.name != "f64", "float64 would become several nodes")
    return normalization.RmsNorm(c.attr("epsilon", 1e-5), axes)(c[0], c[1])

"""What a file is written for: its opset, and the composites that it may hold as one node.

Each target is one table. An operator's facet asks ``o.has("Gelu")`` and writes its primitives where
the answer is no. Time of one node / its primitives at batch 1 and 32 (``scripts/bench composites``,
ONNX Runtime 1.32, one CPU thread):

===================  ============================================================================
Gelu                 1.00, 0.99: ONNX Runtime fuses the primitives itself
RMSNormalization     0.53, 0.40
Attention            0.98, 0.99: a matter of the file's size
QuickGelu (silu)     1.00, 0.92
MultiHeadAttention   1.48, 1.47 with the transposes round it; 0.94 to 1.16 in whole models: for CUDA only
Swish                1.8: never written
FusedConv, -Gemm     1.00: ONNX Runtime makes them itself; fewer nodes
===================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcompile.errors import UsageError, did_you_mean

VENDOR = "com.microsoft"
_STANDARD = {"Gelu": 20, "Attention": 23, "RMSNormalization": 23}


@dataclass(frozen=True)
class Target:
    """A name, the opset where none is asked for, and composites with the opset that has them.

    ``vendor`` are operators of ONNX Runtime's own domain, which no other runtime reads; ``provider``
    is the execution provider that runs the file when it is measured and run.
    """

    name: str
    opset: int
    composites: Mapping[str, int]
    vendor: frozenset[str] = frozenset()
    provider: str = "cpu"

    def has(self, op_type: str, opset: int) -> bool:
        """Whether a composite is written as one node at this opset."""
        return op_type in self.vendor or self.composites.get(op_type, opset + 1) <= opset


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        # Runs on ONNX Runtime 1.17 of January 2024 and all later, and on every runtime of standard ONNX.
        Target("portable", 20, _STANDARD),
        # ONNX Runtime 1.23 and later.
        Target("onnxruntime", 23, _STANDARD, frozenset({"QuickGelu", "FusedConv"})),
        # Not run on a GPU. CUDA has flash kernels for MultiHeadAttention, from float16 inputs above all.
        Target("cuda", 20, _STANDARD, frozenset({"QuickGelu", "MultiHeadAttention"}), "cuda"),
    )
}

PORTABLE = TARGETS["portable"]


def target_named(name: str) -> Target:
    """The target, or UsageError."""
    if name not in TARGETS:
        raise UsageError(f"there is no target {name!r}, only {', '.join(TARGETS)}{did_you_mean(name, TARGETS)}")
    return TARGETS[name]

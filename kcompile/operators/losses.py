"""Cross-entropies on logits, which torch computes fused and without overflow."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Op, Type
from kcompile.ir.shapes import broadcast, normal_axis, same_dim
from kcompile.operators.indexing import out_of_range


class _CrossEntropy(Op):
    def floats(self, logits: Type, targets: Type) -> None:
        self.require(
            logits.dtype.is_float and logits.dtype is targets.dtype,
            f"logits and targets must be of one float dtype, got {logits} and {targets}",
        )


class SoftmaxCrossEntropy(_CrossEntropy, name="softmax_cross_entropy"):
    """-sum(targets * log_softmax(logits)) over the axis, which is removed."""

    axis: int = -1

    def infer(self, logits: Type, targets: Type) -> Type:
        self.floats(logits, targets)
        shape = broadcast(logits.shape, targets.shape)
        axis = normal_axis(self.axis, logits.rank)
        self.require(len(shape) == logits.rank, f"targets {targets} have more axes than logits {logits}")
        return logits.with_shape((*shape[:axis], *shape[axis + 1 :]))

    def torch(self, t: Any, logits: Any, targets: Any) -> Any:
        return -t.sum(targets * t.log_softmax(logits, self.axis), self.axis)

    def onnx(self, o: Any, logits: str, targets: str) -> str:
        terms = o.Mul(targets, o.LogSoftmax(logits, axis=self.axis))
        return o.Neg(o.ReduceSum(terms, o.ints([self.axis]), keepdims=0))


# torch would take -100 for no class at all, and leave its row out in silence.
IGNORED = -(1 << 62)


class SparseSoftmaxCrossEntropy(_CrossEntropy, name="sparse_softmax_cross_entropy"):
    """-log_softmax(logits [..., C]) at the integer labels [...]; the result is [...]."""

    def infer(self, logits: Type, labels: Type) -> Type:
        self.require(logits.dtype.is_float and logits.rank > 0, f"logits must be floats [..., C], got {logits}")
        self.require(labels.dtype.name in ("i32", "i64"), f"labels must be int32 or int64, got {labels}")
        self.require(labels.rank == logits.rank - 1, f"labels {labels} must have the leading axes of logits {logits}")
        pairs = zip(logits.shape, labels.shape, strict=False)
        return logits.with_shape(same_dim(a, b, f"{self.name}, labels against logits") for a, b in pairs)

    def torch(self, t: Any, logits: Any, labels: Any) -> Any:
        labels = labels.to(t.int64)
        kept = {"ignore_index": IGNORED, "reduction": "none"}
        if t.inputs[0].rank < 3:
            return t.nn.functional.cross_entropy(logits, labels, **kept)
        # torch wants the classes second, and is several times slower where they don't lie together.
        rows = t.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), **kept)
        return rows.view(labels.shape)

    def fault(self, logits: Any, labels: Any) -> str:
        return "" if labels is None else out_of_range(labels, logits.shape[-1], "class")

    def onnx(self, o: Any, logits: str, labels: str) -> str:
        picked = o.GatherElements(o.LogSoftmax(logits, axis=-1), o.unsqueeze(labels, [-1]), axis=-1)
        return o.Neg(o.squeeze(picked, [-1]))


class SigmoidCrossEntropy(_CrossEntropy, name="sigmoid_cross_entropy"):
    """-(targets log sigmoid(logits) + (1 - targets) log(1 - sigmoid(logits))), element by element."""

    def infer(self, logits: Type, targets: Type) -> Type:
        self.floats(logits, targets)
        pairs = zip(logits.shape, targets.shape, strict=False)
        self.require(logits.rank == targets.rank, f"targets {targets} must have the shape of logits {logits}")
        return logits.with_shape(same_dim(a, b, f"{self.name}, targets against logits") for a, b in pairs)

    def torch(self, t: Any, logits: Any, targets: Any) -> Any:
        return t.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def onnx(self, o: Any, logits: str, targets: str) -> str:
        one = o.like(1, o.inputs[0].dtype)
        tail = o.Log(o.Add(o.Exp(o.Neg(o.Abs(logits))), one))
        return o.Add(o.Sub(o.Relu(logits), o.Mul(logits, targets)), tail)

"""`SpectralNormalization`: a layer whose kernel keeps the spectral norm 1."""

from __future__ import annotations

from typing import Any

from kcompile.keras import initializers, ops
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.layers.wrappers import Wrapper


class SpectralNormalization(Wrapper):
    """Divides the layer's kernel by its largest singular value before each training call (Miyato et al. 2018).

    The value comes of ``power_iterations`` steps from the vector [1, units] of the call before.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any):
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise ValueError(
                f"`power_iterations` should be greater than zero. Received: `power_iterations={power_iterations}`"
            )
        self.power_iterations = power_iterations

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        names = [name for name in ("kernel", "embeddings") if hasattr(self.layer, name)]
        if not names:
            raise ValueError(f"{type(self.layer).__name__} object has no attribute 'kernel' nor 'embeddings'")
        self.kernel = getattr(self.layer, names[0])
        self.vector_u = self.add_weight(
            (1, self.kernel.shape[-1]),
            initializers.TruncatedNormal(stddev=0.02),
            trainable=False,
            name="vector_u",
            dtype=self.kernel.dtype,
        )

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        if training:
            self._normalize()
        return ops.cast(self.layer(inputs), inputs.dtype)

    def _normalize(self) -> None:
        old, u = self.kernel.value, self.vector_u.value
        rows = ops.reshape(old, (-1, self.kernel.shape[-1]))
        for _ in range(self.power_iterations):
            v = ops.normalize(ops.matmul(u, ops.transpose(rows)), axis=None)
            u = ops.normalize(ops.matmul(v, rows), axis=None)
        norm = ops.matmul(ops.matmul(v, rows), ops.transpose(u))
        # A kernel of zeros has no direction: it stays, and so does the vector.
        zero = ops.all(ops.equal(old, 0))
        new = ops.where(zero, old, ops.divide(old, ops.where(zero, 1.0, norm)[0, 0]))
        self.vector_u.assign(ops.stop_gradient(ops.where(zero, self.vector_u.value, u)))
        # The new kernel is what is trained, as in Keras: its gradient does not pass through the division.
        self.kernel.assign(old + ops.stop_gradient(new - old))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power_iterations": self.power_iterations}

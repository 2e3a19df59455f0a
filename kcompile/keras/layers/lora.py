"""Low-rank adaptation: a layer's weight frozen, with a product of two thin matrices added to it (Hu et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import initializers, ops
from kcompile.keras.layers.base import Layer
from kcompile.tracing.variable import Variable


class LowRank(Layer):
    """Base of layers with `enable_lora`; ``adapted`` names the weight [..., size] that it adapts."""

    adapted = "kernel"
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_enabled = False

    def _take_lora(self, rank: int | None, alpha: float | None) -> None:
        """Keep a constructor's arguments for `_add_lora`, which ``build`` calls at its end."""
        self.lora_rank, self.lora_alpha = rank, rank if alpha is None else alpha

    def _add_lora(self) -> None:
        self.built = True
        if self.lora_rank:
            self.enable_lora(self.lora_rank, self.lora_alpha)

    def enable_lora(
        self,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
    ) -> None:
        """Freeze the weight and train ``lora_alpha / rank`` times a [..., rank] @ b [rank, size], which is added to it.

        Raises ValueError where the layer is not built, has a constraint on the weight or is adapted already.
        """
        name = self.adapted
        if getattr(self, f"{name}_constraint", None) is not None:
            raise ValueError(
                f"Lora is incompatible with {name} constraints. In order to enable lora on this layer, remove the "
                f"`{name}_constraint` argument."
            )
        if not self.built:
            raise ValueError("Cannot enable lora on a layer that isn't yet built.")
        if self.lora_enabled:
            raise ValueError("lora is already enabled. This can only be done once per layer.")
        weight = getattr(self, name)
        a, b = (f"lora_{name}_{x}" for x in "ab")
        with self._scope():
            setattr(self, a, self.add_weight((*weight.shape[:-1], rank), initializers.get(a_initializer), name=a))
            setattr(self, b, self.add_weight((rank, weight.shape[-1]), initializers.get(b_initializer), name=b))
        weight.trainable = False
        self.lora_rank, self.lora_alpha = rank, rank if lora_alpha is None else lora_alpha
        self.lora_enabled = True

    def _thin(self) -> tuple[Variable, Variable]:
        return getattr(self, f"lora_{self.adapted}_a"), getattr(self, f"lora_{self.adapted}_b")

    def _weight(self) -> Any:
        """The weight as the layer computes with it."""
        weight = getattr(self, self.adapted)
        if not self.lora_enabled:
            return weight
        a, b = self._thin()
        assert self.lora_rank and self.lora_alpha is not None
        return ops.add(weight, ops.multiply(self.lora_alpha / self.lora_rank, ops.matmul(a, b)))

    def stored(self) -> list[tuple[Variable, np.ndarray]] | None:
        """What files hold of an adapted layer: its weights without the thin ones, which are added up in their place."""
        if not self.lora_enabled:
            return None
        thin, whole = self._thin(), getattr(self, self.adapted)
        a, b = (v.numpy() for v in thin)
        assert self.lora_rank and self.lora_alpha is not None
        merged = whole.numpy() + self.lora_alpha / self.lora_rank * (a @ b)
        kept = [v for v in self._own_weights if all(v is not t for t in thin)]
        return [(v, merged.astype(v.numpy().dtype) if v is whole else v.numpy()) for v in kept]

    def forget_lora(self) -> None:
        """Zero the product, whose sum with the weight a file holds."""
        for variable in self._thin():
            variable.assign(np.zeros(variable.shape, "float32"))

    def get_config(self) -> dict[str, Any]:
        own = {"lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha} if self.lora_rank else {}
        return {**super().get_config(), **own}

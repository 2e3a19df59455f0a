"""`keras.mixed_precision`: the names under which older scripts set the dtype policy."""

from kcompile.keras.config import dtype_policy, set_dtype_policy
from kcompile.keras.optimizers import LossScaleOptimizer
from kcompile.keras.policy import DTypePolicy

Policy, global_policy, set_global_policy = DTypePolicy, dtype_policy, set_dtype_policy

__all__ = [
    "DTypePolicy", "LossScaleOptimizer", "Policy", "dtype_policy", "global_policy", "set_dtype_policy",
    "set_global_policy",
]  # fmt: skip

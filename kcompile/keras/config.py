"""Global settings: floatx, epsilon, image data format."""

from __future__ import annotations

import warnings
from typing import Any

from kcompile.keras.policy import DTypePolicy, as_policy

_SETTINGS: dict[str, object] = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def floatx() -> str:
    """The default float dtype's name."""
    return str(_SETTINGS["floatx"])


def set_floatx(value: str) -> None:
    if value not in ("bfloat16", "float16", "float32", "float64"):
        raise ValueError(f"Unknown floatx: {value!r}. Expected one of bfloat16, float16, float32, float64")
    _SETTINGS["floatx"] = value


def dtype_policy() -> DTypePolicy:
    """The policy that layers get unless told otherwise: floatx, unless one was set."""
    return _SETTINGS.get("dtype_policy") or DTypePolicy(floatx())  # type: ignore[return-value]


def set_dtype_policy(policy: Any) -> None:
    """Make ``policy`` the one that new layers get; None goes back to floatx."""
    _SETTINGS["dtype_policy"] = None if policy is None else as_policy(policy)


def epsilon() -> float:
    """The small number that losses and norms add."""
    return float(_SETTINGS["epsilon"])  # type: ignore[arg-type]


def set_epsilon(value: float) -> None:
    _SETTINGS["epsilon"] = value


def image_data_format() -> str:
    """``channels_last`` or ``channels_first``."""
    return str(_SETTINGS["image_data_format"])


def set_image_data_format(value: str) -> None:
    _SETTINGS["image_data_format"] = standardize_data_format(value)


def standardize_data_format(value: str | None) -> str:
    """The format, or the default for None; raises ValueError for an unknown one."""
    if value is None:
        return image_data_format()
    lowered = str(value).lower()
    if lowered not in ("channels_last", "channels_first"):
        raise ValueError(
            f"The `data_format` argument must be one of {{'channels_first', 'channels_last'}}. Received: {value}"
        )
    return lowered


def backend() -> str:
    """Keras asks which backend computes; it is torch."""
    return "torch"


def set_backend(backend: str) -> None:
    """Accepts ``torch``, the one backend there is; raises ValueError for others."""
    if backend != "torch":
        raise ValueError(f"kcompile computes in torch; there is no backend {backend!r}")


def is_nnx_enabled() -> bool:
    """False: flax's NNX belongs to Keras's JAX backend."""
    return False


def is_flash_attention_enabled() -> bool:
    """True where torch may choose its flash kernel for attention on a GPU, the default."""
    return bool(_SETTINGS.get("flash_attention", True))


def enable_flash_attention() -> None:
    """Let torch choose its flash kernel where it can."""
    _set_flash_attention(True)


def disable_flash_attention() -> None:
    """Keep torch from its flash kernel."""
    _set_flash_attention(False)


def _set_flash_attention(allowed: bool) -> None:
    from kcompile.engine.eager import allow_flash_attention

    allow_flash_attention(allowed)
    _SETTINGS["flash_attention"] = allowed


def is_tf32_enabled() -> bool:
    """True where `fit` on a GPU computes products of float32 matrices and convolutions in TensorFloat-32, the default."""
    return bool(_SETTINGS.get("tf32", True))


def enable_tf32() -> None:
    """Let `fit` round the factors of float32 products to 10 bits on a GPU that multiplies these many times faster."""
    _SETTINGS["tf32"] = True


def disable_tf32() -> None:
    """Compute whole float32 products on a GPU too."""
    _SETTINGS["tf32"] = False


def is_determinism_enabled() -> bool:
    """True where `fit` may use only algorithms that give the same numbers each time."""
    return bool(_SETTINGS.get("determinism", False))


def enable_determinism() -> None:
    """Keep `fit` to algorithms that give the same numbers each time; torch names an operator that has none."""
    _SETTINGS["determinism"] = True


def disable_determinism() -> None:
    """Let `fit` use the fastest algorithms, the default; on a GPU their sums differ in the last digits from run to run."""
    _SETTINGS["determinism"] = False


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks are shown as they are."""
    return False


def enable_traceback_filtering() -> None:
    """Warns: kcompile leaves tracebacks as they are."""
    warnings.warn("enable_traceback_filtering: kcompile never filters tracebacks", stacklevel=2)


def disable_traceback_filtering() -> None:
    """Tracebacks are shown whole, as they are anyway."""


def enable_unsafe_deserialization() -> None:
    """Warns: kcompile runs no code out of a file, whatever is set."""
    warnings.warn(
        "enable_unsafe_deserialization: kcompile never runs code that a file holds; register the layer or function "
        "(keras.saving.register_keras_serializable) or pass custom_objects",
        stacklevel=2,
    )


def max_steps_per_epoch() -> int | None:
    """The most batches that an epoch has, whatever fit was asked for; None for no limit."""
    return _SETTINGS.get("max_steps_per_epoch")  # type: ignore[return-value]


def set_max_steps_per_epoch(value: int | None) -> None:
    """Cut every epoch short, for a quick trial of a script; None for no limit."""
    _SETTINGS["max_steps_per_epoch"] = value


def max_epochs() -> int | None:
    """The most epochs that fit runs; None for no limit."""
    return _SETTINGS.get("max_epochs")  # type: ignore[return-value]


def set_max_epochs(value: int | None) -> None:
    """Cut every fit short, for a quick trial of a script; None for no limit."""
    _SETTINGS["max_epochs"] = value


def is_interactive_logging_enabled() -> bool:
    """True where progress and messages go to standard output; else to the logger ``kcompile.keras``."""
    return bool(_SETTINGS.get("interactive_logging", True))


def enable_interactive_logging() -> None:
    """Progress and messages on standard output, the default."""
    _SETTINGS["interactive_logging"] = True


def disable_interactive_logging() -> None:
    """Progress and messages to the logger ``kcompile.keras``, at level INFO."""
    _SETTINGS["interactive_logging"] = False

"""Global settings: floatx, epsilon, image data format."""

from __future__ import annotations

_SETTINGS: dict[str, object] = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def floatx() -> str:
    """The default float dtype's name."""
    return str(_SETTINGS["floatx"])


def set_floatx(value: str) -> None:
    if value not in ("bfloat16", "float16", "float32", "float64"):
        raise ValueError(f"Unknown floatx: {value!r}. Expected one of bfloat16, float16, float32, float64")
    _SETTINGS["floatx"] = value


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

"""Dtype policies: in which dtype a layer keeps its variables and in which it computes."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config

_GLOBAL: list[Any] = [None]


class DTypePolicy:
    """``float32``, ``mixed_float16`` (variables float32, computation float16), ``mixed_bfloat16``, ..."""

    def __init__(self, name: str):
        if not isinstance(name, str):
            raise TypeError(f"'name' must be a string, such as 'mixed_float16'. Received: name={name}")
        self.name = name
        self.compute_dtype, self.variable_dtype = self._parse(name)

    @staticmethod
    def _parse(name: str) -> tuple[str, str]:
        from kcompile.errors import ParseError
        from kcompile.ir import dtype

        if name.startswith("mixed_"):
            compute = name.removeprefix("mixed_")
            if compute in ("float16", "bfloat16"):
                return compute, "float32"
        try:
            known = dtype(name).keras
        except ParseError as error:
            raise ValueError(
                f"Cannot convert '{name}' to a mixed precision DTypePolicy. Valid policies include 'mixed_float16', "
                "'mixed_bfloat16', and the name of any float dtype such as 'float32'."
            ) from error
        return known, known

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


def get(identifier: Any) -> DTypePolicy:
    """The policy for None (the global one), a name, a dtype, a config or a policy."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return DTypePolicy(**identifier.get("config", identifier))
    return DTypePolicy(identifier if isinstance(identifier, str) else str(getattr(identifier, "name", identifier)))


def dtype_policy() -> DTypePolicy:
    """The policy that layers get unless told otherwise."""
    return _GLOBAL[0] or DTypePolicy(config.floatx())


def set_dtype_policy(policy: Any) -> None:
    """Make ``policy`` the one that new layers get; None goes back to floatx."""
    _GLOBAL[0] = None if policy is None else get(policy)

"""`keras.dtype_policies`: finding policies, and policies by layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Any

from kcompile.keras.config import dtype_policy, set_dtype_policy
from kcompile.keras.policy import DTypePolicy, as_policy
from kcompile.keras.saving.serialization import serialize_keras_object

FloatDTypePolicy = DTypePolicy

__all__ = ["DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "deserialize", "dtype_policy", "get", "serialize",
           "set_dtype_policy"]  # fmt: skip


class DTypePolicyMap(DTypePolicy, MutableMapping[str, DTypePolicy]):
    """Policies by layer: a key is a layer's path or a regular expression that matches the whole of it.

    Layers that no key matches get ``default_policy`` (the global one unless given). Raises ValueError where
    several keys match one path.
    """

    def __init__(self, default_policy: Any = None, policy_map: dict[str, Any] | None = None):
        self._given = None if default_policy is None else as_policy(default_policy)
        self._policies = {k: as_policy(v) for k, v in (policy_map or {}).items()}

    @property
    def default_policy(self) -> DTypePolicy:
        return self._given or dtype_policy()

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"map_{self.default_policy.name}"

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        return self.default_policy.variable_dtype

    def __getitem__(self, key: str) -> DTypePolicy:
        if key in self._policies:
            return self._policies[key]
        found = [k for k in self._policies if re.fullmatch(k, key)]
        if len(found) > 1:
            raise ValueError(f"Path '{key}' matches multiple dtype policies: {', '.join(found)}")
        return self._policies[found[0]] if found else self.default_policy

    def __setitem__(self, key: str, policy: Any) -> None:
        if key in self._policies:
            raise ValueError(f"{key} already exists in the DTypePolicyMap with value {self._policies[key]}")
        self._policies[key] = as_policy(policy)

    def __delitem__(self, key: str) -> None:
        del self._policies[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicyMap) and ((self._given, self._policies) == (other._given, other._policies))

    def __hash__(self) -> int:
        return hash(("map", *self._policies))

    def get_config(self) -> dict[str, Any]:
        policies = {k: serialize_keras_object(v) for k, v in self._policies.items()}
        default = None if self._given is None else self._given.name
        return {"default_policy": default, "policy_map": policies}


def get(identifier: Any) -> DTypePolicy:
    """The policy for None (the global one), a name, a dtype, a config or a policy."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, dict) and identifier.get("class_name") == "DTypePolicyMap":
        return DTypePolicyMap.from_config(identifier["config"])
    return as_policy(identifier)


def serialize(dtype_policy: DTypePolicy) -> dict[str, Any]:
    """A policy's config."""
    return serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> DTypePolicy:
    """The policy of a config."""
    return get(config)

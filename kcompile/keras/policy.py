"""`DTypePolicy`: in which dtype a layer keeps its variables and in which it computes."""

from __future__ import annotations

from typing import Any

from kcompile.errors import ParseError, UnsupportedError, printable
from kcompile.ir import dtype

# Keras's policies of weights that are stored in fewer bits.
QUANTIZED = ("int8", "int4", "float8", "gptq", "awq")


class DTypePolicy:
    """``float32``, ``mixed_float16`` (variables float32, computation float16), ``mixed_bfloat16``, ...

    Raises UnsupportedError for a quantized policy, by its name.
    """

    def __init__(self, name: str):
        if not isinstance(name, str):
            raise TypeError(f"'name' must be a string, such as 'mixed_float16'. Received: name={name}")
        self.name = name
        self.compute_dtype, self.variable_dtype = self._parse(name)

    @staticmethod
    def _parse(name: str) -> tuple[str, str]:
        if name.startswith("mixed_"):
            compute = name.removeprefix("mixed_")
            if compute in ("float16", "bfloat16"):
                return compute, "float32"
        if "_from_" in name and name.startswith(QUANTIZED):
            raise UnsupportedError(
                f"the dtype policy {printable(name)!r} is quantized, which kcompile doesn't have; train in a float "
                "policy and quantize the exported ONNX file with ONNX Runtime's tools"
            )
        try:
            known = dtype(name).keras
        except ParseError as error:
            raise ValueError(
                f"Cannot convert '{name}' to a mixed precision DTypePolicy. Valid policies include 'mixed_float16', "
                "'mixed_bfloat16', and the name of any float dtype such as 'float32'."
            ) from error
        return known, known

    @property
    def quantization_mode(self) -> None:
        """None: no policy here is quantized."""
        return None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


def as_policy(identifier: Any) -> DTypePolicy:
    """The policy for a name, a dtype, a config or a policy."""
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        inner = identifier.get("config", identifier)
        if str(identifier.get("class_name", "")).startswith(("Quantized", "GPTQ", "AWQ", "Int4")):
            raise UnsupportedError(
                f"the dtype policy {printable(identifier['class_name'])} is quantized, which kcompile doesn't have"
            )
        return DTypePolicy(inner["name"])
    return DTypePolicy(identifier if isinstance(identifier, str) else str(getattr(identifier, "name", identifier)))

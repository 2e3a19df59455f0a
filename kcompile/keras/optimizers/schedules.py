"""Learning-rate schedules: the rate as a function of the step."""

from __future__ import annotations

from typing import Any


class LearningRateSchedule:
    """Called with the step (a tensor), gives the rate."""

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__(self, step)`")

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must implement `get_config`")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

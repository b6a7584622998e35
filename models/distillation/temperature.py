"""The temperature that softens teacher and student before they are compared."""

from __future__ import annotations


class FixedTemperature:
    """One temperature for teacher and student throughout (Hinton et al. 2015).

    Args:
        value: the temperature, above 0.

    Raises:
        ValueError: ``value`` is not above 0.
    """

    def __init__(self, value: float) -> None:
        if not value > 0.0:
            raise ValueError(f"a temperature must be above 0 (got {value})")
        self.value = value

    def __call__(self, progress: float) -> float:
        """Return the temperature at ``progress`` (0 at the first update, 1 after the last)."""
        return self.value

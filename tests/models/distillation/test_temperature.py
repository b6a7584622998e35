from __future__ import annotations

import pytest

from models.distillation.temperature import FixedTemperature


def test_is_the_same_throughout() -> None:
    temperature = FixedTemperature(4.0)

    assert [temperature(progress) for progress in (0.0, 0.5, 1.0)] == [4.0, 4.0, 4.0]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_impossible_temperature_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a temperature must be above 0"):
        FixedTemperature(value)

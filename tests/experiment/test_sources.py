"""The sections on other speech and on what learned from it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchestrator.experiment.sources import Strings


def test_strings_of_three_seconds_by_default() -> None:
    section = Strings()

    assert (section.seconds, section.pause_seconds) == (3.0, (0.1, 0.4))
    assert (section.passes, section.seed) == (4, 0)


@pytest.mark.parametrize("pauses", [[0, 0], [0.2, 0.2], ["1e-1", 2]])
def test_pauses_in_order_are_taken(pauses: list[object]) -> None:
    low, high = Strings.model_validate({"pause_seconds": pauses}).pause_seconds

    assert low <= high


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pause_seconds": [0.4, 0.1]}, "shortest pause, 0.4 s, is longer than the longest, 0.1 s"),
        ({"pause_seconds": [-0.1, 0.1]}, "greater than or equal to 0"),
        ({"pause_seconds": [0.1]}, "pause_seconds"),
        ({"pause_seconds": [0.1, float("inf")]}, "finite"),
        ({"seconds": 0}, "greater than 0"),
        ({"passes": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"second": 3}, "second"),
    ],
)
def test_what_makes_no_strings_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Strings.model_validate(given)

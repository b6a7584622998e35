"""The hours of a search, over several sittings."""

from __future__ import annotations

import optuna
import pytest

from orchestrator.sweep import budget as budget_module
from orchestrator.sweep.budget import Budget, seconds_used


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module, "time", clock)
    return clock


def test_hours_count_from_the_start_and_go_on_in_the_next_sitting(clock: Clock) -> None:
    study = optuna.create_study()
    budget = Budget(1.0, [study])
    clock.now += 5000  # reading corpora, starting Ray
    assert (budget.seconds, budget.spent) == (0.0, False)

    budget.start()
    clock.now += 600
    budget.note(study)
    clock.now += 900
    budget.note(study)
    clock.now += 60  # a trial that was killed before it ended

    assert (budget.seconds, budget.spent) == (1560.0, False)
    assert seconds_used(study) == 1500.0

    again = Budget(1.0, [study])
    again.start()
    clock.now += 2099
    assert not again.spent
    clock.now += 1
    assert again.spent


def test_searches_that_share_a_budget_count_together(clock: Clock) -> None:
    studies = [optuna.create_study() for _ in range(2)]
    budget = Budget(None, studies)
    budget.start()
    for study in studies:
        clock.now += 30
        budget.note(study)

    assert [seconds_used(study) for study in studies] == [30.0, 30.0]
    assert Budget(1.0, studies).seconds == 60.0
    assert not Budget(None, studies).spent

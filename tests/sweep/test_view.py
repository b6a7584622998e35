"""What a sampler sees where scores are relative to one another."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.sweep.view import renormalised_view


def test_all_complete_trials_are_ranked_among_one_another_as_they_now_stand() -> None:
    study = optuna.create_study(direction="maximize")
    for told, score in ((1.0, 0.3), (1.0, 0.5), (0.5, 0.4)):
        study.add_trial(
            create_trial(
                value=told,
                params={"x": score},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                user_attrs={"folds": {"c/a": score, "d/a": score}},
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL))

    shown = renormalised_view("rank")(study)

    # when each ended it led, or had one before it
    assert [trial.value for trial in study.trials] == [1.0, 1.0, 0.5, None]
    assert [trial.value for trial in shown.trials] == [0.0, 1.0, 0.5, None]
    assert [trial.params for trial in shown.trials[:3]] == [{"x": 0.3}, {"x": 0.5}, {"x": 0.4}]
    assert [trial.number for trial in shown.trials] == [0, 1, 2, 3]

"""The Pareto front: by hand, with ties, and against every pair compared."""

from __future__ import annotations

import itertools

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from orchestrator.sweep.front import front_of, undominated

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1.0, 1.0)], [0]),
        # worse in one and no better in the other
        ([(1.0, 2.0), (1.0, 1.0), (0.5, 3.0)], [1, 2]),
        # equals stay together, and go together
        ([(1.0, 1.0), (1.0, 1.0)], [0, 1]),
        ([(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)], [1]),
        # of one number only the least
        ([(3.0,), (1.0,), (2.0,), (1.0,)], [1, 3]),
        ([(0.0, 2.0), (1.0, 1.0), (2.0, 0.0)], [0, 1, 2]),
        ([(float("inf"), 0.0), (1.0, 0.0)], [1]),
    ],
)
def test_small_fronts_are_those_worked_out_by_hand(
    points: list[tuple[float, ...]], front: list[int]
) -> None:
    assert undominated(points) == front


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_a_front_is_what_no_pair_rules_out(objectives: int) -> None:
    random = np.random.default_rng(objectives)
    for _ in range(30):
        # few values, so that there are many ties
        points = random.integers(0, 6, size=(40, objectives)).astype(float)

        beaten = {
            one
            for one, other in itertools.permutations(range(len(points)), 2)
            if (points[other] <= points[one]).all() and (points[other] < points[one]).any()
        }

        front = undominated([tuple(point) for point in points])
        assert front == [place for place in range(len(points)) if place not in beaten]


def test_of_a_study_only_complete_trials_count() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for state, values in [
        (TrialState.COMPLETE, [0.7, 100.0]),
        (TrialState.COMPLETE, [0.6, 100.0]),
        (TrialState.PRUNED, None),
        (TrialState.FAIL, None),
        (TrialState.COMPLETE, [0.8, 300.0]),
        (TrialState.COMPLETE, [0.5, 20.0]),
    ]:
        study.add_trial(create_trial(state=state, values=values))
    study.ask()

    trials = study.get_trials()

    told = {t.number: t.values[0] for t in trials if t.state == TrialState.COMPLETE}
    # in the order of numbers, whatever the order of what is given
    front = front_of(trials[::-1], DIRECTIONS, scores=told)
    assert [trial.number for trial in front] == [0, 4, 5]
    # where scores are relative they are those of now: the first is now beaten by the second
    front = front_of(trials, DIRECTIONS, scores=told | {0: 0.1, 1: 0.65})
    assert [trial.number for trial in front] == [1, 4, 5]


def test_a_front_is_optunas() -> None:
    random = np.random.default_rng(7)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for values in random.integers(0, 5, size=(60, 3)).astype(float):
        study.add_trial(create_trial(values=list(values)))

    trials = study.get_trials()
    ours = front_of(trials, study.directions, scores={t.number: t.values[0] for t in trials})

    assert [t.number for t in ours] == sorted(t.number for t in study.best_trials)

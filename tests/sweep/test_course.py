"""What a trial's fold runs went through, in one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.evaluation.metrics import scores
from orchestrator.sweep.course import Course, mean_curves, read_course


def outcome(labels: list[int], predictions: list[int], *rows: dict[str, float]) -> Any:
    return SimpleNamespace(validation=scores(labels, predictions, 2), history=rows)


def task(corpus: str) -> Any:
    return SimpleNamespace(corpus=corpus, emotions=("anger", "joy"))


def test_curves_are_means_over_fold_runs_epoch_by_epoch() -> None:
    one = [{"loss": 2.0, "score": 0.5}, {"loss": 1.0, "score": 0.7}]
    other = [{"loss": 4.0, "score": 0.1}, {"loss": 2.0, "score": 0.3}]

    assert mean_curves([one, other]) == [
        {"loss": 3.0, "score": pytest.approx(0.3)},
        {"loss": 1.5, "score": pytest.approx(0.5)},
    ]


@pytest.mark.parametrize(
    ("histories", "expected"),
    [
        ([], []),
        ([[]], []),
        # one ended early: the mean over the other alone would be of another fold
        ([[{"loss": 2.0}, {"loss": 1.0}], [{"loss": 4.0}]], [{"loss": 3.0}]),
        # a value that not all have
        ([[{"loss": 2.0, "share": 1.0}], [{"loss": 4.0}]], [{"loss": 3.0}]),
    ],
)
def test_curves_of_fold_runs_that_are_not_alike(
    histories: list[Any], expected: list[dict[str, float]]
) -> None:
    assert mean_curves(histories) == expected


def test_confusions_are_added_up_by_corpus() -> None:
    course = Course()
    course.add(task("one"), outcome([0, 0, 1], [0, 1, 1], {"loss": 1.0}))
    course.add(task("one"), outcome([0, 1], [0, 0], {"loss": 3.0}))
    course.add(task("two"), outcome([1], [1], {"loss": 2.0}))

    assert json.loads(course.told()) == {
        "curves": [{"loss": 2.0}],
        "confusions": {
            "one": {"emotions": ["anger", "joy"], "counts": [[2, 1], [1, 1]]},
            "two": {"emotions": ["anger", "joy"], "counts": [[0, 0], [0, 1]]},
        },
    }


def test_of_a_trial_that_ran_no_fold_there_is_nothing() -> None:
    assert read_course("") == {"curves": [], "confusions": {}}

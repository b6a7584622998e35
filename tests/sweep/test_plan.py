"""What a plan says of a sweep: how far it is, what the pruner can do, what the file changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.experiment import Experiment
from orchestrator.plan import plan
from orchestrator.preparation import Prepared, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.budget import SECONDS
from orchestrator.sweep.plan import SearchPlan
from orchestrator.sweep.storage import study_names
from orchestrator.sweep.study import open_study
from tests import small

FOLDS = ("synthetic/session=1", "synthetic/session=2", "synthetic/session=3")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, ...]:
    experiment = small.load(tmp_path_factory.mktemp("corpora"))
    return read_corpora(experiment, Store(experiment.store))


def load(folder: Path, *overrides: str) -> Experiment:
    """With a study that is made in a moment."""
    return small.load(folder, f"search.storage=journal:{folder}/study.log", *overrides)


def planned(folder: Path, *overrides: str) -> SearchPlan:
    found = plan(load(folder, *overrides)).search
    assert found is not None
    return found


def trial(state: str, folds: int, **attributes: Any) -> optuna.trial.FrozenTrial:
    complete = state == "COMPLETE"
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=0.5 if complete else None,
        user_attrs={"folds": dict.fromkeys(FOLDS[:folds], 0.5)} | attributes,
    )


def begun(experiment: Experiment, prepared: tuple[Prepared, ...]) -> None:
    """A study of one trial in each state, which took an hour and a half."""
    study = open_study(experiment, Store(experiment.store), prepared)
    for one in (
        trial("COMPLETE", 3),
        trial("PRUNED", 2),
        trial("PRUNED", 0),
        trial("FAIL", 1),
        trial("RUNNING", 1),
    ):
        study.add_trial(one)
    study.set_user_attr(SECONDS, 5400.0)


def test_a_sweep_that_has_not_begun_has_all_before_it(tmp_path: Path) -> None:
    found = planned(tmp_path)

    assert (found.trials, found.ended, found.left, found.standing.states) == (3, 0, 3, {})
    assert (found.fold_runs, found.fewest_fold_runs) == (9, 9)
    assert found.standing.hours == 0.0
    assert not (tmp_path / "study.log").exists()


def test_a_sweep_that_goes_on_has_the_rest_before_it(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    begun(load(tmp_path), prepared)

    found = planned(tmp_path, "search.trials=10", "search.max_hours=4")

    assert found.standing.states == {
        "complete": 1,
        "pruned": 1,
        "infeasible": 1,
        "failed": 1,
        "running": 1,
    }
    assert (found.ended, found.left) == (4, 6)
    assert (found.standing.hours, found.max_hours) == (1.5, 4.0)
    assert (found.standing.extends, found.standing.fold_runs) == ((), 3 + 2 + 1 + 1)
    assert (found.fold_runs, found.fewest_fold_runs) == (30, 18)


def test_more_seeds_begin_the_same_trials_anew(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    begun(load(tmp_path), prepared)

    found = planned(tmp_path, "search.trials=10", "search.seeds=[0, 1]")

    (more,) = found.standing.extends
    assert "search.seeds was [0] and is [0, 1]" in more
    assert found.standing.fold_runs == 7
    assert (found.ended, found.left, found.fold_runs) == (0, 10, 60)
    # looked at, and not made
    assert study_names(f"journal:{tmp_path}/study.log") == ("small",)


@pytest.mark.parametrize(
    ("pruner", "looks", "needed", "fewest"),
    [
        ("{kind: none}", (), None, 2 * 40 * 3),
        # 2^-2 is no small enough p-value: three folds are too few
        ("{kind: wilcoxon}", (), 5, 2 * 40 * 3),
        ("{kind: halving}", (2,), 3, 2 * 40 * 2),
        ("{kind: race}", (1, 2), 2, 2 * (3 + 39)),
        ("{kind: median, after: 10}", (2,), 3, 2 * (10 * 3 + 30 * 2)),
    ],
)
def test_what_a_pruner_can_do_on_the_folds_is_bounded(
    tmp_path: Path, pruner: str, looks: tuple[int, ...], needed: int | None, fewest: int
) -> None:
    found = planned(tmp_path, f"search.pruner={pruner}", "search.trials=40", "search.seeds=[0, 1]")

    assert (found.pruner.looks, found.pruner.folds_needed) == (looks, needed)
    assert (found.fewest_fold_runs, found.fold_runs) == (fewest, 240)


def test_trials_beyond_a_constraint_leave_no_lower_bound(tmp_path: Path) -> None:
    depths = "search.parameters={recipe.student.depth: [1, 4]}"

    found = planned(tmp_path, depths, "search.constraints={macs: 15000}")
    all_within = planned(tmp_path, depths, "search.constraints={macs: 1e9}")

    assert found.within is not None
    assert 0.0 < found.within.share < 1.0
    assert found.fewest_fold_runs is None
    assert all_within.fewest_fold_runs == 9


def test_a_grid_has_as_many_trials_as_points(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        "search.space=null",
        "search.parameters={recipe.student.depth: [1, 2], recipe.training.epochs: [1, 2, 3]}",
        "search.sampler=grid",
        "search.trials=40",
    )

    assert (found.size, found.trials, found.left, found.fold_runs) == (6, 6, 6, 18)
    assert found.space is None
    assert found.added == ("recipe.student.depth", "recipe.training.epochs")


def test_parameters_that_the_file_changed_are_told_apart(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        "search.parameters={listens: both, recipe.student.depth: [1, 2]}",
        "search.start=[{recipe.student.depth: 2}]",
    )

    assert (found.changed, found.added) == (("listens",), ("recipe.student.depth",))
    assert {one.name: one.range for one in found.parameters}["listens"] == "fixed at both"
    assert found.start == 1


def test_some_folds_may_be_searched_on(tmp_path: Path) -> None:
    found = planned(tmp_path, "search.folds=[session=2]")

    assert found.searched == ("session=2",)
    assert found.fold_runs == 3


def test_where_a_study_lies_is_told_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sweep.plan.study_exists", lambda *_: False)

    monkeypatch.setenv("STUDY", "postgresql://me:secret@host/db")
    found = plan(small.load(tmp_path, "search.storage=${STUDY}")).search

    assert found is not None
    assert "secret" not in found.storage
    assert "host/db" in found.storage

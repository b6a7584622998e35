"""The searches inside folds, through Ray, and the evaluation that takes their choices."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.evaluation.evaluate import run_evaluation
from orchestrator.sweep.nested import nested_of
from orchestrator.sweep.sweep import run_nested
from tests import small

PLACES = [f"synthetic/session={number}" for number in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "without_pictures")
def test_each_fold_has_a_search_of_its_own_and_takes_its_best(
    tmp_path: Path, tracking_database: Path
) -> None:
    experiment = small.load(
        tmp_path,
        "recipe.teacher=null",
        "recipe.objectives.distillation=0",
        "recipe.training.epochs=1",
        "search.space=null",
        "search.parameters.recipe.training.lr={low: 1e-4, high: 1e-2, log: true}",
        "evaluate.selection=nested",
        "evaluate.nested={inner_folds: 2, trials: 2}",
        database=tracking_database,
    )
    console = Console(file=io.StringIO(), width=200)

    outcome = run_nested(experiment, console=console)

    assert outcome.finished
    assert list(outcome.searches) == PLACES
    assert [one.summary.complete for one in outcome.searches.values()] == [2, 2, 2]
    # three folds, two trials, two inner folds
    assert outcome.searches[PLACES[0]].computed == 12

    chosen = nested_of(experiment, outcome.studies)
    result = run_evaluation(chosen, console=console).result

    assert result["selection"] == "nested"
    rates = {
        place: choice["overrides"]["recipe.training.lr"]
        for place, choice in result["selected"]["choices"].items()
    }
    assert rates == {
        place: one.summary.best_overrides["recipe.training.lr"]
        for place, one in outcome.searches.items()
    }
    assert len(result["rows"]) == 3
    names = [run.info.run_name for run in small.runs(tmp_path)]
    assert sum(name.startswith("search inside") for name in names) == 3
    # the same command again computes nothing
    again = run_nested(experiment, console=console)
    assert again.searches[PLACES[0]].computed == 0
    assert nested_of(experiment, again.studies) == chosen

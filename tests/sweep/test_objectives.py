"""Sweeps with several objectives, and with a constraint, through Ray."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.evaluation.report import markdown
from orchestrator.evaluation.stored import stored_sweep
from orchestrator.evaluation.sweep_plots import plot_sweep
from orchestrator.store import Store
from orchestrator.sweep.outcome import SweepOutcome
from orchestrator.sweep.study import load_study
from orchestrator.sweep.sweep import run_sweep
from tests import small

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster", "without_pictures")]

GRID = (
    "recipe.teacher=null",
    "recipe.objectives.distillation=0",
    "recipe.training.epochs=1",
    "search.space=null",
    "search.sampler=grid",
    "search.parameters.recipe.student.dim=[8, 16, 32]",
)


def swept(folder: Path, database: Path, *overrides: str) -> SweepOutcome:
    experiment = small.load(folder, *GRID, *overrides, database=database)
    return run_sweep(experiment, console=Console(file=io.StringIO(), width=200))


@pytest.fixture(scope="module")
def against_macs(
    ray_cluster: None,
    without_pictures: None,
    tmp_path_factory: pytest.TempPathFactory,
    tracking_database: Path,
) -> tuple[Path, SweepOutcome]:
    """A sweep of the three points, and its folder."""
    folder = tmp_path_factory.mktemp("against-macs")
    return folder, swept(folder, tracking_database, "search.minimise=[macs]")


def test_a_score_against_macs_gives_a_front_a_table_and_a_plot(
    against_macs: tuple[Path, SweepOutcome], tmp_path: Path
) -> None:
    folder, outcome = against_macs

    # the grid has three points, whatever the number of trials that is asked for
    assert (outcome.summary.complete, outcome.summary.planned) == (3, 3)
    experiment = small.load(folder, *GRID, "search.minimise=[macs]")
    study = load_study(experiment, Store(experiment.store), name="small")
    points = {trial.number: tuple(trial.values) for trial in study.trials}
    assert len({macs for _, macs in points.values()}) == 3
    front = {
        number
        for number, (score, macs) in points.items()
        if not any(s >= score and m <= macs and (s, m) != (score, macs) for s, m in points.values())
    }
    assert set(outcome.summary.front) == front
    assert outcome.summary.best_number is None

    searched = stored_sweep(experiment)
    assert searched is not None
    text = markdown(None, searched)
    for number in front:
        assert f"| {number} |" in text
    written = plot_sweep(searched, tmp_path / "plots")
    assert any("front" in path.name for path in written)


def test_students_beyond_a_constraint_are_not_run(
    against_macs: tuple[Path, SweepOutcome], tmp_path: Path, tracking_database: Path
) -> None:
    sizes = sorted(trial["parameters"] for trial in against_macs[1].summary.trials)
    limit = f"search.constraints.parameters={sizes[1]}"

    outcome = swept(tmp_path, tracking_database, limit)

    assert (outcome.summary.complete, outcome.summary.infeasible) == (2, 1)
    assert outcome.computed == 6
    (beyond,) = (t for t in outcome.summary.trials if t["state"] == "infeasible")
    assert beyond["parameters"] == sizes[2]
    assert beyond["reason"] == (
        f"not run: parameters {sizes[2]:,} is above search.constraints.parameters {sizes[1]:,}"
    )
    assert all(
        trial["parameters"] <= sizes[1]
        for trial in outcome.summary.trials
        if trial["state"] == "complete"
    )
    statuses = {run.info.run_name: run.info.status for run in small.runs(tmp_path)}
    assert statuses[f"trial {beyond['number']}"] == "KILLED"

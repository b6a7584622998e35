"""A sweep in which one trial's third fold fails and another's score is no number."""

from __future__ import annotations

import dataclasses
import functools
import io
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.evaluation.report import markdown, render
from orchestrator.evaluation.stored import stored_sweep
from orchestrator.recorded import recorded_run
from orchestrator.store import Store
from orchestrator.sweep.choosing import best_of
from orchestrator.sweep.study import load_study
from orchestrator.sweep.sweep import run_sweep
from orchestrator.sweep.trial import TrialContext
from orchestrator.tracking.tree import RunTree
from orchestrator.training.state import derived_seed
from tests import small

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster", "without_pictures")]

REASON = "RuntimeError: the third one is broken"


def order(number: int) -> list[str]:
    """The folds of a trial as it runs them."""
    places = [f"synthetic/session={session}" for session in (1, 2, 3)]
    random.Random(derived_seed("fold-order", "small", number)).shuffle(places)
    return places


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failures")


@pytest.fixture(scope="module")
def said(folder: Path, tracking_database: Path, ray_cluster: None, without_pictures: None) -> str:
    """What the sweep of four trials printed."""
    experiment = small.load(folder, "search.trials=4", database=tracking_database)
    tree = RunTree(Store(experiment.store), "small", "sweep")
    fails, is_nan = (tree.key(1), order(1)[2]), (tree.key(2), order(2)[2])

    def faulty(task: Any, **keywords: Any) -> Any:
        place = keywords["parent"], f"{task.corpus}/{task.fold}"
        if place == fails:
            raise RuntimeError("the third one is broken")
        outcome = recorded_run(task, **keywords)
        if place == is_nan:
            scores = dataclasses.replace(outcome.validation, macro_recall=float("nan"))
            outcome = dataclasses.replace(outcome, validation=scores)
        return outcome

    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "orchestrator.sweep.sweep.TrialContext", functools.partial(TrialContext, run=faulty)
        )
        outcome = run_sweep(experiment, console=Console(file=screen, width=200))
    assert outcome.finished
    assert (outcome.summary.complete, outcome.summary.failed) == (2, 2)
    assert outcome.summary.running == 0
    return screen.getvalue()


def test_both_are_said_at_once_and_the_searcher_goes_on(said: str) -> None:
    assert f"failed: trial 1: {order(1)[2]}: {REASON}" in said
    assert f"failed: trial 2: {order(2)[2]}: the score is nan" in said
    assert "trials: 4 of 4" in said


def test_optuna_holds_them_as_failed_without_a_value(folder: Path, said: str) -> None:
    experiment = small.load(folder)
    study = load_study(experiment, Store(experiment.store), name="small")

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert [trial.value for trial in study.trials[1:3]] == [None, None]
    assert [trial.user_attrs["reason"] for trial in study.trials[1:3]] == [
        f"{order(1)[2]}: {REASON}",
        f"{order(2)[2]}: the score is nan",
    ]
    # the two folds that it had run are known, and averaged by nobody
    assert set(study.trials[1].user_attrs["folds"]) == set(order(1)[:2])
    assert best_of(experiment, name="small").selected is not None


def test_mlflow_holds_them_as_failed_with_the_reason(folder: Path, said: str) -> None:
    trials = {
        run.info.run_name: run
        for run in small.runs(folder)
        if run.data.tags["understudy.kind"] == "trial"
    }

    assert {name: run.info.status for name, run in trials.items()} == {
        "trial 0": "FINISHED",
        "trial 1": "FAILED",
        "trial 2": "FAILED",
        "trial 3": "FINISHED",
    }
    assert trials["trial 1"].data.tags["understudy.reason"] == f"{order(1)[2]}: {REASON}"
    assert "the score is nan" in trials["trial 2"].data.tags["understudy.reason"]
    assert "validation/macro_recall" in trials["trial 0"].data.metrics
    for name in ("trial 1", "trial 2"):
        assert not any(metric.startswith("validation") for metric in trials[name].data.metrics)


def test_the_report_shows_them_as_failed(folder: Path, said: str) -> None:
    searched = stored_sweep(small.load(folder))
    assert searched is not None
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    for part in render(None, searched):
        console.print(part)

    for text in (screen.getvalue(), markdown(None, searched)):
        assert "2 failed" in text
        assert REASON in text
        assert "the score is nan" in text

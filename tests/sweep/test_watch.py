"""What the progress display and the journals are told of trials."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from orchestrator.progress import Progress
from orchestrator.store import Store
from orchestrator.sweep.searcher import Proposed
from orchestrator.sweep.watch import Watch
from orchestrator.tracking.journal import Event, read_segment
from orchestrator.tracking.tree import RunTree
from tests.sweep.test_searcher import run_of

FOLDS = {"c/a": 0.5, "c/b": 0.6, "c/d": 0.7}


class Home:
    """A watch, and what it wrote."""

    def __init__(self, folder: Path, **search: Any) -> None:
        self.run = run_of(optuna.create_study(direction="maximize"), **search)
        self.screen = io.StringIO()
        self.progress = Progress("sweep x", Console(file=self.screen, width=200))
        self.tree = RunTree(Store(folder), "x", "sweep")
        self.top = self.tree.journal()
        self.watch = Watch(
            self.progress,
            self.tree,
            self.run.space.search,
            above={"": self.top},
            tags={"understudy.version": "1"},
        )

    def trial(self, folds: dict[str, float] | None = None) -> Proposed:
        found = Proposed(self.run, self.run.next_trial(), {"recipe.training.lr": 0.1})
        found.folds = FOLDS if folds is None else folds
        found.facts = {"macs": 2000, "parameters": 950, "seconds": 12.5}
        self.watch.began(found)
        return found

    def ended(self, value: float, folds: dict[str, float] | None = None) -> None:
        trial = self.trial(folds)
        self.watch.ended(trial, TrialState.COMPLETE, reason="", values=[value])

    def events(self, number: int) -> list[Event]:
        return self.events_of(number)

    def events_of(self, *place: int) -> list[Event]:
        self.watch.flush()
        names = [
            name
            for name in self.tree.store.list(f"{self.tree.prefix}/{self.tree.key(*place)}")
            if name.endswith(".jsonl")
        ]
        return [event for name in names for event in read_segment(self.tree.store.read_bytes(name))]


def test_a_complete_trial_has_its_aggregates_in_its_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ended(0.6)

    start, metrics, end = home.events(0)
    assert (start["name"], start["parent"]) == ("trial 0", home.tree.key())
    assert start["tags"]["understudy.version"] == "1"
    # t(0.975, 2) = 4.303; std 0.1; over the root of three folds: 0.2484
    assert metrics["values"] == {
        "macs": 2000.0,
        "parameters": 950.0,
        "seconds": 12.5,
        "validation/macro_recall": pytest.approx(0.6),
        "validation/macro_recall_n": 3.0,
        "validation/macro_recall_std": pytest.approx(0.1),
        "validation/macro_recall_low": pytest.approx(0.6 - 0.2484, abs=1e-4),
        "validation/macro_recall_high": pytest.approx(0.6 + 0.2484, abs=1e-4),
    }
    assert (end["status"], end["reason"]) == ("FINISHED", "")


def test_a_trial_has_the_mean_curves_and_the_confusion_of_its_fold_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    trial = home.trial()
    curves = [{"train/total": 2.0}, {"train/total": 1.0}]
    trial.course = json.dumps(
        {
            "curves": curves,
            "confusions": {"c": {"emotions": ["anger", "joy"], "counts": [[3, 1], [0, 2]]}},
        }
    )

    home.watch.ended(trial, TrialState.COMPLETE, reason="", values=[0.6])

    _, first, second, picture, _, _ = home.events(0)
    assert (first["step"], first["values"]) == (1, {"curve/train/total": 2.0})
    assert (second["step"], second["values"]) == (2, {"curve/train/total": 1.0})
    assert picture["name"] == "validation/c-confusion.csv"


def test_the_sweeps_run_has_the_course_of_the_search(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for value in (0.5, 0.7, 0.6):
        home.ended(value)
    home.top.flush()

    told = [(event["step"], event["values"]) for event in home.events_of()]
    assert told == [
        (0, {"search/score": 0.5, "search/best": 0.5}),
        (1, {"search/score": 0.7, "search/best": 0.7}),
        (2, {"search/score": 0.6, "search/best": 0.7}),
    ]


def test_a_rank_is_not_called_by_the_metrics_name(tmp_path: Path) -> None:
    home = Home(tmp_path, aggregate="rank")
    home.ended(1.0)

    values = home.events(0)[1]["values"]
    assert values["validation/macro_recall"] == pytest.approx(0.6)
    assert values["score/rank"] == 1.0
    # whoever leads by rank is only known at the end
    assert home.progress.best == ""
    assert home.events_of() == []


def test_the_best_is_the_highest_so_far(tmp_path: Path) -> None:
    home = Home(tmp_path)
    seen = []
    for value in (0.5, 0.7, 0.6):
        home.ended(value)
        seen.append(home.progress.best)

    assert seen == [
        "macro_recall 50.0 (trial 0, validation)",
        "macro_recall 70.0 (trial 1, validation)",
        "macro_recall 70.0 (trial 1, validation)",
    ]


PARTIAL = {"partial/validation/macro_recall", "partial/validation/macro_recall_n"}


@pytest.mark.parametrize(
    ("state", "status", "measured"),
    [(TrialState.PRUNED, "KILLED", PARTIAL), (TrialState.FAIL, "FAILED", set())],
)
def test_a_trial_that_is_not_complete_has_a_reason_and_no_score(
    tmp_path: Path, state: TrialState, status: str, measured: set[str]
) -> None:
    home = Home(tmp_path)
    home.progress.enter("trials", fold_runs=3, trials=1)
    trial = home.trial({"c/a": 0.5})

    home.watch.ended(trial, state, reason="because", values=[])

    _, metrics, end = home.events(0)
    assert set(metrics["values"]) == {"macs", "parameters", "seconds"} | measured
    assert (end["status"], end["reason"]) == (status, "because")
    assert "trial 0: because" in home.screen.getvalue()
    # two folds will not be run
    assert home.progress.fold_runs == 1


def test_fold_runs_are_counted_and_notes_said(tmp_path: Path) -> None:
    home = Home(tmp_path)
    notes = json.dumps(["c/a: out of memory at update 7"])

    home.watch.ran(home.trial(), ["c/a"], {"computed": 1, "reused": 2, "notes": notes})

    assert (home.watch.computed, home.watch.reused) == (1, 2)
    assert (home.progress.computed, home.progress.reused) == (1, 2)
    assert "note: trial 0, c/a: out of memory at update 7" in home.screen.getvalue()

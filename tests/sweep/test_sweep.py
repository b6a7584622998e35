"""Whole sweeps through Ray: run, run again, refused."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient
from ray import tune
from rich.console import Console

from orchestrator.errors import ExperimentError
from orchestrator.sweep.choosing import best_of
from orchestrator.sweep.outcome import SweepOutcome
from orchestrator.sweep.sweep import run_sweep
from tests import small

FOLDS = ("session=1", "session=2", "session=3")
TOP = "sweep small"
TREE = sorted(
    [
        (TOP,),
        *((TOP, f"trial {trial}") for trial in range(3)),
        *(
            (TOP, f"trial {trial}", f"synthetic {fold} seed 0")
            for trial in range(3)
            for fold in FOLDS
        ),
    ]
)
"""A sweep of three trials: each run as the names from the top run down to it."""


def assert_tree_is_whole(folder: Path) -> None:
    runs = small.runs(folder)
    taught = [run for run in runs if run.data.tags["understudy.kind"] == "fold run"]
    teachers = {
        run.info.run_id: run for run in runs if run.data.tags["understudy.kind"] == "teacher"
    }

    whole = small.tree(runs)
    assert [way for way in whole if not way[-1].startswith("teacher")] == TREE
    assert Counter(run.info.status for run in runs) == {"FINISHED": 22}
    # the rate is searched, and the teachers learn by it too: each trial has its own
    assert Counter(way[:-1] for way in whole if way[-1].startswith("teacher")) == {(TOP,): 9}
    links = Counter(run.data.tags["understudy.teacher"] for run in taught)
    assert links == dict.fromkeys(teachers, 1)
    for run in taught:
        teacher = teachers[run.data.tags["understudy.teacher"]]
        assert teacher.data.params["fold"] == run.data.params["fold"]
        key = "understudy.key.teacher"
        assert teacher.data.tags[key] == run.data.tags[key]


def assert_top_run_has_the_whole_search(folder: Path) -> None:
    """Aggregates, files and the registered model."""
    client = MlflowClient(f"sqlite:///{folder}/runs.db")
    runs = {run.info.run_name: run for run in small.runs(folder)}
    top, trial = runs[TOP], runs["trial 0"]
    ends = ("", "_n", "_std", "_low", "_high")
    assert {f"best/validation_macro_recall{end}" for end in ends} <= top.data.metrics.keys()
    assert {f"validation/macro_recall{end}" for end in ends} <= trial.data.metrics.keys()
    points = client.get_metric_history(top.info.run_id, "search/best")
    assert sorted(point.step for point in points) == [0, 1, 2]
    curve = client.get_metric_history(trial.info.run_id, "curve/validation/macro_recall")
    assert [point.step for point in curve] == [1, 2]
    assert {file.path for file in client.list_artifacts(top.info.run_id)} >= {
        "curves.png",
        "environment.json",
        "experiment.yaml",
        "search",
        "search_space.json",
        "search_space.py",
        "validation",
    }
    (corpus,) = top.inputs.dataset_inputs
    assert corpus.dataset.name == "synthetic"
    version = client.get_model_version_by_alias("small", "best")
    assert version.run_id in {run.info.run_id for run in runs.values()}


def swept(folder: Path, *overrides: str, database: Path | None = None) -> tuple[SweepOutcome, str]:
    """Run the sweep here; its outcome and what it printed."""
    screen = io.StringIO()
    experiment = small.load(folder, *overrides, database=database)
    return run_sweep(experiment, console=Console(file=screen, width=200)), screen.getvalue()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_run_again_computes_nothing_and_goes_on_with_more_trials(
    tmp_path: Path, tracking_database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome, said = swept(tmp_path, database=tracking_database)

    assert outcome.finished
    assert (outcome.summary.complete, outcome.summary.failed, outcome.pending) == (3, 0, 0)
    assert (outcome.computed, outcome.reused, outcome.earlier) == (9, 0, 0)
    assert "trials: 3 of 3, done: 9 of 9 (0 reused), best so far: macro_recall" in said
    for trial in outcome.summary.trials:
        folds = trial["folds"].values()
        assert len(folds) == 3
        assert trial["value"] == pytest.approx(sum(folds) / 3)
    assert_tree_is_whole(tmp_path)
    assert_top_run_has_the_whole_search(tmp_path)
    # Tune and Optuna keep quiet: the terminal belongs to the progress display
    assert "".join(capfd.readouterr()) == ""

    students = small.artifacts(tmp_path / "store", "student")
    again, _ = swept(tmp_path)

    assert again.summary == outcome.summary
    assert (again.computed, again.reused, again.earlier) == (0, 0, 9)
    assert small.artifacts(tmp_path / "store", "student") == students
    assert_tree_is_whole(tmp_path)

    more, said = swept(tmp_path, "search.trials=4")

    assert (more.computed, more.reused, more.earlier) == (3, 0, 9)
    assert more.summary.trials[:3] == outcome.summary.trials
    assert "trials: 4 of 4, done: 12 of 12 (9 earlier, 0 reused)" in said

    best = best_of(small.load(tmp_path), name="small")

    assert best.evaluate.selection == "same-corpus"
    rate = more.summary.best_overrides["recipe.training.lr"]
    assert best.recipe.training.lr == rate != small.load(tmp_path).recipe.training.lr


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "without_pictures")
def test_a_node_with_little_memory_runs_fewer_trials_at_once(
    tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # two CPUs hold two fold runs, but two thirds of the memory not twice
    (node,) = (node["Resources"] for node in ray.nodes() if node["Alive"])
    needed = int(node["memory"] / 1.5)
    said = f"import json; print(json.dumps({{'host': {needed}, 'libraries': 0}}))"
    monkeypatch.setattr("orchestrator.capacity.memory_probe.COMMAND", ("-S", "-E", "-c", said))
    asked: list[dict[str, float]] = []
    with_resources = tune.with_resources
    monkeypatch.setattr(
        "ray.tune.with_resources", lambda it, asks: asked.append(asks) or with_resources(it, asks)
    )

    outcome, printed = swept(tmp_path, "search.trials=2", database=tracking_database)

    assert outcome.finished
    assert (outcome.summary.complete, outcome.summary.failed) == (2, 0)
    assert "memory limits fold runs to 1 at once: each needs about" in printed
    assert asked == [{"CPU": 1.0, "GPU": 0.0, "memory": needed}]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search=null", "there is no search section"),
        ("search.space=distilation", "did you mean 'distillation'"),
        ("search.space=kim2025", "did you mean 'kim2024'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_ray_starts(
    tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(ExperimentError, match=said):
        swept(tmp_path, override)


def test_a_space_that_does_not_fit_the_recipe_is_refused_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"objectives\..*there is no teacher"):
        swept(tmp_path, "recipe.teacher=null", "recipe.objectives.distillation=0")


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe.source.layers": [1]},
        {"recipe.source": None, "recipe.objectives.attention_transfer": 0.0},
    ],
)
def test_a_space_that_changes_the_source_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(
        "orchestrator.sweep.space_checks.get_space", lambda name: lambda trial: changes
    )
    with pytest.raises(ExperimentError, match=r"recipe\.source cannot be searched: recognisers"):
        swept(
            tmp_path,
            "recipe.student={kind: satn}",
            "recipe.source={kind: pretrained, root: /whisper}",
            "recipe.objectives.attention_transfer=1",
        )


def test_the_best_of_a_sweep_without_a_complete_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="run `understudy sweep FILE` first"):
        best_of(small.load(tmp_path), name="small")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "without_pictures")
def test_a_trial_whose_first_fold_fails_has_failed_and_the_sweep_goes_on(
    tmp_path: Path, tracking_database: Path
) -> None:
    noise = "recipe.training.augment.noise=1e38"
    outcome, said = swept(tmp_path, "search.trials=2", noise, database=tracking_database)

    assert (outcome.summary.complete, outcome.summary.failed, outcome.pending) == (0, 2, 0)
    for trial in range(2):
        assert f"failed: trial {trial}: synthetic/session=" in said
    assert "became nan" in said or "became inf" in said
    statuses = {
        run.info.run_name: run.info.status
        for run in small.runs(tmp_path)
        if run.info.run_name.startswith("trial")
    }
    assert statuses == {"trial 0": "FAILED", "trial 1": "FAILED"}

"""Whole sweeps through Ray: run, run again, killed half-way and taken up again."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from orchestrator.errors import ExperimentError
from orchestrator.sweep.sweep import SweepOutcome, best_of, run_sweep
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

    assert small.tree(runs) == TREE
    assert Counter(run.info.status for run in runs) == {"FINISHED": 13}


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
def test_a_sweep_killed_half_way_finishes_and_computes_no_fold_run_twice(
    tmp_path: Path, tracking_database: Path
) -> None:
    long = small.TEXT.replace("epochs: 2", "epochs: 40")
    file = small.write(tmp_path, long, database=tracking_database)
    command = [sys.executable, "-m", "orchestrator.cli", "sweep", str(file), "--json"]
    store = tmp_path / "store"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as sweep:
        deadline = time.monotonic() + 120
        while len(small.artifacts(store, "student")) < 2 and time.monotonic() < deadline:
            assert sweep.poll() is None, "the sweep ended before it could be killed"
            time.sleep(0.05)
        helpers = psutil.Process(sweep.pid).children(recursive=True)
        actors = [process for process in helpers if _is_worker(process)]
        sweep.kill()
    assert actors
    # they notice a dead driver within seconds, and may finish what they are at
    deadline = time.monotonic() + 60
    while any(map(_alive, actors)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, actors))
    for process in filter(_alive, helpers):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # an agent of Ray's takes longer to notice
    before = small.artifacts(store, "student")
    assert 2 <= len(before) < 9

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert outcome["finished"]
    assert outcome["summary"]["complete"] == 3
    assert outcome["pending"] == 0
    # fold runs of trials that had ended were not even asked for again
    assert outcome["reused"] + outcome["earlier"] == len(before)
    assert outcome["computed"] == 9 - len(before)
    after = small.artifacts(store, "student")
    assert len(after) == 9
    assert {key: after[key] for key in before} == before
    assert_tree_is_whole(tmp_path)


def _is_worker(process: psutil.Process) -> bool:
    """Whether it is a worker of Ray's, at work or idle, and none of the node's agents."""
    try:
        title = process.name()
    except psutil.NoSuchProcess:
        return False
    return title.startswith("ray::") and not title.startswith(("ray::Dashboard", "ray::RuntimeEnv"))


def _alive(process: psutil.Process) -> bool:
    """Whether it can still do something; nobody may be there to reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
    monkeypatch.setattr("orchestrator.sweep.sweep.get_space", lambda name: lambda trial: changes)
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

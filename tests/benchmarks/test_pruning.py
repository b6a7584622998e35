"""The simulator of pruners: what it replays, counts and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from benchmarks.pruning import Recorded, collect, main, read_table, replay
from orchestrator.errors import InputError
from orchestrator.experiment.pruners import HalvingPruner, NoPruner, RacePruner


def recorded(*rows: list[float], seconds: float = 60.0) -> list[Recorded]:
    return [
        Recorded(
            {f"c/{fold}": score for fold, score in enumerate(row)},
            {f"c/{fold}": seconds for fold in range(len(row))},
        )
        for row in rows
    ]


def table(folder: Path, *, trials: int = 12, folds: int = 6) -> Path:
    generator = np.random.default_rng(0)
    scores = np.linspace(0.2, 0.8, trials)[:, None] + generator.normal(0, 0.02, (trials, folds))
    rows = [
        {"trial": trial, "fold": f"c/{fold}", "score": scores[trial, fold]}
        for trial in range(trials)
        for fold in range(folds)
    ]
    path = folder / "steps.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_without_pruning_everything_runs_as_wide_as_there_are_slots() -> None:
    trials = recorded([0.1, 0.2], [0.5, 0.6], [0.3, 0.4])
    orders = [["c/0", "c/1"]] * 3

    alone = replay(trials, orders, NoPruner(), slots=1)
    wide = replay(trials, orders, NoPruner(), slots=2)

    assert (alone.fold_runs, alone.seconds, alone.winner) == (6, 360.0, 1)
    # the third begins when the first two end, after two minutes
    assert (wide.fold_runs, wide.seconds, wide.winner) == (6, 240.0, 1)
    assert sorted(wide.complete) == [0, 1, 2]


def test_decisions_are_taken_with_what_had_ended_by_then() -> None:
    # the second trial is plainly worse, which can be seen once the first is complete
    good, bad = [0.9, 0.8, 0.9, 0.8], [0.1, 0.0, 0.1, 0.0]
    trials = recorded(good, bad)
    orders = [list(trials[0].folds)] * 2
    pruner = HalvingPruner(kind="halving")

    after = replay(trials, orders, pruner, slots=1)
    beside = replay(trials, orders, pruner, slots=2)

    assert (after.fold_runs, after.complete) == (6, (0,))
    assert (beside.fold_runs, beside.complete) == (8, (0, 1))


def test_a_slot_goes_to_the_next_trial_when_one_is_pruned() -> None:
    trials = recorded([0.9] * 4, [0.1] * 4, [0.8] * 4, seconds=10.0)
    orders = [list(trials[0].folds)] * 3

    done = replay(trials, orders, HalvingPruner(kind="halving"), slots=1)

    assert done.fold_runs == 4 + 2 + 2
    assert done.seconds == 80.0


def test_the_figures_of_a_table_whose_trials_differ_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(table(tmp_path)), "--orders", "3", "--json", f"{tmp_path}/p.json"]

    assert main(asked) == 0

    found = json.loads((tmp_path / "p.json").read_text())["steps"]
    assert (found["trials"], found["folds"], found["orders"]) == (12, 6, 3)
    rows = {(row["pruner"].split()[0], row["slots"]): row for row in found["rows"]}
    assert len(rows) == 10
    assert all(row["regret"] == 0.0 and row["best_pruned"] == 0.0 for row in rows.values())
    # 72 fold runs of a minute
    assert rows["none", 1]["hours"] == pytest.approx(1.2)
    assert rows["none", 4]["hours"] == pytest.approx(0.3)
    assert rows["none", 1]["saved"] == 0.0
    assert rows["race", 1]["saved"] > 40.0
    assert "| halving (keep 0.333, first 2) | 4 |" in capsys.readouterr().out


def test_a_part_of_the_table_is_judged_by_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    # the second trial is best over both folds, and in one fold the worse
    path.write_text("trial,fold,score\n0,a/1,0.5\n0,a/2,0.1\n1,a/1,0.4\n1,a/2,0.4\n")
    asked = ["--data", str(path), "--folds", "1", "--orders", "40", "--slots", "1"]
    asked += ["--pruner", '{"kind": "none"}', "--json", f"{tmp_path}/p.json"]

    assert main(asked) == 0

    (row,) = json.loads((tmp_path / "p.json").read_text())["two"]["rows"]
    # 10 points in about half of the orders
    assert 2.0 < row["regret"] < 8.0
    assert row["best_pruned"] == 0.0


def test_a_study_becomes_a_table(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = tmp_path / "s.study.db"
    study = optuna.create_study(storage=f"sqlite:///{file}", direction="maximize")
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    with pytest.raises(InputError, match="no complete trial"):
        collect(file, tmp_path / "data" / "s.csv")
    assert not (tmp_path / "data").exists()
    for rate in (0.1, 0.2):
        trial = study.ask()
        trial.suggest_float("lr", rate, rate)
        trial.set_user_attr("folds", {"c/2": rate, "c/1": 0.5})
        trial.set_user_attr("seconds", 8.0)
        study.tell(trial, rate)

    assert main(["--collect", str(file), str(tmp_path / "data" / "s.csv")]) == 0

    written = (tmp_path / "data" / "s.csv").read_text().splitlines()
    assert written[:3] == ["trial,fold,score,seconds,lr", "1,c/1,0.5,4.0,0.1", "1,c/2,0.1,4.0,0.1"]
    again = read_table(tmp_path / "data" / "s.csv")
    assert [trial.folds["c/2"] for trial in again] == [0.1, 0.2]
    assert again[0].seconds == {"c/1": 4.0, "c/2": 4.0}


def test_no_study_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no study at"):
        collect(tmp_path / "other.db", tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("trial,score\n0,0.5\n", [], "it needs trial, fold and score"),
        ("trial,fold,score\n", [], "in 0 rows"),
        ("trial,fold,score\n0,a,0.5\n0,b,0.5\n1,a,0.5\n", [], "trial 1 lacks a fold"),
        ("trial,fold,score\n0,a,0.5\n", ["--trials", "2"], "1 trials and 1 folds"),
        ("trial,fold,score\n0,a,0.5\n", ["--orders", "0"], "at least 1"),
        ("trial,fold,score\n0,a,0.5\n", ["--pruner", '{"kind": "luck"}'], "is no pruner"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, more: list[str], said: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)

    assert main(["--data", str(path), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_table_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path / "none.csv")]) == 2
    assert "cannot be read as a table" in capsys.readouterr().err


def test_one_trial_and_one_fold_are_a_sweep_too() -> None:
    done = replay(recorded([0.4]), [["c/0"]], RacePruner(kind="race"), slots=4)

    assert (done.fold_runs, done.winner, done.complete) == (1, 0, (0,))

"""What a sweep promises where there is nothing to learn, on the smallest of scales."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.optimism import experiment_of, measure, permuted
from benchmarks.replicas import Outcome, Replica, table
from orchestrator.errors import InputError
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import read_corpora
from orchestrator.store import Store


def tiny(folder: Path) -> Experiment:
    wanted = experiment_of({}, trials=2, inner_folds=2, store=str(folder))
    changes = {
        "corpora.0.sessions": 3,
        "corpora.0.utterances_per_emotion": 2,
        "protocol": {"kind": "leave-one-speaker-out", "validation_speakers": 1},
        "evaluate.folds": ["speaker=s1m", "speaker=s2w"],
        "search.folds": ["speaker=s1m", "speaker=s2w"],
        "recipe.training.epochs": 1,
    }
    return override_recipe(wanted, changes)


def replica(seed: int, best: float, same: float, per_fold: float, nested: float) -> Replica:
    return Replica(
        seed, "mine", 8, 2, best, same, per_fold, nested, chosen=2, fold_runs=10, seconds=1.5
    )


def test_emotions_move_and_nothing_else_does(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    (whole,) = read_corpora(experiment, Store(tmp_path))
    tables = [permuted(whole, seed).corpus.table for seed in (0, 0, 1)]
    plain = whole.corpus.table

    assert tables[0].equals(tables[1])
    assert not tables[0]["emotion"].equals(tables[2]["emotion"])
    for one in tables:
        assert sorted(one["emotion"]) == sorted(plain["emotion"])
        assert not one["emotion"].equals(plain["emotion"])
        assert one.drop(columns="emotion").equals(plain.drop(columns="emotion"))


def test_figures_by_hand() -> None:
    outcome = Outcome(
        "mine",
        classes=4,
        trials=8,
        folds=5,
        replicas=(replica(0, 0.32, 0.26, 0.24, 0.20), replica(1, 0.34, 0.26, 0.26, 0.22)),
    )
    facts = outcome.facts()

    assert facts["chance"] == 0.25
    # t of one degree of freedom is 12.706, and the deviation over root 2 is 0.01
    best = facts["scores"]["best_validation"]
    assert (best["mean"], best["n"]) == (pytest.approx(0.33), 2)
    assert best["low"] == pytest.approx(0.33 - 12.7062 * 0.01, abs=1e-5)
    assert facts["best_validation_above_chance"] is False
    assert facts["optimism"]["nested"]["mean"] == pytest.approx(0.12)
    assert facts["optimism"]["nested"]["low"] == pytest.approx(0.12)
    assert facts["contains_chance"] == {"same_corpus": False, "per_fold": True, "nested": True}
    assert (facts["fold_runs"], facts["seconds"]) == (20, 3.0)
    assert "| test, per-fold | 25.00 |" in table(outcome)
    assert "chance 25.0" in table(outcome)


def test_a_replica_goes_through_all_selections(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    outcome = measure(tiny(tmp_path), Store(tmp_path), seeds=[0], file=file)
    (one,) = outcome.replicas

    assert (outcome.classes, outcome.trials, outcome.folds) == (4, 2, 2)
    # two trials on two folds, and on two inner folds of each
    assert one.fold_runs == 2 * 2 + 2 * 2 * 2
    found = [one.best_validation, one.same_corpus, one.per_fold, one.nested]
    assert all(0.0 <= value <= 1.0 for value in found)
    # eight utterances a speaker, of whatever emotions
    assert np.isfinite(found).all()
    assert one.chosen in (1, 2)
    students = list((tmp_path / "artifacts" / "student").glob("*/*"))
    assert len(students) == one.fold_runs

    # the same again: its row is read, and others are of another search
    shutil.rmtree(tmp_path / "artifacts" / "student")
    assert measure(tiny(tmp_path), Store(tmp_path), seeds=[0], file=file) == outcome
    assert not (tmp_path / "artifacts" / "student").exists()
    more = override_recipe(tiny(tmp_path), {"search.trials": 3})
    with pytest.raises(InputError, match=r"\['synthetic', 2, 2\], not \['synthetic', 3, 2\]"):
        measure(more, Store(tmp_path), seeds=[0], file=file)

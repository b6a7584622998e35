"""What a sweep validated on of what is tested."""

from __future__ import annotations

from pathlib import Path

from orchestrator.evaluation.selection import validated_on
from orchestrator.experiment import Experiment
from orchestrator.preparation import read_corpora
from orchestrator.store import Store
from tests import small


def found(experiment: Experiment) -> int | None:
    (prepared,) = read_corpora(experiment, Store(experiment.store))
    return validated_on(experiment, prepared, set(prepared.corpus.table["id"]))


def test_a_fixed_recipe_was_selected_by_no_sweep(tmp_path: Path) -> None:
    assert found(small.load(tmp_path)) is None


def test_leave_one_out_folds_validate_on_what_others_test(tmp_path: Path) -> None:
    same = "evaluate.selection=same-corpus"
    # sessions of eight utterances: with one seed two of three validate, or all
    assert found(small.load(tmp_path / "one", same)) in (16, 24)
    assert found(small.load(tmp_path / "many", same, "search.seeds=[0, 1, 2, 3, 4]")) == 24
    # two folds of three speakers each, one validating: with one seed not everybody does
    halves = "search.protocol={kind: speaker-folds, folds: 2, validation_speakers: 1}"
    some = found(small.load(tmp_path / "some", same, halves))
    assert some in (4, 8)


def test_a_fixed_tested_corpus_is_never_validated_on(tmp_path: Path) -> None:
    corpora = (
        "corpora=[{kind: synthetic, name: one, sessions: 2}, "
        "{kind: synthetic, name: two, seed: 1, sessions: 2}]"
    )
    crossed = "protocol={kind: cross-corpus, test: [two], validation_speakers: 1}"
    experiment = small.load(tmp_path, corpora, crossed, "evaluate.selection=same-corpus")
    (prepared,) = read_corpora(experiment, Store(experiment.store))
    table = prepared.corpus.table

    assert validated_on(experiment, prepared, table["id"][table["corpus"] == "two"]) == 0
    assert validated_on(experiment, prepared, table["id"][table["corpus"] == "one"]) == 24

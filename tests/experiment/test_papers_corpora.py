"""The shipped experiments on the papers' corpora, planned on trees in the real layouts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.experiment import load_experiment
from orchestrator.experiment.shipped import experiments_folder
from orchestrator.leak_report import find_leaks
from orchestrator.preparation import PlannedFold, plan_folds, read_corpora
from orchestrator.store import Store
from tests.corpora import trees
from tests.corpora.trees_iemocap import full_iemocap

Plan = Callable[..., list[PlannedFold]]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Folds of a shipped experiment on a tree, for its first seed."""

    def planned(name: str, variable: str, root: Path, *overrides: str) -> list[PlannedFold]:
        experiment = load_experiment(
            experiments_folder() / f"{name}.yaml",
            environment={variable: str(root)},
            overrides=[f"store={tmp_path / 'store'}", *overrides],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = Store(experiment.store)
            prepared = read_corpora(experiment, store)
            if experiment.search is not None and experiment.search.protocol is not None:
                protocol = experiment.search.protocol
                assert plan_folds(experiment, prepared, protocol=protocol, seeds=[0])
            return plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0])

    return planned


@pytest.mark.slow
def test_iemocap_tests_each_session_with_its_documented_size(plan: Plan, tmp_path: Path) -> None:
    full_iemocap(tmp_path / "iemocap", audio=True)
    folds = plan("iemocap-kim2024", "IEMOCAP_ROOT", tmp_path / "iemocap")

    assert {entry.fold.name: len(entry.fold.test) for entry in folds} == {
        "session=1": 1085,
        "session=2": 1023,
        "session=3": 1151,
        "session=4": 1031,
        "session=5": 1241,
    }
    said = folds[0].prepared.describe(folds[0].protocol)
    assert "label set 4 (excitement counted as happiness)" in said
    assert "labels merged: excitement as happiness" in said
    assert said.endswith("| 10 speakers | n=5531")
    assert folds[0].task.emotions == ("anger", "happiness", "neutral", "sadness")


@pytest.mark.slow
def test_crema_d_deals_its_actors_into_five_folds(plan: Plan, tmp_path: Path) -> None:
    trees.crema_d(tmp_path / "crema-d", audio=True)
    folds = plan("crema-d-kim2024", "CREMA_D_ROOT", tmp_path / "crema-d")
    table = folds[0].prepared.corpus.table.set_index("id")

    assert sum(len(entry.fold.test) for entry in folds) == 7442
    speakers = [table.loc[list(entry.fold.test), "speaker"].nunique() for entry in folds]
    assert sorted(speakers) == [18, 18, 18, 18, 19]
    for entry in folds:
        validation = table.loc[list(entry.fold.validation)]
        assert validation["speaker"].nunique() == 9
        assert set(validation["gender"]) == {"female", "male"}


@pytest.mark.slow
def test_ravdess_deals_its_actors_into_six_folds_of_four(plan: Plan, tmp_path: Path) -> None:
    trees.ravdess(tmp_path / "ravdess", audio=True)
    folds = plan("ravdess-kim2024", "RAVDESS_ROOT", tmp_path / "ravdess")

    assert [len(entry.fold.test) for entry in folds] == [240] * 6


@pytest.mark.slow
def test_savee_tests_each_of_its_men(plan: Plan, tmp_path: Path) -> None:
    trees.savee(tmp_path / "savee", audio=True)
    folds = plan("savee-kim2024", "SAVEE_ROOT", tmp_path / "savee")

    assert [(entry.fold.name, len(entry.fold.test)) for entry in folds] == [
        (f"speaker={who}", 120) for who in ("DC", "JE", "JK", "KL")
    ]


@pytest.mark.slow
def test_texts_of_savee_are_kept_apart_by_cutting_its_test_sets(plan: Plan, tmp_path: Path) -> None:
    trees.savee(tmp_path / "savee", audio=True)
    folds = plan("savee-kim2024", "SAVEE_ROOT", tmp_path / "savee", "protocol.text_disjoint=true")

    assert len(folds) == 8
    assert sorted(name for entry in folds for name in entry.fold.test) == sorted(
        folds[0].prepared.corpus.table["id"]
    )


@pytest.mark.real_data
def test_emodb_has_ten_texts_that_can_be_kept_apart(
    emodb_root: Path, plan: Plan, tmp_path: Path
) -> None:
    folds = plan("emodb-kim2024", "EMODB_ROOT", emodb_root, "protocol.text_disjoint=true")
    table = folds[0].prepared.corpus.table.set_index("id")

    assert len(table) == 535
    assert table["text"].nunique() == 10
    assert table["speaker"].nunique() == 10
    # every speaker tests each group of five texts; nobody lacks one altogether
    assert len(folds) == 20
    assert sum(len(entry.fold.test) for entry in folds) == 535
    for entry in folds:
        said = set(table.loc[list(entry.fold.test), "text"])
        assert len(said) <= 5
        assert not said & set(table.loc[list(entry.fold.train), "text"])
        assert set(table.loc[list(entry.fold.train), "emotion"]) == set(table["emotion"])


@pytest.mark.real_data
def test_emodb_has_no_leak_that_its_protocol_promises_against(emodb_root: Path) -> None:
    experiment = load_experiment(
        experiments_folder() / "emodb-kim2024.yaml", environment={"EMODB_ROOT": str(emodb_root)}
    )
    reports = find_leaks(experiment)

    assert [(report.protocol, report.folds, report.broken) for report in reports] == [
        ("protocol", 10, ()),
        ("search.protocol", 5, ()),
    ]
    # everybody says the same ten sentences, which is counted
    assert {leak.what for leak in reports[0].leaks} == {"text"}

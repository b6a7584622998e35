"""Where a command's numbers come from, as its runs tell it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.experiment import load_experiment
from orchestrator.preparation import read_corpora
from orchestrator.run_origin import environment, experiment_file, origin_tags, tell_origin
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal, read_segment
from tests import small


def test_the_experiment_file_loads_as_the_same_experiment(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, "recipe.training.epochs=3")
    (tmp_path / "again.yaml").write_bytes(experiment_file(experiment))

    again = load_experiment(tmp_path / "again.yaml")

    assert again == experiment.model_copy(update={"variants": {}})


def test_credentials_are_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS", "postgresql+psycopg://me:hidden@db/runs")
    monkeypatch.setenv("STUDY", "postgresql://me:hidden@db/studies")
    experiment = small.load(tmp_path, "tracking.uri=${RUNS}", "search.storage=${STUDY}")
    assert "hidden" in experiment.tracking.uri

    text = experiment_file(experiment).decode()

    assert "hidden" not in text
    assert yaml.safe_load(text)["tracking"]["uri"] == "postgresql+psycopg://***@db/runs"
    assert "hidden" not in environment().decode()


def test_the_top_run_has_the_files_and_the_corpora(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    store = Store(experiment.store)
    prepared = read_corpora(experiment, store)
    journal = Journal(store, prefix="journal/small/sweep", key="top")

    tell_origin(journal, experiment, prepared)
    journal.flush()

    told = [
        event
        for name in store.list("journal")
        if name.endswith(".jsonl")
        for event in read_segment(store.read_bytes(name))
    ]
    assert [e["name"] for e in told] == ["experiment.yaml", "environment.json", "synthetic"]
    (corpus,) = (entry.corpus for entry in prepared)
    assert corpus.fingerprint.startswith(told[-1]["digest"])
    assert json.loads(told[-1]["profile"]) == {
        "utterances": 24,
        "speakers": 6,
        "emotions": {"anger": 6, "happiness": 6, "neutral": 6, "sadness": 6},
    }


def test_every_run_has_protocol_and_provenance(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = read_corpora(experiment, Store(experiment.store))

    tags = origin_tags(prepared, protocols=["one", "two"], seeds=(0, 1))

    assert tags["understudy.protocol"] == "one; two"
    assert tags["understudy.seeds"] == "0, 1"
    assert tags["understudy.corpus"] == f"synthetic {prepared[0].corpus.fingerprint}"
    assert set(tags) >= {"understudy.version", "understudy.sources"}

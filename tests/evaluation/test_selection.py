"""What a sweep had seen of what is tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from orchestrator.evaluation.selection import seen_by_sweep
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Selected
from orchestrator.experiment.protocol import Official
from orchestrator.preparation import Prepared, read_corpora
from orchestrator.store import Store
from tests import small


def prepared_of(experiment: Experiment) -> Prepared:
    (prepared,) = read_corpora(experiment, Store(experiment.store))
    return prepared


def after(
    experiment: Experiment, prepared: Prepared, protocol: dict[str, Any], *, seen: str = ""
) -> Experiment:
    """The experiment with the best of a sweep under ``protocol``."""
    selected = Selected.model_validate(
        {
            "sweep": "s",
            "trial": 0,
            "protocol": protocol,
            "seeds": [0],
            "fingerprints": {prepared.corpus.name: seen or prepared.corpus.fingerprint},
        }
    )
    return experiment.model_copy(update={"selected": selected})


SESSIONS = {"kind": "leave-one-session-out"}


def test_a_fixed_recipe_was_selected_by_no_sweep(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)

    assert seen_by_sweep(experiment, prepared, set(prepared.corpus.table["id"])) is None


def test_leave_one_out_folds_train_on_what_others_test(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)
    swept = after(experiment, prepared, SESSIONS)

    assert seen_by_sweep(swept, prepared, set(prepared.corpus.table["id"])) == 24


def test_of_another_state_of_the_corpus_nothing_is_known(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)
    swept = after(experiment, prepared, SESSIONS, seen="another")

    assert seen_by_sweep(swept, prepared, set(prepared.corpus.table["id"])) is None


def test_a_fixed_tested_corpus_is_never_seen(tmp_path: Path) -> None:
    corpora = (
        "corpora=[{kind: synthetic, name: one, sessions: 2}, "
        "{kind: synthetic, name: two, seed: 1, sessions: 2}]"
    )
    crossed = {"kind": "cross-corpus", "test": ["two"], "validation_speakers": 1}
    experiment = small.load(
        tmp_path, corpora, "protocol={kind: cross-corpus, test: [two], validation_speakers: 1}"
    )
    prepared = prepared_of(experiment)
    swept = after(experiment, prepared, crossed)
    table = prepared.corpus.table

    assert seen_by_sweep(swept, prepared, set(table["id"][table["corpus"] == "two"])) == 0
    # an earlier sweep of another protocol on the same corpora had seen it
    before = after(experiment, prepared, {"kind": "speaker-folds", "folds": 2})
    assert seen_by_sweep(before, prepared, set(table["id"][table["corpus"] == "two"])) > 0


def test_a_corpus_of_its_own_protocol_was_seen_by_that(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)
    table = prepared.corpus.table
    tested = table["session"] == "1"
    parts = table.assign(split=tested.map({True: "test", False: "train"}))
    corpus = dataclasses.replace(prepared.corpus, table=parts)
    official = dataclasses.replace(prepared, corpus=corpus)
    swept = after(experiment, official, SESSIONS)
    assert swept.selected is not None
    own = {corpus.name: Official(kind="official")}
    selected = swept.selected.model_copy(update={"protocols": own})
    by_its_own = swept.model_copy(update={"selected": selected})

    ids = set(table["id"][tested])
    assert (len(ids), seen_by_sweep(swept, official, ids)) == (8, 8)
    assert seen_by_sweep(by_its_own, official, ids) == 0

"""What a sweep had seen of what is tested, and what results say of how they were selected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.evaluation.selection import (
    promised,
    refuse_other_corpora,
    seen_by_sweep,
    selected_briefly,
    selection_told,
)
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


def chosen(
    experiment: Experiment, prepared: Prepared, how: str = "per-fold", **selected: Any
) -> Experiment:
    """The experiment in which each fold has chosen trial 0 of a sweep on the same folds."""
    places = [f"synthetic/session={number}" for number in (1, 2, 3)]
    choice = {"trial": 0, "overrides": {"recipe.training.lr": 0.1}, "value": 0.5}
    full = {"choices": dict.fromkeys(places, choice), "sampler": "random", "pruner": "none"}
    swept = after(experiment, prepared, SESSIONS)
    assert swept.selected is not None
    plain = swept.selected.model_dump(mode="json") | {"trial": None} | full | selected
    evaluate = swept.evaluate.model_copy(update={"selection": how})
    return swept.model_copy(
        update={"selected": Selected.model_validate(plain), "evaluate": evaluate}
    )


@pytest.mark.parametrize("how", ["per-fold", "nested"])
def test_where_each_fold_chose_its_own_no_one_count_is_told(tmp_path: Path, how: str) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)

    assert seen_by_sweep(chosen(experiment, prepared, how), prepared, _all(prepared)) is None
    assert seen_by_sweep(after(experiment, prepared, SESSIONS), prepared, _all(prepared)) == 24


def _all(prepared: Prepared) -> set[str]:
    return set(prepared.corpus.table["id"])


def test_choices_on_another_state_of_a_corpus_are_refused(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)
    found = chosen(experiment, prepared)
    now = {"synthetic": prepared.corpus.fingerprint}

    refuse_other_corpora(found, now)
    with pytest.raises(ExperimentError) as caught:
        refuse_other_corpora(found, {"synthetic": "0ther"})
    said = str(caught.value)
    assert f"'synthetic' (fingerprint {prepared.corpus.fingerprint} then, 0ther now)" in said
    with pytest.raises(ExperimentError, match="'new' \\(fingerprint unknown then"):
        refuse_other_corpora(found, now | {"new": "1"})
    # one recipe for all folds may come from anywhere: results say that nobody knows
    refuse_other_corpora(after(experiment, prepared, SESSIONS), {"synthetic": "0ther"})
    refuse_other_corpora(experiment, {"synthetic": "0ther"})


def test_the_protocol_string_says_that_each_fold_has_its_own_recipe(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    prepared = prepared_of(experiment)

    assert selected_briefly(experiment) == ""
    assert selected_briefly(after(experiment, prepared, SESSIONS)) == ""
    assert selected_briefly(chosen(experiment, prepared)) == (
        " | selection: per-fold, each fold has the recipe of the trial that its own validation "
        "liked best"
    )
    assert " | selection: nested, " in selected_briefly(chosen(experiment, prepared, "nested"))


@pytest.mark.parametrize(
    ("sampler", "pruner", "how", "said"),
    [
        (
            "random",
            "none",
            "per-fold",
            "no proposal depended on a score, so these figures carry no",
        ),
        ("qmc", "none", "per-fold", "carry no debt"),
        ("grid", "none", "per-fold", "carry no debt"),
        ("tpe", "none", "per-fold", "proposals had seen other folds' validation, so some debt"),
        ("gp", "none", "per-fold", "proposals had seen"),
        ("nsga2", "none", "per-fold", "proposals had seen"),
        ("random", "wilcoxon", "per-fold", "best; sampler random, pruner wilcoxon: trials were "),
        (
            "tpe",
            "halving",
            "per-fold",
            "proposals had seen other folds' validation and trials were stopped by other folds' "
            "validation, so some debt is left",
        ),
        ("tpe", "halving", "nested", "nothing of what a fold tests was heard before the end"),
    ],
)
def test_what_is_promised_depends_on_who_proposed_and_stopped(
    sampler: str, pruner: str, how: str, said: str
) -> None:
    told = promised({"sweep": "mine", "sampler": sampler, "pruner": pruner}, how)

    assert said in told
    assert told.startswith(f"{how} (")
    assert "mine" in told
    assert ("carry no debt" in told) != ("some debt is left" in told)


def _result(how: str, selected: Mapping[str, Any] | None, seen: int | None) -> dict[str, Any]:
    return {"selection": how, "selected": selected, "seen_by_sweep": {"one": seen, "two": 3}}


def test_where_each_fold_chose_the_line_says_what_that_promises() -> None:
    choice = {"trial": 3, "value": 0.5, "overrides": {}}
    selected = {
        "sweep": "mine",
        "sampler": "random",
        "pruner": "none",
        "choices": {"one/fold=1": choice},
    }
    result = _result("per-fold", selected, None)

    assert selection_told(result, "one") == [f"selection: {promised(selected, 'per-fold')}"]
    assert selection_told(result, "two") != selection_told(result, "one")


def test_other_selections_are_told_as_ever() -> None:
    """Results that were stored before folds could choose have none of the newer keys."""
    assert selection_told({"selection": "fixed"}, "one") == [
        "selection: fixed (the recipe as written)"
    ]
    (same,) = selection_told(_result("same-corpus", {"sweep": "mine"}, 24), "one")
    assert "these figures are optimistic" in same
    (unseen,) = selection_told(_result("same-corpus", {"sweep": "mine"}, 0), "one")
    assert "neither trained nor validated on" in unseen

"""The searches inside the folds of an evaluation: what they hear, cost and choose."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from orchestrator.errors import ExperimentError, ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.preparation import Prepared, plan_folds, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.nested import inner_planned, inner_protocols, nested_cost, nested_of
from orchestrator.sweep.study import BELONGS_TO
from orchestrator.training.task import FoldTask
from tests import small
from tests.sweep.test_choosing import FAIL, trial

NESTED = ("evaluate.selection=nested", "evaluate.nested={inner_folds: 2, trials: 5}")


def read(folder: Path, *overrides: str) -> tuple[Experiment, tuple[Prepared, ...]]:
    experiment = small.load(folder, *NESTED, *overrides)
    return experiment, read_corpora(experiment, Store(experiment.store))


def heard(task: FoldTask) -> set[str]:
    held = task.held.ids if task.held else ()
    return {*task.train.ids, *task.validation.ids, *held}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("protocol={kind: leave-one-speaker-out, validation_speakers: 1, held_speakers: 1}",),
        ("protocol={kind: speaker-folds, folds: 3, validation_speakers: 1}", "search.seeds=[0, 4]"),
        ("corpora.0.protocol={kind: leave-one-speaker-out, validation_speakers: 1}",),
    ],
)
def test_no_task_of_an_inner_search_has_an_utterance_or_speaker_of_the_outer_test_set(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    experiment, prepared = read(tmp_path, *overrides)
    outer = {
        entry.place: entry
        for entry in plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0])
    }
    inner = inner_planned(experiment, prepared)
    speaker = dict(prepared[0].corpus.table[["id", "speaker"]].itertuples(index=False))

    assert list(inner) == list(outer)
    assert experiment.search is not None
    for place, planned in inner.items():
        tested = set(outer[place].fold.test)
        assert len(planned) == 2 * len(experiment.search.seeds)
        for entry in planned:
            ids = heard(entry.task)
            assert ids == set(outer[place].fold.train) | set(outer[place].fold.held) | set(
                outer[place].fold.validation
            )
            assert not ids & tested
            assert not {speaker[one] for one in ids} & {speaker[one] for one in tested}
            labels = dict(prepared[0].corpus.table[["id", "emotion"]].itertuples(index=False))
            assert [entry.task.emotions[label] for label in entry.task.validation.labels] == [
                labels[one] for one in entry.task.validation.ids
            ]


def test_names_tell_inner_folds_of_all_outer_ones_apart(tmp_path: Path) -> None:
    """Training seeds and store keys come from them."""
    experiment, prepared = read(tmp_path, "search.seeds=[0, 1]")
    inner = inner_planned(experiment, prepared)
    names = [(entry.task.fold, entry.task.seed) for each in inner.values() for entry in each]

    assert len(set(names)) == len(names) == 3 * 2 * 2
    assert names[:4] == [
        ("session=1: inner 1", 0),
        ("session=1: inner 1", 1),
        ("session=1: inner 2", 0),
        ("session=1: inner 2", 1),
    ]
    assert all(entry.task.fold == entry.fold.name for each in inner.values() for entry in each)


def test_the_cost_by_hand(tmp_path: Path) -> None:
    experiment, prepared = read(tmp_path, "search.seeds=[0, 1]")
    cost = nested_cost(experiment, prepared)

    assert (cost.outer_folds, cost.inner_folds, cost.trials, cost.seeds) == (3, 2, 5, 2)
    assert cost.fold_runs == 3 * 2 * 5 * 2
    some = small.load(tmp_path / "some", *NESTED, "evaluate.folds=['session=2']")
    assert nested_cost(some, prepared).fold_runs == 1 * 2 * 5 * 1


def test_defaults_apply_where_the_file_says_nothing_of_the_inner_searches(tmp_path: Path) -> None:
    experiment = small.load(
        tmp_path,
        "evaluate.selection=nested",
        "protocol={kind: leave-one-speaker-out, validation_speakers: 1}",
    )
    cost = nested_cost(experiment, read_corpora(experiment, Store(experiment.store)))

    assert (cost.inner_folds, cost.trials, cost.fold_runs) == (3, 20, 6 * 3 * 20)


def test_too_few_sessions_are_refused_by_the_plan_of_the_cost(tmp_path: Path) -> None:
    experiment = small.load(tmp_path, "evaluate.selection=nested")
    prepared = read_corpora(experiment, Store(experiment.store))
    with pytest.raises(ProtocolError, match=r"inner_folds is 3 but fold session=1 has only 2 ses"):
        nested_cost(experiment, prepared)


def test_there_must_be_a_search_to_repeat(tmp_path: Path) -> None:
    experiment, prepared = read(tmp_path)
    with pytest.raises(ExperimentError, match="no search section to repeat"):
        inner_planned(experiment.model_copy(update={"search": None}), prepared)


def test_the_protocol_string_of_an_inner_search_says_what_it_is_inside_of(tmp_path: Path) -> None:
    experiment, prepared = read(tmp_path)
    told = inner_protocols(experiment, inner_planned(experiment, prepared))

    assert list(told) == [f"synthetic/session={number}" for number in (1, 2, 3)]
    described = prepared[0].describe(experiment.protocol)
    assert told["synthetic/session=2"] == (
        f"{described} | searched inside fold session=2: 2 groups of its other sessions, each "
        "validation once, n=16"
    )


def study_of(*scores: float | None) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for number, score in enumerate(scores):
        one, other = f"x/{number}: inner 1", f"x/{number}: inner 2"
        study.add_trial(
            trial(number, {}, FAIL)
            if score is None
            else trial(number, {one: score - 0.1, other: score + 0.1})
        )
    study.set_user_attr(BELONGS_TO, {"corpora": {"synthetic": "now"}})
    return study


def test_each_fold_takes_the_best_complete_trial_of_its_own_search(tmp_path: Path) -> None:
    experiment, _ = read(tmp_path)
    studies = {
        "synthetic/session=1": study_of(0.5, 0.7, 0.7),
        "synthetic/session=2": study_of(None, 0.2),
    }
    found = nested_of(experiment, studies)
    selected = found.selected

    assert found.recipe == experiment.recipe
    assert selected is not None
    assert (found.evaluate.selection, selected.sweep, selected.trial) == ("nested", "small", None)
    assert (selected.sampler, selected.pruner) == ("tpe", "none")
    assert selected.fingerprints == {"synthetic": "now"}
    assert {place: (one.trial, one.value) for place, one in selected.choices.items()} == {
        "synthetic/session=1": (1, pytest.approx(0.7)),
        "synthetic/session=2": (1, pytest.approx(0.2)),
    }
    assert selected.choices["synthetic/session=1"].overrides == {"recipe.training.lr": 1e-2}
    assert Experiment.model_validate(found.model_dump(mode="json")) == found


def test_a_fold_whose_search_has_no_complete_trial_is_named(tmp_path: Path) -> None:
    experiment, _ = read(tmp_path)
    studies = {"synthetic/session=1": study_of(0.5), "synthetic/session=2": study_of(None)}
    with pytest.raises(ExperimentError, match="inside synthetic/session=2 is complete"):
        nested_of(experiment, studies)

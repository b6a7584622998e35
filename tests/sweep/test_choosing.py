"""Which trial an evaluation takes its recipe from, on studies worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.preparation import own_protocols
from orchestrator.sweep import choosing
from orchestrator.sweep.belonging import recipe_and_features
from orchestrator.sweep.choosing import best_by_fold, best_of, per_fold_of
from tests import small

A, B, C = "synthetic/session=1", "synthetic/session=2", "synthetic/session=3"
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def trial(
    number: int,
    folds: Mapping[str, float],
    state: TrialState = COMPLETE,
    *,
    values: Sequence[float] | None = None,
) -> FrozenTrial:
    """A trial of another learning rate; its value is the mean of its folds."""
    overrides = json.dumps({"recipe.training.lr": 10.0 ** -(number + 1)})
    mean = sum(folds.values()) / len(folds) if folds else 0.0
    steps = {len(folds): mean} if folds and state == PRUNED else {}
    return create_trial(
        state=state,
        values=(values or [mean]) if state == COMPLETE else None,
        intermediate_values=steps,
        user_attrs={"overrides": overrides, "folds": dict(folds)},
    )


def study_of(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(list(trials))
    return study


def by_fold(*trials: FrozenTrial) -> dict[str, int]:
    return {place: one.number for place, one in best_by_fold(study_of(*trials)).items()}


def test_each_fold_takes_the_trial_that_scored_highest_on_it() -> None:
    assert by_fold(
        trial(0, {A: 0.5, B: 0.9, C: 0.5}),
        trial(1, {A: 0.6, B: 0.1, C: 0.5}),
        trial(2, {A: 0.4, B: 0.8, C: 0.9}),
    ) == {A: 1, B: 0, C: 2}


def test_of_equals_the_earlier_however_they_did_on_other_folds() -> None:
    """What other folds validate on, this one tests."""
    for elsewhere in (0.1, 0.9):
        assert (
            by_fold(
                trial(0, {A: 0.5, B: 0.4, C: 0.4}),
                trial(1, {A: 0.5, B: elsewhere, C: elsewhere}),
            )[A]
            == 0
        )


def test_a_pruned_trial_counts_in_the_folds_that_it_ran() -> None:
    assert by_fold(
        trial(0, {A: 0.5, B: 0.5, C: 0.5}),
        trial(1, {B: 0.6}, PRUNED),
        trial(2, {A: 0.5}, PRUNED),
        # beyond a constraint: it never ran
        trial(3, {}, PRUNED),
    ) == {A: 0, B: 1, C: 0}
    assert by_fold(
        trial(0, {A: 0.5, B: 0.1}),
        trial(1, {A: 0.6}, PRUNED),
    ) == {A: 1, B: 0}


def test_a_failed_trial_never_counts() -> None:
    assert by_fold(trial(0, {A: 0.5, B: 0.5}), trial(1, {A: 0.9}, FAIL)) == {A: 0, B: 0}
    assert by_fold(trial(0, {A: 0.9}, FAIL)) == {}


class Home:
    """An experiment with a study of its sweep."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.experiment = small.load(folder, *overrides)

    def swept(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *trials: FrozenTrial,
        directions: Sequence[str] = ("maximize",),
        **search: Any,
    ) -> None:
        study = optuna.create_study(directions=list(directions))
        study.add_trials(list(trials))
        plain = self.experiment.model_dump(mode="json")
        theirs = plain["search"] | {
            "protocol": plain["protocol"],
            "protocols": own_protocols(self.experiment),
        }
        study.set_user_attr(
            choosing.BELONGS_TO,
            {
                **recipe_and_features(self.experiment),
                "search": theirs | search,
                "corpora": {"synthetic": "then"},
            },
        )

        def load_study(experiment: Experiment, store: object, *, name: str) -> optuna.Study:
            assert name == "small"
            return study

        monkeypatch.setattr(choosing, "load_study", load_study)


THREE = (
    trial(0, {A: 0.5, B: 0.9, C: 0.5}),
    trial(1, {A: 0.6, B: 0.1, C: 0.5}),
    trial(2, {A: 0.4, B: 0.8, C: 0.9}),
)


def rate(experiment: Experiment) -> float:
    return experiment.recipe.training.lr


def test_the_best_trials_recipe_is_that_of_every_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.swept(monkeypatch, *THREE)
    found = best_of(home.experiment, name="small")

    assert (rate(found), found.evaluate.selection) == (1e-3, "same-corpus")
    assert found.selected is not None
    assert (found.selected.sweep, found.selected.trial, found.selected.choices) == ("small", 2, {})
    assert found.selected.fingerprints == {"synthetic": "then"}
    # no part of results that were made before folds could choose
    assert (found.selected.sampler, found.selected.pruner) == ("", "")


def test_a_trial_can_be_chosen_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.swept(monkeypatch, *THREE, trial(3, {A: 0.9}, PRUNED))
    found = best_of(home.experiment, name="small", trial=1)

    assert rate(found) == 1e-2
    assert found.selected is not None
    assert found.selected.trial == 1
    complete = "complete ones, the best first: 2, 0, 1"
    with pytest.raises(
        ExperimentError, match=rf"--trial 3: .* not complete \(pruned\); {complete}"
    ):
        best_of(home.experiment, name="small", trial=3)
    with pytest.raises(ExperimentError, match=rf"has no trial 4; {complete}"):
        best_of(home.experiment, name="small", trial=4)
    with pytest.raises(ExperimentError, match=r"has no trial -1"):
        best_of(home.experiment, name="small", trial=-1)


def test_of_several_objectives_the_undominated_trials_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    three = (
        trial(0, {A: 0.5}, values=[0.5, 3e6]),
        trial(1, {A: 0.6}, values=[0.6, 9e6]),
        trial(2, {A: 0.4}, values=[0.4, 4e6]),
    )
    home.swept(monkeypatch, *three, directions=("maximize", "minimize"), minimise=["macs"])

    with pytest.raises(ExperimentError) as caught:
        best_of(home.experiment, name="small")
    assert str(caught.value).endswith(
        "choose one with --trial N. No other is better in everything than "
        "0 (macro_recall 50.0, macs 3,000,000); 1 (macro_recall 60.0, macs 9,000,000)"
    )
    assert rate(best_of(home.experiment, name="small", trial=1)) == 1e-2
    with pytest.raises(
        ExperimentError, match=r"several objectives \(macro_recall, macs\).*--trial"
    ):
        per_fold_of(home.experiment, name="small")


@pytest.mark.parametrize("trials", [[], [trial(0, {A: 0.5}, PRUNED), trial(1, {}, FAIL)]])
def test_without_a_complete_trial_there_is_no_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: list[FrozenTrial]
) -> None:
    home = Home(tmp_path)
    home.swept(monkeypatch, *trials)
    with pytest.raises(ExperimentError, match="no trial of the sweep 'small' is complete"):
        best_of(home.experiment, name="small")
    with pytest.raises(ExperimentError, match=r"complete ones, the best first: none"):
        best_of(home.experiment, name="small", trial=0)


def test_each_fold_has_its_choice_with_what_it_scored_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, "search.sampler=random", "evaluate.selection=per-fold")
    home.swept(monkeypatch, *THREE)
    found = per_fold_of(home.experiment, name="small")

    assert found.recipe == home.experiment.recipe
    assert found.evaluate.selection == "per-fold"
    selected = found.selected
    assert selected is not None
    assert (selected.trial, selected.sampler, selected.pruner) == (None, "random", "none")
    assert {place: (one.trial, one.value) for place, one in selected.choices.items()} == {
        A: (1, 0.6),
        B: (0, 0.9),
        C: (2, 0.9),
    }
    assert selected.choices[A].overrides == {"recipe.training.lr": 1e-2}


def test_of_some_folds_only_those_have_a_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, "evaluate.folds=['session=2']")
    home.swept(monkeypatch, *THREE)
    found = per_fold_of(home.experiment, name="small")

    assert found.selected is not None
    assert list(found.selected.choices) == [B]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            {"kind": "speaker-folds", "folds": 2},
            "corpus 'synthetic' the sweep 'small' ran speaker-folds and the evaluation runs "
            "leave-one-session-out",
        ),
        (
            {"kind": "leave-one-session-out", "validation_sessions": 2},
            "ran leave-one-session-out with validation_sessions 2 in place of 1",
        ),
    ],
)
def test_a_sweep_on_other_folds_is_refused_by_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any], said: str
) -> None:
    home = Home(tmp_path)
    full = home.experiment.model_dump(mode="json")["protocol"]
    same_kind = theirs["kind"] == full["kind"]
    home.swept(monkeypatch, *THREE, protocol=(full | theirs) if same_kind else theirs)

    with pytest.raises(ExperimentError) as caught:
        per_fold_of(home.experiment, name="small")
    assert said in str(caught.value)
    assert "set selection: same-corpus" in str(caught.value)


def test_a_sweep_of_another_recipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.swept(monkeypatch, *THREE)
    other = small.load(tmp_path / "other", "recipe.training.epochs=3")
    for choose in (best_of, per_fold_of):
        with pytest.raises(ExperimentError, match="searched around another recipe"):
            choose(other, name="small")


def test_nested_settings_of_the_file_do_not_stand_in_the_way_of_a_best_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The experiment is validated anew whenever its recipe is changed, as ablations do."""
    home = Home(tmp_path, "evaluate.selection=nested", "evaluate.nested={trials: 2}")
    home.swept(monkeypatch, *THREE)
    for found in (
        best_of(home.experiment, name="small"),
        per_fold_of(home.experiment, name="small"),
    ):
        assert Experiment.model_validate(found.model_dump(mode="json")) == found

"""The studies of a sweep: gone on with, extended, refused and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection

import models.pretrained
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import Prepared, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.belonging import belongs_to
from orchestrator.sweep.budget import SECONDS, seconds_used
from orchestrator.sweep.choosing import best_of
from orchestrator.sweep.storage import open_storage, study_address, study_names
from orchestrator.sweep.study import (
    BELONGS_TO,
    CARRIED,
    OVERRIDES,
    best_trial,
    carried_of,
    find_study,
    load_study,
    open_study,
    scores_of,
    study_exists,
)
from tests import small

LR = optuna.distributions.FloatDistribution(0.0, 1.0)
INNER = "synthetic/session=1"


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    # a log is made and read in a moment, a database in half a second
    return at(small.load(tmp_path), tmp_path / "study.log")


@pytest.fixture
def store(experiment: Experiment) -> Store:
    return Store(experiment.store)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, ...]:
    experiment = small.load(tmp_path_factory.mktemp("corpora"))
    return read_corpora(experiment, Store(experiment.store))


def at(experiment: Experiment, file: Path) -> Experiment:
    return having(experiment, storage=f"journal:{file}")


def having(experiment: Experiment, **search: object) -> Experiment:
    return override_recipe(experiment, {f"search.{key}": value for key, value in search.items()})


def add(
    study: optuna.Study, *values: float, lr: float = 0.5, reason: str = "", **attrs: object
) -> None:
    """A trial that has ended: complete with values, else failed."""
    state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
    told = {OVERRIDES: json.dumps({"recipe.training.lr": lr}), "reason": reason, **attrs}
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            values=values or None,
            params={"lr": lr},
            distributions={"lr": LR},
            user_attrs=told,
        )
    )


@pytest.mark.parametrize("more", [{"trials": 9}, {"max_hours": 2.0}, {"seeds": [0]}])
def test_the_same_experiment_goes_on_with_its_study_also_with_more_trials(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...], more: dict[str, Any]
) -> None:
    add(open_study(experiment, store, prepared), 0.5)

    again = open_study(having(experiment, **more), store, prepared)

    assert [trial.value for trial in again.trials] == [0.5]
    assert carried_of(again) == ()


def test_a_study_of_an_earlier_version_is_gone_on_with(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    experiment = small.load(tmp_path)
    store = Store(experiment.store)
    (tmp_path / "store" / "studies").mkdir(parents=True)
    told = belongs_to(experiment, prepared)
    for later in ("parameters", "pruner", "minimise", "aggregate", "constraints"):
        del told["search"][later]
    theirs = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/store/studies/small.study.db",
        study_name="small",
        direction="maximize",
    )
    theirs.set_user_attr(BELONGS_TO, told)
    add(theirs, 0.5)

    ours = open_study(experiment, store, prepared)
    add(ours, 0.6)

    assert [trial.value for trial in ours.trials] == [0.5, 0.6]
    assert load_study(experiment, store, name="small").study_name == "small"


def test_a_study_names_its_objectives_for_who_looks_at_it(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    one = open_study(experiment, store, prepared)
    several = having(experiment, minimise=["macs", "parameters"])
    several = several.model_copy(update={"name": "several"})
    three = open_study(several, store, prepared)

    assert (one.metric_names, one.directions) == (["macro_recall"], [StudyDirection.MAXIMIZE])
    assert three.metric_names == ["macro_recall", "macs", "parameters"]
    assert three.directions == [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * 2]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("recipe.training.epochs", 3, "recipe (recipe.training.epochs was 2 and is 3)"),
        ("features.bins", 16, "features (features.bins was 8 and is 16)"),
        ("search.metric", "accuracy", "search (search.metric was macro_recall and is accuracy)"),
        ("search.seeds", [1], "search (search.seeds was [0] and is [1])"),
    ],
)
def test_a_study_of_something_else_is_refused_with_what_changed(
    experiment: Experiment,
    store: Store,
    prepared: tuple[Prepared, ...],
    key: str,
    value: object,
    said: str,
) -> None:
    add(open_study(experiment, store, prepared), 0.5)
    changed = override_recipe(experiment, {key: value})

    for look in (open_study, find_study):
        with pytest.raises(ExperimentError) as caught:
            look(changed, store, prepared)
        assert f"was begun with another {said}; its trials cannot be compared" in str(caught.value)
        assert "Give the experiment a new name, or undo the change" in str(caught.value)
    assert study_names(study_address(experiment, store)) == ("small",)


def test_of_many_changes_some_are_named_and_the_others_counted(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    add(open_study(experiment, store, prepared), 0.5)
    names = ("frequency_masks", "time_masks", "noise", "tilt_db", "gain_db")
    changed = override_recipe(
        experiment,
        {f"recipe.training.augment.{name}": 1 for name in names}
        | {"features.bins": 16, "search.seed": 1, "search.seeds": [0, 1]},
    )

    with pytest.raises(ExperimentError, match=r"another features and recipe and search \(.*1 more"):
        open_study(changed, store, prepared)


def test_a_study_without_a_trial_takes_any_change(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    """Mistyped, stopped before the first trial, corrected."""
    open_study(experiment, store, prepared)
    changed = override_recipe(
        experiment, {"recipe.training.epochs": 3, "search.minimise": ["macs"]}
    )

    assert find_study(changed, store, prepared) is None
    study = open_study(changed, store, prepared)

    assert len(study.directions) == 2
    assert study.user_attrs[BELONGS_TO]["recipe"]["training"]["epochs"] == 3
    assert [one.study_name for one in optuna.get_all_study_summaries(study._storage)] == ["small"]


def test_another_corpus_under_the_same_name_is_refused(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    add(open_study(experiment, store, prepared), 0.5)
    other = override_recipe(experiment, {"corpora.0.seed": 1})

    with pytest.raises(ExperimentError, match="corpus 'synthetic' has other files or labels"):
        open_study(other, store, read_corpora(other, store))


def test_more_seeds_begin_the_next_generation_with_the_parameters_of_the_trials_there_were(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    first = open_study(experiment, store, prepared)
    add(first, 0.5, lr=0.1)
    add(first, lr=0.2, reason="it failed")
    first.ask({"lr": LR})  # in flight
    first.set_user_attr(SECONDS, 60.0)
    more = having(experiment, seeds=[0, 1])

    assert find_study(more, store, prepared) is None
    second = open_study(more, store, prepared)

    assert second.study_name == "small (generation 2)"
    assert second.trials == []
    assert carried_of(second) == ({"lr": 0.1}, {"lr": 0.2}, first.trials[2].params)
    assert seconds_used(second) == 60.0
    # the first stays as it was, and the second is the one that is gone on with
    assert [trial.value for trial in first.trials] == [0.5, None, None]
    add(second, 0.6)
    assert len(open_study(more, store, prepared).trials) == 1
    assert load_study(more, store, name="small").trials[0].value == 0.6
    found = find_study(more, store, prepared)
    assert found is not None
    assert found.study_name == second.study_name


def test_a_generation_that_has_not_come_to_all_it_took_over_hands_it_on(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    first = open_study(experiment, store, prepared)
    for lr in (0.1, 0.2, 0.3):
        add(first, 0.5, lr=lr)
    second = open_study(having(experiment, seeds=[0, 1]), store, prepared)
    add(second, 0.5, lr=0.1)
    second.ask()  # killed before it had drawn anything

    third = open_study(having(experiment, seeds=[0, 1, 2]), store, prepared)

    assert third.study_name == "small (generation 3)"
    assert carried_of(third) == ({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})


def test_fewer_seeds_than_the_latest_generation_has_are_refused(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    add(open_study(experiment, store, prepared), 0.5)
    add(open_study(having(experiment, seeds=[0, 1]), store, prepared), 0.5)

    with pytest.raises(ExperimentError, match=r"search.seeds was \[0, 1\] and is \[0\]"):
        open_study(experiment, store, prepared)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_study_that_was_killed_while_it_was_made_is_made_again(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...], generation: int
) -> None:
    storage = open_storage(study_address(experiment, store))
    if generation == 1:
        half = optuna.create_study(storage=storage, study_name="small", direction="maximize")
        wanted = experiment
    else:
        add(open_study(experiment, store, prepared), 0.5, lr=0.1)
        half = optuna.create_study(
            storage=storage, study_name="small (generation 2)", direction="maximize"
        )
        half.set_user_attr(CARRIED, [{"lr": 0.9}])
        # until it is made the one before it counts
        assert load_study(experiment, store, name="small").trials[0].value == 0.5
        wanted = having(experiment, seeds=[0, 1])

    study = open_study(wanted, store, prepared)

    assert study.study_name == half.study_name
    assert study.user_attrs[BELONGS_TO] == belongs_to(wanted, prepared)
    assert carried_of(study) == (() if generation == 1 else ({"lr": 0.1},))


def test_a_study_of_somebody_else_is_left_alone(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    storage = open_storage(study_address(experiment, store))
    theirs = optuna.create_study(storage=storage, study_name="small", direction="maximize")
    add(theirs, 0.5)

    with pytest.raises(ExperimentError, match=r"no sweep of Understudy made.*new name"):
        open_study(experiment, store, prepared)
    assert theirs.user_attrs == {}


def test_a_search_inside_a_fold_has_a_study_of_its_own(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    nested = override_recipe(experiment, {"evaluate.selection": "nested"})
    add(open_study(nested, store, prepared), 0.5)
    inside = open_study(nested, store, prepared, inner=INNER)
    add(inside, 0.6)

    assert inside.study_name == f"small | {INNER}"
    assert study_exists(nested, store, inner=INNER)
    assert not study_exists(nested, store, inner="synthetic/session=2")
    assert load_study(nested, store, name="small", inner=INNER).trials[0].value == 0.6
    assert load_study(nested, store, name="small").trials[0].value == 0.5

    dealt = override_recipe(nested, {"evaluate.nested.inner_folds": 2})
    with pytest.raises(ExperimentError, match="nested.inner_folds was 3 and is 2"):
        open_study(dealt, store, prepared, inner=INNER)
    open_study(dealt, store, prepared)  # its own search is dealt as it was


def test_a_sweep_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, prepared: tuple[Prepared, ...]
) -> None:
    experiment = small.load(tmp_path)
    store = Store(experiment.store)
    assert not study_exists(experiment, store)
    with pytest.raises(ExperimentError, match="no sweep has run yet"):
        load_study(experiment, store, name="small")

    add(open_study(experiment, store, prepared), 0.5)

    assert study_exists(experiment, store)
    with pytest.raises(ExperimentError, match=r"called 'smal' in .*studies \(sweeps there: small"):
        load_study(experiment, store, name="smal")
    assert load_study(experiment, store, name="small").trials[0].value == 0.5


def test_sweeps_that_share_a_storage_are_told_apart(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    other = experiment.model_copy(update={"name": "other"})
    add(open_study(experiment, store, prepared), 0.5)
    add(open_study(having(experiment, seeds=[0, 1]), store, prepared), 0.5)
    add(open_study(experiment, store, prepared, inner=INNER), 0.5)
    add(open_study(other, store, prepared), 0.6)

    assert load_study(experiment, store, name="other").trials[0].value == 0.6
    with pytest.raises(ExperimentError, match=r"in .*study.log \(sweeps there: other, small\)"):
        load_study(experiment, store, name="smal")


def test_looking_for_a_study_makes_none(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...], tmp_path: Path
) -> None:
    assert find_study(experiment, store, prepared) is None
    assert not study_exists(experiment, store)
    assert not (tmp_path / "study.log").exists()


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every root is an encoder, whose weights are named by its last part."""
    monkeypatch.setattr(models.pretrained, "resolve_root", lambda root, revision: Path(root))
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: root.name)


def taught_by(experiment: Experiment, root: str, **options: object) -> Experiment:
    teacher = {"kind": "pretrained", "root": root, **options}
    return override_recipe(experiment, {"recipe.teacher": teacher})


@pytest.mark.usefixtures("encoders")
def test_a_study_belongs_to_the_encoders_weights_wherever_they_lie(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    ours = taught_by(experiment, "/here/whisper")
    told = belongs_to(ours, prepared)["recipe"]["teacher"]
    add(open_study(ours, store, prepared), 0.5)

    assert told["weights"] == "whisper"
    assert not told.keys() & {"root", "revision"}
    for same in ({"root": "/there/whisper"}, {"root": "hub/whisper", "revision": "abc"}):
        open_study(taught_by(experiment, **same), store, prepared)
    with pytest.raises(ExperimentError, match="teacher.weights was whisper and is wavlm"):
        open_study(taught_by(experiment, "/here/wavlm"), store, prepared)


@pytest.mark.usefixtures("encoders")
def test_a_study_that_did_not_say_which_encoder_taught_counts_as_anothers(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    ours = taught_by(experiment, "/here/whisper")
    study = open_study(ours, store, prepared)
    told = study.user_attrs[BELONGS_TO]
    del told["recipe"]["teacher"]["weights"]
    study.set_user_attr(BELONGS_TO, told)
    add(study, 0.5)

    with pytest.raises(ExperimentError, match="teacher.weights was not set and is whisper"):
        open_study(ours, store, prepared)


@pytest.mark.usefixtures("encoders")
def test_the_best_of_another_encoders_sweep_is_refused(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    add(open_study(taught_by(experiment, "/here/whisper"), store, prepared), 0.5)

    found = best_of(taught_by(experiment, "/there/whisper"), name="small")
    assert found.recipe.training.lr == 0.5
    with pytest.raises(ExperimentError, match="searched around another recipe"):
        best_of(taught_by(experiment, "/here/wavlm"), name="small")


def test_the_best_trial_is_the_earliest_of_the_best() -> None:
    study = optuna.create_study(direction="maximize")
    assert best_trial(study) is None
    add(study, reason="it failed")
    assert best_trial(study) is None
    for value in (0.4, 0.6, 0.6):
        add(study, value)

    best = best_trial(study)

    assert best is not None
    assert best.number == 2


def test_of_several_objectives_no_trial_is_the_best() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    add(study, 0.5, 1000.0)

    assert best_trial(study) is None


def test_scores_that_are_relative_are_so_to_the_trials_of_today() -> None:
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(BELONGS_TO, {"search": {"aggregate": "rank"}})
    # each was the best, or alone, when it ended
    add(study, 0.5, folds={"a/1": 0.4, "b/1": 0.9})
    add(study, 1.0, folds={"a/1": 0.6, "b/1": 0.95})
    add(study, 1.0, folds={"a/1": 0.7, "b/1": 0.96})

    assert scores_of(study) == {0: 0.0, 1: 0.5, 2: 1.0}
    best = best_trial(study)
    assert best is not None
    assert best.number == 2

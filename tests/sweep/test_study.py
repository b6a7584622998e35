"""The study of a sweep: where it lies, what it belongs to, and what is read from it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import optuna
import pytest

import models.pretrained
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import Prepared, read_corpora
from orchestrator.store import Store
from orchestrator.sweep.study import (
    BELONGS_TO,
    OVERRIDES,
    belongs_to,
    best_trial,
    load_study,
    make_sampler,
    open_study,
    study_path,
    summarise,
)
from orchestrator.sweep.sweep import best_of
from tests import small

LR = {"lr": optuna.distributions.FloatDistribution(0.0, 1.0)}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return small.load(tmp_path)


@pytest.fixture
def store(experiment: Experiment) -> Store:
    return Store(experiment.store)


@pytest.fixture
def prepared(experiment: Experiment, store: Store) -> tuple[Prepared, ...]:
    return read_corpora(experiment, store)


def add(study: optuna.Study, value: float | None, *, reason: str = "", **attrs: object) -> None:
    """A trial that has ended."""
    state = optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
    told = {OVERRIDES: json.dumps({"recipe.training.lr": 0.5}), "reason": reason, **attrs}
    study.add_trial(
        optuna.trial.create_trial(
            state=state, value=value, params={"lr": 0.5}, distributions=LR, user_attrs=told
        )
    )


def test_the_study_lies_in_a_local_store_and_beside_the_user_of_a_remote_one(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    class Bucket:
        uri = "s3://bucket/store"

    assert study_path(experiment, store) == tmp_path / "store" / "studies" / "small.study.db"
    assert study_path(experiment, Bucket()) == Path("small.study.db")  # type: ignore[arg-type]


def test_the_same_experiment_goes_on_with_its_study_also_with_more_trials(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    add(open_study(experiment, store, prepared), 0.5)
    assert experiment.search is not None
    more = experiment.search.model_copy(update={"trials": 9})

    again = open_study(experiment.model_copy(update={"search": more}), store, prepared)

    assert [trial.value for trial in again.trials] == [0.5]


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("recipe.training.epochs", 3, "recipe"),
        ("features.bins", 16, "features"),
        ("search.metric", "accuracy", "search"),
        ("protocol.validation_sessions", 2, "search"),
    ],
)
def test_a_study_of_something_else_is_refused_with_what_changed(
    experiment: Experiment,
    store: Store,
    prepared: tuple[Prepared, ...],
    key: str,
    value: object,
    part: str,
) -> None:
    open_study(experiment, store, prepared)
    changed = override_recipe(experiment, {key: value})

    with pytest.raises(ExperimentError, match=f"begun with another {part};.*new name"):
        open_study(changed, store, prepared)


def test_another_corpus_under_the_same_name_is_refused(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    open_study(experiment, store, prepared)
    other = override_recipe(experiment, {"corpora.0.seed": 1})

    with pytest.raises(ExperimentError, match="begun with another corpora"):
        open_study(other, store, read_corpora(other, store))


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
    open_study(ours, store, prepared)

    assert told["weights"] == "whisper"
    assert not told.keys() & {"root", "revision"}
    for same in ({"root": "/there/whisper"}, {"root": "hub/whisper", "revision": "abc"}):
        open_study(taught_by(experiment, **same), store, prepared)
    with pytest.raises(ExperimentError, match="begun with another recipe"):
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

    with pytest.raises(ExperimentError, match="begun with another recipe"):
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


def test_a_sweep_that_is_not_there_is_told_with_those_that_are(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> None:
    with pytest.raises(ExperimentError, match="no sweep has run yet"):
        load_study(experiment, store, name="small")

    add(open_study(experiment, store, prepared), 0.5)

    with pytest.raises(ExperimentError, match=r"called 'smal'.*sweeps in this store: small"):
        load_study(experiment, store, name="smal")
    assert load_study(experiment, store, name="small").trials[0].value == 0.5


def test_a_summary_counts_states_and_names_the_earliest_of_the_best() -> None:
    study = optuna.create_study(study_name="small", direction="maximize")
    add(study, 0.4, folds={"a": 0.4})
    add(study, 0.6)
    add(study, None, reason="a: out of memory")
    add(study, 0.6)
    study.ask()

    summary = summarise(study, metric="macro_recall", planned=8)

    assert (summary.complete, summary.failed, summary.running, summary.planned) == (3, 1, 1, 8)
    assert (summary.best_number, summary.best_value) == (1, 0.6)
    assert summary.best_overrides == {"recipe.training.lr": 0.5}
    assert [trial["ended"] for trial in summary.trials] == [True] * 4 + [False]
    assert summary.trials[0]["folds"] == {"a": 0.4}
    assert summary.trials[2]["reason"] == "a: out of memory"


def test_a_study_without_a_complete_trial_has_no_best() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, None, reason="a: no")

    assert best_trial(study) is None
    assert summarise(study, metric="accuracy", planned=1).best_overrides == {}


def test_the_sampler_is_made_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        make_sampler("tpe", seed=0, number=0)

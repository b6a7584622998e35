"""The Optuna study of a sweep: where it lives, what it belongs to, and where it stands."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import ExperimentError, StoreError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import PretrainedSource, PretrainedTeacher
from orchestrator.preparation import Prepared, fingerprints_of, own_protocols
from orchestrator.source_encoder import source_facts
from orchestrator.store import Store
from orchestrator.teacher_encoder import teachers_weights
from orchestrator.training.state import derived_seed

OVERRIDES = "overrides"
BELONGS_TO = "belongs_to"


def study_path(experiment: Experiment, store: Store) -> Path:
    """The study's database: in the store if that is a local folder, else in the working folder."""
    name = f"{experiment.name}.study.db"
    if "://" in store.uri:
        return Path(name)
    return Path(store.uri) / "studies" / name


def open_study(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...]
) -> optuna.Study:
    """The sweep's study, continued if it exists.

    Raises:
        ExperimentError: a study of this name belongs to another recipe, protocol or corpus; says
            which part changed.
    """
    path = study_path(experiment, store)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the study {path} cannot be written ({error}); make its folder writable, or name "
            "another with store= in the experiment"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{path}",
        study_name=experiment.name,
        direction="maximize",
        load_if_exists=True,
    )
    ours = belongs_to(experiment, prepared)
    theirs = study.user_attrs.get(BELONGS_TO)
    if theirs is None:
        study.set_user_attr(BELONGS_TO, ours)
    elif theirs != ours:
        changed = ", ".join(sorted(key for key in ours if ours[key] != theirs.get(key)))
        raise ExperimentError(
            f"the sweep {experiment.name!r} in {path} was begun with another {changed}; its trials "
            "cannot be compared with new ones. Give the experiment a new name, or undo the change"
        )
    return study


def load_study(experiment: Experiment, store: Store, *, name: str) -> optuna.Study:
    """A study that a sweep of this store has made.

    Raises:
        ExperimentError: there is none of that name; lists those that exist.
    """
    path = study_path(experiment.model_copy(update={"name": name}), store)
    if not path.is_file():
        others = sorted(p.name.removesuffix(".study.db") for p in path.parent.glob("*.study.db"))
        known = f"sweeps in this store: {', '.join(others)}" if others else "no sweep has run yet"
        raise ExperimentError(
            f"there is no sweep called {name!r} in {path.parent} ({known}); "
            "run `understudy sweep FILE` first"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(storage=f"sqlite:///{path}", study_name=name)


def belongs_to(experiment: Experiment, prepared: tuple[Prepared, ...]) -> dict[str, Any]:
    """What must not change while a sweep goes on; more trials may."""
    assert experiment.search is not None
    plain = experiment.model_dump(mode="json")
    search = {key: value for key, value in plain["search"].items() if key != "trials"}
    return {
        **recipe_and_features(experiment),
        "search": search
        | {
            "protocol": search["protocol"] or plain["protocol"],
            "protocols": own_protocols(experiment),
        },
        "corpora": fingerprints_of(prepared),
    }


def recipe_and_features(experiment: Experiment) -> dict[str, Any]:
    """The recipe as the file has it, and the features.

    Of a pretrained teacher's or source's encoder it has the hash of its ``weights`` in the place of
    ``root`` and ``revision``: what it is, wherever it lies.

    Raises:
        PretrainedError: the teacher's root is no speech encoder.
    """
    plain = experiment.model_dump(mode="json")
    teacher = experiment.recipe.teacher
    if isinstance(teacher, PretrainedTeacher):
        told = plain["recipe"]["teacher"]
        del told["root"], told["revision"]
        told["weights"] = teachers_weights(teacher)
    source = experiment.recipe.source
    if isinstance(source, PretrainedSource):
        plain["recipe"]["source"] = source_facts(source)
    if source is None:
        # so that a sweep begun before there were sources goes on
        del plain["recipe"]["source"], plain["recipe"]["initialise"]
        del plain["recipe"]["attention_transfer"]
        del plain["recipe"]["objectives"]["attention_transfer"]
    return {"recipe": plain["recipe"], "features": plain["features"]}


def make_sampler(kind: str, *, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler seeded by (seed, trial number), so that a resumed study repeats no draw."""
    drawn = derived_seed("sampler", seed, number) % 2**32
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=drawn)
    with warnings.catch_warnings():
        # said at every draw: that grouping of conditional parameters may change between versions
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=drawn, multivariate=True, group=True)


@dataclass(frozen=True)
class SweepSummary:
    """Where a sweep stands, read from its study."""

    name: str
    metric: str
    planned: int
    complete: int
    failed: int
    running: int
    best_number: int | None
    best_value: float | None
    best_overrides: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    """One row a trial: number, state, whether it has ended, value, folds, overrides, reason."""


def summarise(study: optuna.Study, *, metric: str, planned: int) -> SweepSummary:
    """Read a study; works while the sweep runs."""
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    return SweepSummary(
        name=study.study_name,
        metric=metric,
        planned=planned,
        complete=sum(t.state == TrialState.COMPLETE for t in trials),
        failed=sum(t.state == TrialState.FAIL for t in trials),
        running=sum(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in trials),
        best_number=None if best is None else best.number,
        best_value=None if best is None else best.value,
        best_overrides={} if best is None else overrides_of(best),
        trials=tuple(
            {
                "number": t.number,
                "state": t.state.name,
                "ended": t.state.is_finished(),
                "value": t.value,
                "folds": t.user_attrs.get("folds", {}),
                "overrides": overrides_of(t),
                "reason": t.user_attrs.get("reason", ""),
            }
            for t in trials
        ),
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest score; the earliest of equals."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min(complete, key=lambda t: (-(t.value or 0.0), t.number), default=None)


def overrides_of(trial: FrozenTrial) -> dict[str, Any]:
    """The recipe overrides a trial stands for."""
    found: dict[str, Any] = json.loads(trial.user_attrs.get(OVERRIDES, "{}"))
    return found

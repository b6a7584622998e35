"""The Optuna studies of a sweep: opened, extended and found again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.preparation import Prepared
from orchestrator.store import Store
from orchestrator.sweep.belonging import belongs_to, changes
from orchestrator.sweep.budget import SECONDS, seconds_used
from orchestrator.sweep.scoring import renormalised
from orchestrator.sweep.storage import (
    SUFFIX,
    open_storage,
    own_folder,
    shown_address,
    study_address,
    study_names,
)

OVERRIDES = "overrides"
BELONGS_TO = "belongs_to"
CARRIED = "carried"
"""User attribute of a further generation: the parameters of the trials that it takes over."""

_NAMED = 6
"""Changes that a refusal names."""
_INNER = " | "


def open_study(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...], *, inner: str = ""
) -> optuna.Study:
    """The study that a sweep goes on with; made if there is none.

    Where the experiment has more seeds or folds than the study was begun with, it is the next
    generation: a new study beside the old one, whose first trials have the numbers and parameters
    of the old ones (:func:`carried_of`) and are scored anew.

    Args:
        experiment: with a search.
        store: of the experiment.
        prepared: its corpora.
        inner: the fold of the evaluation, ``corpus/fold``, that the search is inside of; none: the
            sweep's own.

    Raises:
        ExperimentError: the study belongs to another recipe, search or corpus; says what changed.
        StoreError: it cannot be written, or the server does not answer.
    """
    search = experiment.search
    assert search is not None
    address = study_address(experiment, store)
    storage = open_storage(address)
    name = study_name(experiment.name, inner=inner)
    ours = belongs_to(experiment, prepared, inner=inner)
    number, latest = _latest(storage, name)
    if latest is not None and _is_idle(experiment, latest, ours):
        # begun and given up before the first trial: nothing is lost by beginning anew
        optuna.delete_study(storage=storage, study_name=latest.study_name)
        number, latest = _latest(storage, name)
    if latest is not None and not _extended(experiment, latest, ours, address=address):
        return latest
    study = optuna.create_study(
        storage=storage,
        study_name=generation_name(name, number + 1),
        directions=[
            StudyDirection.MAXIMIZE,
            *[StudyDirection.MINIMIZE] * len(search.minimise),
        ],
        load_if_exists=True,  # a process was killed before it had said what the study belongs to
    )
    if study.get_trials(deepcopy=False):
        raise ExperimentError(
            f"there is a study {study.study_name!r} in {shown_address(address)} that no sweep of "
            "Understudy made; give the experiment a new name"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(search.objectives))
    if latest is not None:
        study.set_user_attr(CARRIED, _parameters(latest))
        study.set_user_attr(SECONDS, seconds_used(latest))
    study.set_user_attr(BELONGS_TO, ours)  # last: until then it does not count
    return study


def find_study(
    experiment: Experiment, store: Store, prepared: tuple[Prepared, ...], *, inner: str = ""
) -> optuna.Study | None:
    """The study that :func:`open_study` would go on with, to read; None if it would make one.

    Raises:
        ExperimentError, StoreError: as :func:`open_study`.
    """
    if not study_exists(experiment, store, inner=inner):
        return None
    study = load_study(experiment, store, name=experiment.name, inner=inner)
    ours = belongs_to(experiment, prepared, inner=inner)
    address = study_address(experiment, store)
    if _is_idle(experiment, study, ours):
        return None
    return None if _extended(experiment, study, ours, address=address) else study


def study_exists(experiment: Experiment, store: Store, *, inner: str = "") -> bool:
    """Whether the experiment's sweep, or its search inside a fold, has begun.

    Raises:
        ExperimentError: ``search.storage`` is no study's.
        StoreError: it cannot be read, or the server does not answer.
    """
    names = study_names(study_address(experiment, store))
    return study_name(experiment.name, inner=inner) in names


def load_study(experiment: Experiment, store: Store, *, name: str, inner: str = "") -> optuna.Study:
    """A study that a sweep has made, its latest generation, to read.

    Args:
        experiment: whose ``search.storage`` counts.
        store: of the experiment.
        name: of the sweep.
        inner: as :func:`open_study`.

    Raises:
        ExperimentError: there is none of that name; lists those that exist.
        StoreError: it cannot be read, or the server does not answer.
    """
    address = study_address(experiment.model_copy(update={"name": name}), store)
    wanted = study_name(name, inner=inner)
    names = study_names(address)
    if wanted not in names:
        at = None if experiment.search is None else experiment.search.storage
        if at is None:
            there, where = own_folder(store), str(own_folder(store))
            names = tuple(file.name.removesuffix(SUFFIX) for file in there.glob(f"*{SUFFIX}"))
        else:
            where = shown_address(address)
        others = sorted({one.partition(_INNER)[0].partition(" (")[0] for one in names})
        known = f"sweeps there: {', '.join(others)}" if others else "no sweep has run yet"
        raise ExperimentError(
            f"there is no sweep called {wanted!r} in {where} ({known}); "
            "run `understudy sweep FILE` first"
        )
    storage = open_storage(address, write=False)
    _, latest = _latest(storage, wanted)
    return latest or optuna.load_study(storage=storage, study_name=wanted)


def study_name(name: str, *, inner: str = "") -> str:
    """What the first generation of a sweep's study is called, or that of a search inside a fold."""
    return f"{name}{_INNER}{inner}" if inner else name


def generation_name(name: str, number: int) -> str:
    """What a generation of a study is called.

    >>> generation_name("demo", 2)
    'demo (generation 2)'
    """
    return name if number == 1 else f"{name} (generation {number})"


def inner_folds_of(names: Iterable[str], name: str) -> list[str]:
    """The folds, ``corpus/fold``, inside of which a sweep's search was repeated.

    Args:
        names: of studies.
        name: of the sweep.

    >>> inner_folds_of(["demo", "demo | emodb/speaker=03", "other | emodb/speaker=08"], "demo")
    ['emodb/speaker=03']
    """
    begin = f"{name}{_INNER}"
    inside = (one.removeprefix(begin) for one in names if one.startswith(begin))
    return sorted({one.partition(" (generation ")[0] for one in inside})


def carried_of(study: optuna.Study) -> tuple[Mapping[str, Any], ...]:
    """The parameters of the trials taken over from the generation before, by number."""
    return tuple(study.user_attrs.get(CARRIED, ()))


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest score, the earliest of equals.

    None while no trial is complete, and where there are several objectives.
    """
    if len(study.directions) > 1:
        return None
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    scores = scores_of(study)
    return min(complete, key=lambda t: (-scores[t.number], t.number), default=None)


def overrides_of(trial: FrozenTrial) -> dict[str, Any]:
    """The recipe overrides a trial stands for."""
    found: dict[str, Any] = json.loads(trial.user_attrs.get(OVERRIDES, "{}"))
    return found


def scores_of(study: optuna.Study) -> dict[int, float]:
    """The score of each complete trial, by number.

    Those that are relative to other trials are so to all that are complete now.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kind = study.user_attrs.get(BELONGS_TO, {}).get("search", {}).get("aggregate", "mean")
    if kind in ("rank", "z"):
        return renormalised({t.number: t.user_attrs["folds"] for t in complete}, kind=kind)
    return {t.number: t.values[0] for t in complete}


def _latest(storage: optuna.storages.BaseStorage, name: str) -> tuple[int, optuna.Study | None]:
    """The last generation that has said what it belongs to, and its number; 0 and None if none."""
    names = {study.study_name for study in storage.get_all_studies()}
    number, latest = 0, None
    while generation_name(name, number + 1) in names:
        study = optuna.load_study(storage=storage, study_name=generation_name(name, number + 1))
        if BELONGS_TO not in study.user_attrs:
            break
        number, latest = number + 1, study
    return number, latest


def _is_idle(experiment: Experiment, study: optuna.Study, ours: Mapping[str, Any]) -> bool:
    """Whether a study that was begun with something else has no trial yet."""
    theirs = study.user_attrs.get(BELONGS_TO, ours)
    return not study.get_trials(deepcopy=False) and bool(
        changes(experiment, theirs=theirs, ours=ours)
    )


def _extended(
    experiment: Experiment, study: optuna.Study, ours: Mapping[str, Any], *, address: str
) -> bool:
    """Whether there are more seeds or folds than the study was begun with.

    Raises:
        ExperimentError: something else changed.
    """
    found = changes(experiment, theirs=study.user_attrs.get(BELONGS_TO, ours), ours=ours)
    refused = [str(change) for change in found if not change.extends]
    if refused:
        parts = " and ".join(sorted({change.part for change in found if not change.extends}))
        named = "; ".join(refused[:_NAMED])
        more = f" (and {len(refused) - _NAMED} more)" if len(refused) > _NAMED else ""
        raise ExperimentError(
            f"the sweep {study.study_name!r} in {shown_address(address)} was begun with another "
            f"{parts} ({named}{more}); its trials cannot be compared with new ones. Give the "
            "experiment a new name, or undo the change"
        )
    return bool(found)


def _parameters(study: optuna.Study) -> list[dict[str, Any]]:
    """Of every trial that a study has had or was to take over, by number."""
    carried = carried_of(study)
    own = [trial.params for trial in study.get_trials(deepcopy=False)]
    count = max(len(own), len(carried))
    return [
        {**(carried[at] if at < len(carried) else {}), **(own[at] if at < len(own) else {})}
        for at in range(count)
    ]

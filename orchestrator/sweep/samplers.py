"""Optuna's samplers, such that a trial's draws are the same each time they are made.

A driver may be killed between two draws of one trial, and the next one takes the trial up again. So
a draw here is a function of the search's seed, the number of the trial, the name of the parameter
and what the study holds of other trials; not of what was drawn before it. Each draw has a sampler
of its own, seeded by those, which sees a copy of the study that it may write to without effect.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search import SamplerKind, Search
from orchestrator.sweep.space_changes import value_in
from orchestrator.training.state import derived_seed

View = Callable[[optuna.Study], optuna.Study]
"""From a study to what its sampler is shown in its place."""

STARTUP = 10
"""Trials at the beginning that ``tpe`` and ``gp`` draw at random (Optuna's default)."""

JOINT: frozenset[SamplerKind] = frozenset({"gp", "nsga2", "qmc"})
"""Samplers that know only the parameters which every trial has; others they draw at random."""


def population(trials: int) -> int:
    """Of NSGA-II, for a search of so many trials: a quarter of them, at most Optuna's 50."""
    return min(50, max(4, trials // 4))


def refuse_sampler(search: Search) -> None:
    """Refuse a sampler that could not do what the search asks of it.

    All six can search for several objectives, with constraints, and over conditional spaces.

    Raises:
        ExperimentError: starting points of a grid; or so few trials that a sampler which learns
            would draw all of them at random.
    """
    kind = search.sampler
    if kind == "grid" and search.start:
        raise ExperimentError(
            "search.start gives points to try first, but search.sampler 'grid' goes through all "
            "points of the space; take search.start out, or use tpe, gp, nsga2, random or qmc"
        )
    random_first = {"gp": STARTUP, "nsga2": population(search.trials)}.get(kind, 0)
    if search.trials <= random_first:
        raise ExperimentError(
            f"search.sampler {kind!r} draws its first {random_first} trials at random, and "
            f"search.trials is {search.trials}, so it would never learn from one; raise "
            "search.trials, or use random, qmc or grid"
        )


@dataclass(eq=False)
class TrialSampler(BaseSampler):
    """The sampler of one trial.

    Attributes:
        kind: of the sampler; ``grid`` has all of its values ``given``.
        seed: of the search.
        number: of the trial.
        trials: of the search.
        given: values that are not drawn, by name; ``key`` says where they are from.
        complete: whether ``given`` is all that the trial needs.
        always: the parameters that every trial has.
    """

    kind: SamplerKind
    seed: int
    number: int
    trials: int
    given: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    complete: bool = False
    always: Mapping[str, BaseDistribution] = field(default_factory=dict)
    view: View | None = None
    _seen: Seen | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Parameters that are drawn together."""
        if self.complete or self.kind in ("random", "grid"):
            return {}
        if self.kind == "qmc":
            return dict(self.always)
        return self._inner().infer_relative_search_space(self._others(study, trial), trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Their values."""
        if not search_space:
            return {}
        inner, seen = self._inner(), self._others(study, trial)
        if self.kind == "tpe":
            inner.infer_relative_search_space(seen, trial)  # it keeps its groups
        drawn = inner.sample_relative(seen, trial, search_space)
        return {name: value for name, value in drawn.items() if name not in self.given}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one parameter by itself."""
        if param_name in self.given:
            key = f"{self.key}.{param_name}"
            return value_in(key, self.given[param_name], param_distribution)
        seed = self._seed(param_name)
        inner = _tpe(seed) if self.kind == "tpe" else RandomSampler(seed=seed)
        return inner.sample_independent(
            self._others(study, trial), trial, param_name, param_distribution
        )

    def _inner(self) -> BaseSampler:
        seed = self._seed()
        match self.kind:
            case "gp":
                return GPSampler(seed=seed, warn_independent_sampling=False)
            case "nsga2":
                return NSGAIISampler(seed=seed, population_size=population(self.trials))
            case "qmc":
                return _Sobol(self.number, seed=derived_seed("qmc", self.seed) % 2**32)
        return _tpe(seed)

    def _seed(self, *name: str) -> int:
        return derived_seed("sampler", self.seed, self.number, *name) % 2**32

    def _others(self, study: optuna.Study, trial: FrozenTrial) -> Seen:
        """What the study held of other trials at this trial's first draw."""
        if self._seen is None:
            shown = study if self.view is None else self.view(study)
            trials = [t for t in shown.get_trials(deepcopy=False) if t.number != trial.number]
            if self.kind in ("gp", "nsga2"):
                trials = scored(trials, study.directions)
            if self.kind == "nsga2":
                trials = in_generations(trials, size=population(self.trials))
            self._seen = Seen(trials, study.directions)
        return self._seen


class Seen(optuna.Study):
    """Trials that a sampler may look at; what it notes beside them stays here."""

    def __init__(self, trials: Sequence[FrozenTrial], directions: list[StudyDirection]) -> None:
        self._trials = trials
        self._directions = directions
        self._study_id = 0
        self._storage = cast("Any", _Notes())

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class _Notes:
    """The part of a storage that samplers write to."""

    def __init__(self) -> None:
        self._study: dict[str, Any] = {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._study[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Samplers leave word for others that draw at the same time; here there are none."""


class _Sobol(optuna.samplers.QMCSampler):
    """Point N of a scrambled Sobol sequence for trial N; Optuna counts its calls instead."""

    def __init__(self, number: int, *, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(scramble=True, seed=seed)
        self._number = number

    def _find_sample_id(
        self, study: optuna.Study, search_space: dict[str, BaseDistribution]
    ) -> int:
        return self._number


def _tpe(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        # that grouping of conditional parameters may change between versions
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=STARTUP,
            multivariate=True,
            group=True,
        )


def scored(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Trials for samplers that look at complete ones only: pruned ones are shown as complete.

    A pruned trial has its last intermediate value, which is adjusted for the folds that it had not
    run. One that was not run since it lies beyond a constraint has the worst values so far, so that
    the sampler may learn from its constraint. Others that were pruned are left out, and so is a
    trial that lacks a constraint which others have.
    """
    complete = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
    worst = [
        (min if direction == StudyDirection.MAXIMIZE else max)(column)
        for direction, column in zip(directions, zip(*complete, strict=True), strict=False)
    ] or [0.0] * len(directions)
    constraints = {name for trial in trials for name in trial.constraints}
    found = []
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            beyond = any(value > 0 for value in trial.constraints.values())
            values = trial.values or (worst if beyond else None)
            if values is None:
                continue
        elif trial.state == TrialState.COMPLETE:
            values = trial.values
        else:
            found.append(trial)
            continue
        if trial.constraints.keys() != constraints:
            continue
        shown = copy.copy(trial)
        shown.state = TrialState.COMPLETE
        shown.values = values
        # GPSampler takes constraints in the order in which it finds them
        shown.system_attrs = dict(sorted(trial.system_attrs.items()))
        found.append(shown)
    return found


def in_generations(trials: Sequence[FrozenTrial], *, size: int) -> list[FrozenTrial]:
    """NSGA-II's generations by the order of numbers; Optuna notes them as trials begin."""
    key = NSGAIISampler._get_generation_key()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for index, trial in enumerate(complete):
        trial.system_attrs = {**trial.system_attrs, key: index // size}
    return complete

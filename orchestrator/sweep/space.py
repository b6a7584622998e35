"""The space of a search: a function of ``search_spaces``, changed as the experiment file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.search import Search
from orchestrator.sweep.study import make_sampler
from orchestrator.sweep.trial import trial_recipe
from search_spaces import Space, SpaceError, get_space

_DRAWS = 64
"""Of a space, checked before a sweep begins."""

View = Callable[[optuna.Study], optuna.Study]
"""From a study to what its sampler is shown in its place."""


@dataclass(frozen=True)
class SearchSpace:
    """What is proposed, and by what sampler."""

    search: Search
    function: Space

    @property
    def size(self) -> int | None:
        """How many points there are, where the sampler goes through all of them; else None."""
        return None

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Overrides of the recipe, by dotted key."""
        return dict(self.function(trial))

    def sampler(
        self,
        number: int,
        *,
        carried: Sequence[Mapping[str, Any]] = (),
        view: View | None = None,
    ) -> optuna.samplers.BaseSampler:
        """The sampler of trial ``number``: the same draws each time it is made.

        Args:
            number: of the trial.
            carried: parameters of the trials that this search takes over, by number.
            view: what the sampler is shown of the study; default: the study.
        """
        return make_sampler(self.search.sampler, seed=self.search.seed, number=number)


def checked_space(experiment: Experiment) -> SearchSpace:
    """The space of an experiment's search, after draws that make valid recipes.

    Raises:
        ExperimentError: what is wrong with it.
    """
    search = experiment.search
    assert search is not None
    assert search.space is not None
    try:
        space = SearchSpace(search, get_space(search.space))
    except SpaceError as error:
        raise ExperimentError(f"search.space: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(_DRAWS):
        trial_recipe(experiment, space.suggest(study.ask()))
    return space

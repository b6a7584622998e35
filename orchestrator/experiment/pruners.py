"""The ``search.pruner`` section: which trials of a search stop before their last fold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.experiment.section import Section


class NoPruner(Section):
    """Every trial runs every fold."""

    kind: Literal["none"] = "none"


class WilcoxonPruner(Section):
    """Stops a trial that Wilcoxon's signed-rank test finds worse than the best so far."""

    kind: Literal["wilcoxon"]
    p: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Of stopping a trial that is no worse than the best, over all looks at it together."""


class HalvingPruner(Section):
    """Lets the best part of the trials go on, at one fold, at a few, at more (ASHA on folds)."""

    kind: Literal["halving"]
    keep: Annotated[float, Field(gt=0.0, lt=1.0)] = 1 / 3
    """Part of the trials that goes on at each rung."""
    first: Annotated[int, Field(ge=1)] = 2
    """Folds at the first rung; each next one has ``1 / keep`` times as many."""


class RacePruner(Section):
    """Stops a trial when the interval of its paired difference to the best lies below zero."""

    kind: Literal["race"]
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Of Student's t interval over folds, over all looks together."""


class MedianPruner(Section):
    """Stops a trial that lies below the median of the others after as many folds."""

    kind: Literal["median"]
    after: Annotated[int, Field(ge=1)] = 4
    """Complete trials before any is stopped."""
    first: Annotated[int, Field(ge=1)] = 2
    """Folds before a trial may be stopped."""


PrunerSection = Annotated[
    NoPruner | WilcoxonPruner | HalvingPruner | RacePruner | MedianPruner,
    Field(discriminator="kind"),
]

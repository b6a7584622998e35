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
    """Of stopping a trial that is no worse than another, fixed beforehand, over all looks at it
    together; the best of many trials has been lucky, and beside it about twice as many are."""


class HalvingPruner(Section):
    """Lets fewer trials go on the more folds they have run (successive halving on folds)."""

    kind: Literal["halving"]
    keep: Annotated[float, Field(gt=0.0, lt=1.0)] = 1 / 3
    """Part of the trials that goes on after ``first`` folds; after twice as many half that part
    does, and so on at every fold."""
    first: Annotated[int, Field(ge=1)] = 2
    """Folds before a trial may be stopped."""


class RacePruner(Section):
    """Stops a trial when the interval of what it will score in the end lies below the best."""

    kind: Literal["race"]
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.9
    """Of Student's t interval of its mean over all folds, over all looks together."""


class MedianPruner(Section):
    """Stops a trial that is expected to end below the median of the others."""

    kind: Literal["median"]
    after: Annotated[int, Field(ge=1)] = 4
    """Complete trials before any is stopped."""
    first: Annotated[int, Field(ge=1)] = 2
    """Folds before a trial may be stopped."""


PrunerSection = Annotated[
    NoPruner | WilcoxonPruner | HalvingPruner | RacePruner | MedianPruner,
    Field(discriminator="kind"),
]

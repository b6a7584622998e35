"""The ``search`` section: what is proposed, how it is scored, and when it ends."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.protocol import ProtocolSection
from orchestrator.experiment.pruners import NoPruner, PrunerSection
from orchestrator.experiment.section import Section

Metric = Literal["macro_recall", "accuracy", "weighted_f1", "macro_f1"]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Cost = Literal["macs", "parameters"]
"""What a student costs: multiply-accumulates of an utterance, and parameters."""
Aggregate = Literal["mean", "rank", "z", "worst"]
SamplerKind = Literal["tpe", "gp", "nsga2", "random", "qmc", "grid"]


class Search(Section):
    """The ``search`` section: what is proposed and how it is scored, on validation only."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "parameters",
            "max_hours",
            "minimise",
            "constraints",
            "aggregate",
            "folds",
            "pruner",
            "start",
            "storage",
        }
    )

    space: str | None = None
    """A function of ``search_spaces``, by file name; none: ``parameters`` are all that is
    searched."""
    parameters: dict[str, Any] = {}
    """Changes of the space by the name of a parameter: one value fixes it, a list of values or a
    range ``{low, high, log, step}`` takes the place of its own, and a dotted key of the recipe that
    the space does not propose is proposed too."""
    trials: Annotated[int, Field(ge=1)] = 40
    max_hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours after which no further trial begins, over all sittings; those under way are ended."""
    metric: Metric = "macro_recall"
    minimise: tuple[Cost, ...] = ()
    """Further objectives: the outcome is a set of trials of which none is better in everything."""
    constraints: dict[Cost, Annotated[float, Field(gt=0.0)]] = {}
    """The most that a student may cost; a trial beyond is not run."""
    aggregate: Aggregate = "mean"
    """From the scores of folds to that of a trial: their mean; the mean of ranks, or of z-scores,
    among the trials in each corpus; or the mean of the corpus that it does worst on."""
    protocol: ProtocolSection | None = None
    """Folds of the search, usually cheaper than the evaluation's; default: the same."""
    folds: tuple[str, ...] = ()
    """Names of the folds that are searched on; default: all."""
    seeds: Seeds = (0,)
    """Training seeds of each fold, averaged inside the fold."""
    sampler: SamplerKind = "tpe"
    pruner: PrunerSection = NoPruner()
    """Which trials stop before their last fold."""
    start: tuple[dict[str, Any], ...] = ()
    """Points that are tried first: values by the name of a parameter; what is left out is drawn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampler."""
    storage: str | None = None
    """Where the study lies: an address such as ``sqlite:///study.db``, ``journal:study.log`` or
    ``postgresql://host/db``; default: a file in the store."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of what is searched for: the metric, then the costs."""
        return (self.metric, *self.minimise)

    @model_validator(mode="after")
    def _goes_together(self) -> Search:
        if self.space is None and not self.parameters:
            raise ValueError(
                "search: there is neither a space nor parameters, so nothing is searched; name a "
                "space (space: distillation), or parameters by dotted key of the recipe"
            )
        if len(set(self.minimise)) < len(self.minimise):
            raise ValueError(f"search.minimise {list(self.minimise)}: each cost may stand once")
        kind = self.pruner.kind
        if self.minimise and kind != "none":
            raise ValueError(
                f"search.pruner is {kind!r} but there are several objectives "
                f"({', '.join(self.objectives)}): a trial that is beaten in one may lead in "
                "another; set search.pruner: {kind: none}"
            )
        if self.aggregate != "mean" and kind in ("wilcoxon", "race"):
            raise ValueError(
                f"search.pruner {kind!r} compares trials fold by fold, by plain scores, which is "
                f"not what search.aggregate {self.aggregate!r} makes of them; use halving, median "
                "or none"
            )
        return self

"""The ``evaluate`` section: the sealed measurement, and how its recipe came about."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from orchestrator.experiment.protocol import ProtocolSection
from orchestrator.experiment.search import Search, Seeds
from orchestrator.experiment.section import Section

System = Literal["teacher", "student-alone", "distilled"]
Selection = Literal["fixed", "same-corpus", "per-fold", "nested"]


class Choice(Section):
    """Which trial one fold of an evaluation took its recipe from."""

    trial: int
    overrides: dict[str, Any]
    """What the trial changed, by dotted key."""
    value: float
    """What it scored on validation where it was chosen, as a fraction."""


class Selected(Section):
    """Which trials recipes were taken from; set by ``understudy evaluate``, not by hand."""

    LATER: ClassVar[frozenset[str]] = frozenset({"choices", "sampler", "pruner"})

    sweep: str
    trial: int | None
    """None where each fold has its own."""
    protocol: ProtocolSection
    """Of the sweep, as it was."""
    protocols: dict[str, ProtocolSection] = {}
    """Of the sweep's corpora that had their own, by name."""
    seeds: Seeds
    fingerprints: dict[str, str]
    """Of the sweep's corpora, by name."""
    choices: dict[str, Choice] = {}
    """By ``corpus/fold`` of the evaluation, where each fold has its own."""
    sampler: str = ""
    """Of the sweep, where each fold has its own."""
    pruner: str = ""
    """Likewise."""


class Nested(Section):
    """The ``evaluate.nested`` section: the search that is repeated inside each fold."""

    inner_folds: Annotated[int, Field(ge=2)] = 3
    """Into how many groups the speakers (or sessions, dialogues, utterances) that a fold does not
    test are dealt; each is validation once."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Of each fold's own search."""


class Evaluate(Section):
    """The ``evaluate`` section: the sealed measurement."""

    LATER: ClassVar[frozenset[str]] = frozenset({"nested"})

    seeds: Seeds = (0, 1, 2)
    selection: Selection = "fixed"
    """How the recipe came about: as written; as the best trial of this experiment's sweep; for each
    fold as the trial that its own validation liked best; or by a search inside each fold."""
    nested: Nested | None = None
    """Of the searches inside each fold, with ``selection: nested``."""
    systems: Annotated[tuple[System, ...], Field(min_length=1)] = (
        "teacher",
        "student-alone",
        "distilled",
    )
    """``student-alone`` is the same student and update budget with cross-entropy only."""
    folds: tuple[str, ...] = ()
    """Names of the folds to evaluate (``speaker=03``), for a quick look; default: all."""
    ablations: dict[str, dict[str, Any]] = {}
    """Further systems to compare: a name, and below it changes of the recipe by dotted key
    (``recipe.meta.kind: none``)."""

    @property
    def inner_search(self) -> Nested:
        """Of the searches inside each fold: as the file says, or the defaults."""
        return self.nested or Nested()

    @field_validator("ablations")
    @classmethod
    def _named(cls, ablations: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in ablations:
            if not re.fullmatch(r"[a-z0-9][a-z0-9+-]*", name):
                raise ValueError(
                    f"the name {name!r} should be of lower-case letters, digits, '+' and '-', and "
                    "begin with a letter or a digit"
                )
            if name in get_args(System):
                raise ValueError(f"{name!r} is a system of its own; give another name")
        return ablations

    @model_validator(mode="after")
    def _nested_goes_with_it(self) -> Evaluate:
        if self.nested is not None and self.selection != "nested":
            raise ValueError(
                f"evaluate.nested is given but evaluate.selection is {self.selection!r}; set "
                "evaluate.selection: nested, or take evaluate.nested out"
            )
        return self


def refuse_selection(
    evaluate: Evaluate, search: Search | None, *, protocol: ProtocolSection, shared: bool
) -> None:
    """Raise where recipes cannot come about as ``evaluate.selection`` says.

    Args:
        evaluate: of the experiment.
        search: of the experiment.
        protocol: of the experiment.
        shared: whether some corpus has no protocol of its own, so that the search's goes for it.
    """
    how = evaluate.selection
    if how == "fixed":
        return
    if search is None:
        raise ValueError(
            f"evaluate.selection is {how!r} but there is no search section; "
            "add one or use selection: fixed"
        )
    if how == "same-corpus":
        return
    if search.minimise:
        raise ValueError(
            f"evaluate.selection is {how!r}, which takes the best trial of each fold, "
            f"but the search has several objectives ({', '.join(search.objectives)}), and "
            "no trial is the best; take search.minimise out, or name its costs in "
            "search.constraints"
        )
    if how == "per-fold":
        _refuse_other_folds(evaluate, search, protocol=protocol, shared=shared)


def _refuse_other_folds(
    evaluate: Evaluate, search: Search, *, protocol: ProtocolSection, shared: bool
) -> None:
    said = (
        "evaluate.selection is 'per-fold', which takes for each fold the trial that its own "
        "validation liked best, but "
    )
    if shared and search.protocol is not None and search.protocol != protocol:
        raise ValueError(
            f"{said}search.protocol ({_told(search.protocol)}) makes other folds than protocol "
            f"({_told(protocol)}); leave search.protocol out, or set evaluate.selection: "
            "same-corpus, or nested"
        )
    if search.folds and not evaluate.folds:
        raise ValueError(
            f"{said}search.folds names {', '.join(search.folds)} only and all folds are to be "
            "evaluated; leave search.folds out, or name the same in evaluate.folds"
        )
    missing = [name for name in evaluate.folds if search.folds and name not in search.folds]
    if missing:
        raise ValueError(
            f"{said}search.folds ({', '.join(search.folds)}) lacks {missing[0]!r} of "
            "evaluate.folds; add it there"
        )


def _told(protocol: ProtocolSection) -> str:
    options = protocol.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    return ", ".join([protocol.kind, *(f"{key} {value}" for key, value in options.items())])

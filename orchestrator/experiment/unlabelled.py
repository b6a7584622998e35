"""The ``recipe.unlabelled`` section: how speech without labels is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.experiment.numbers import Count, Positive
from orchestrator.experiment.section import Section


class NoUnlabelled(Section):
    """Unlabelled speech is not used."""

    kind: Literal["none"] = "none"


class UnlabelledFirst(Section):
    """A first stage on unlabelled speech alone, through the objectives that need no label."""

    kind: Literal["first"]
    epochs: Count = 10


class UnlabelledMixed(Section):
    """Each update hears unlabelled speech too, through the objectives that need no label."""

    kind: Literal["mixed"]
    weight: Positive = 0.5
    """Of its loss against that of labelled speech."""
    batch_size: Count = 16
    """Unlabelled utterances in each update."""


UnlabelledUse = Annotated[
    NoUnlabelled | UnlabelledFirst | UnlabelledMixed, Field(discriminator="kind")
]

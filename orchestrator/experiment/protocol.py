"""The ``protocol`` section: how a corpus becomes folds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.experiment.section import Section


class LeaveOneSessionOut(Section):
    """Each session is the test set once; validation is one other whole session."""

    kind: Literal["leave-one-session-out"]
    validation_sessions: Annotated[int, Field(ge=1)] = 1


class LeaveOneSpeakerOut(Section):
    """Each speaker is the test set once; validation is other speakers."""

    kind: Literal["leave-one-speaker-out"]
    validation_speakers: Annotated[int, Field(ge=1)] = 2


class SpeakerFolds(Section):
    """Speakers are dealt into ``folds`` groups; each group is the test set once."""

    kind: Literal["speaker-folds"]
    folds: Annotated[int, Field(ge=2)] = 5
    validation_speakers: Annotated[int, Field(ge=1)] = 2


class RandomFolds(Section):
    """Utterances are dealt into ``folds`` at random: speaker-dependent, so it warns."""

    kind: Literal["random-folds"]
    folds: Annotated[int, Field(ge=2)] = 5
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the utterances outside the test fold."""


ProtocolSection = Annotated[
    LeaveOneSessionOut | LeaveOneSpeakerOut | SpeakerFolds | RandomFolds,
    Field(discriminator="kind"),
]

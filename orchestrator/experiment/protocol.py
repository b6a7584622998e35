"""The ``protocol`` section: how a corpus becomes folds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.section import Section


class ProtocolBase(Section):
    """What every protocol can do."""

    text_disjoint: bool = False
    """Leave out of training what the test set says too; needs a corpus whose texts are known."""


class TextFolds(ProtocolBase):
    """Protocols that can cut a test set by its texts."""

    text_folds: Annotated[int, Field(ge=1)] | None = None
    """With ``text_disjoint``: each test set is cut into so many folds of different texts. Needed
    where all speakers say the same texts, since nothing would be left for training otherwise;
    default: 1, or 2 where 1 would leave training without an emotion."""

    @model_validator(mode="after")
    def _texts_apart(self) -> TextFolds:
        if self.text_folds is not None and not self.text_disjoint:
            raise ValueError(
                f"text_folds is {self.text_folds} but text_disjoint is false; "
                "set text_disjoint: true or leave text_folds out"
            )
        return self


class SpeakerRoles(TextFolds):
    """Protocols whose roles are whole speakers."""

    held_speakers: Annotated[int, Field(ge=0)] = 0
    """Training speakers kept apart for meta-learning, which alone hears them."""


class LeaveOneSessionOut(SpeakerRoles):
    """Each session is the test set once; validation is one other whole session."""

    kind: Literal["leave-one-session-out"]
    validation_sessions: Annotated[int, Field(ge=1)] = 1


class LeaveOneSpeakerOut(SpeakerRoles):
    """Each speaker is the test set once; validation is other speakers."""

    kind: Literal["leave-one-speaker-out"]
    validation_speakers: Annotated[int, Field(ge=1)] = 2


class SpeakerFolds(SpeakerRoles):
    """Speakers are dealt into ``folds`` groups, balanced by class; each is the test set once."""

    kind: Literal["speaker-folds"]
    folds: Annotated[int, Field(ge=2)] = 5
    validation_speakers: Annotated[int, Field(ge=1)] = 2
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often speakers are dealt, each time differently: so often is every utterance tested."""


class CrossCorpus(SpeakerRoles):
    """Train on some corpora, test on others; validation is speakers of the training corpora."""

    kind: Literal["cross-corpus"]
    train: tuple[str, ...] = ()
    """Names of the corpora to train on; default: all that a fold does not test."""
    test: tuple[str, ...] = ()
    """Names of the corpora to test, each a fold; default: all that ``train`` does not name, or
    each in turn."""
    validation_speakers: Annotated[int, Field(ge=1)] = 2
    """Of each training corpus."""

    @model_validator(mode="after")
    def _apart(self) -> CrossCorpus:
        if both := sorted(set(self.train) & set(self.test)):
            raise ValueError(f"corpus {both[0]!r} is in train and in test; name it in one of them")
        return self


class Official(ProtocolBase):
    """The corpus's own split; speakers may be in several roles, which the results say."""

    kind: Literal["official"]
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the training part, where the corpus names no validation part: whole dialogues where
    it has them, else utterances."""
    held_share: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of the training part kept apart for meta-learning, in the same units."""


class RandomFolds(TextFolds):
    """Utterances are dealt into ``folds`` at random: speaker-dependent, so it warns."""

    kind: Literal["random-folds"]
    folds: Annotated[int, Field(ge=2)] = 5
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the utterances outside the test fold."""
    held_share: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of the training utterances kept apart for meta-learning."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often utterances are dealt, each time differently."""


ProtocolSection = Annotated[
    CrossCorpus | LeaveOneSessionOut | LeaveOneSpeakerOut | Official | RandomFolds | SpeakerFolds,
    Field(discriminator="kind"),
]

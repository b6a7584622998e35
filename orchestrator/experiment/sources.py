"""The ``recipe.source`` section: a network that learned to attend by recognising speech."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.experiment.networks import SatnNetwork
from orchestrator.experiment.numbers import Count, Positive, Share
from orchestrator.experiment.section import Section
from orchestrator.experiment.training import Fitting


class Strings(Section):
    """Utterances of one speaker, joined into longer ones with pauses."""

    seconds: Positive = 3.0
    """About how long a string is. An utterance that is longer makes one by itself."""
    pause_seconds: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.1, 0.4)
    """Shortest and longest pause, before, between and after the utterances of a string."""
    passes: Count = 4
    """In how many strings each utterance occurs; each pass has an order of its own."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of order and pauses."""

    @field_validator("pause_seconds")
    @classmethod
    def _in_order(cls, pauses: tuple[float, float]) -> tuple[float, float]:
        low, high = pauses
        if low > high:
            raise ValueError(
                f"the shortest pause, {low:g} s, is longer than the longest, {high:g} s; "
                "exchange them"
            )
        return pauses


class RecogniserTraining(Fitting):
    """How a speech recogniser is fitted."""

    epochs: Count = 30
    lr: Positive = 2.0e-3
    average_decay: Share = 0.99
    epoch_choice: Literal["validation-loss", "validation-error-rate", "last"] = "validation-loss"
    """By CTC loss, by the share of units that best-path decoding gets wrong, or none."""

    @model_validator(mode="after")
    def _whole(self) -> RecogniserTraining:
        if self.augment.crop_seconds is not None:
            raise ValueError(
                f"augment.crop_seconds is {self.augment.crop_seconds}, but a transcript is of the "
                "whole utterance; leave it out"
            )
        return self


class Recogniser(Section):
    """A small speech recogniser (CTC) of the student's build, trained on transcribed speech."""

    network: SatnNetwork = SatnNetwork()
    """Its network below the output layer; a student can begin as it only if theirs are alike."""
    units: Literal["words", "characters"] = "characters"
    """What is recognised; ``words`` suits a few words only, such as digits."""
    strings: Strings | None = None
    """Join utterances into longer ones, for corpora of single words; default: as they are."""
    training: RecogniserTraining = RecogniserTraining()


class RecogniserSource(Recogniser):
    """Trained here, on the experiment's transcribed corpus, once for all folds and seeds."""

    kind: Literal["recogniser"]
    validation_speakers: Annotated[int, Field(ge=0)] = 1
    """Speakers of the transcribed corpus who choose the epoch instead of being trained on; 0 keeps
    the last epoch."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _judged(self) -> RecogniserSource:
        refuse_no_judge(self, speakers=self.validation_speakers, key="validation_speakers")
        return self


def refuse_no_judge(section: Recogniser, *, speakers: int, key: str) -> None:
    """Raise where nobody is left to choose the epoch that is to be chosen.

    Raises:
        ValueError: names the key and the mend.
    """
    if not speakers and section.training.epoch_choice != "last":
        raise ValueError(
            f"{key} is 0, so nobody chooses the epoch, but training.epoch_choice is "
            f"{section.training.epoch_choice!r}; set it to last, or keep a speaker apart"
        )


class PretrainedSource(Section):
    """A frozen ``transformers`` encoder that was trained to recognise speech."""

    kind: Literal["pretrained"]
    root: str
    """Folder of the encoder, or the name of a model on the Hugging Face hub."""
    revision: str | None = None
    """Of a model on the hub: branch, tag or commit; default: its main branch."""
    layers: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Self-attention layers that students may learn from, 1 being the first; default: the last.
    What each of them hears is kept in the store."""


SourceNet = Annotated[RecogniserSource | PretrainedSource, Field(discriminator="kind")]


class AttentionTransfer(Section):
    """What of the source's attention the student's is compared with, and how."""

    match: Literal["kl", "l2", "relations", "similarity"] = "kl"
    """``kl``: each head's maps, row by row (MiniLM, Wang et al. 2020); ``l2``: normalised maps
    over all heads (Zagoruyko & Komodakis 2017); ``relations``: queries, keys and values each among
    themselves, in ``relation_heads`` (MiniLMv2, Wang et al. 2021); ``similarity``: which utterances
    of a batch are heard alike (Tung & Mori 2019)."""
    values: bool = False
    """With ``kl``: values among themselves as well."""
    relation_heads: Count | None = None
    """With ``relations``: heads that both sides' are cut into anew; default: as they are."""
    pairs: (
        Annotated[
            tuple[Annotated[tuple[int, ...], Field(min_length=2, max_length=2)], ...],
            Field(min_length=1),
        ]
        | None
    ) = None
    """Which of the source's self-attention layers teaches which of the student's:
    ``[[source, student], ...]``, 1 being the first, -1 the last that is to be had, -2 the one
    before it; default: the last teaches the last."""

    @model_validator(mode="after")
    def _read(self) -> AttentionTransfer:
        if self.values and self.match != "kl":
            raise ValueError(
                f"values is true but match is {self.match!r}, which does not ask for them; "
                "use match: kl, or leave values out"
            )
        if self.relation_heads is not None and self.match != "relations":
            raise ValueError(
                f"relation_heads is {self.relation_heads} but match is {self.match!r}; "
                "use match: relations, or leave it out"
            )
        if any(0 in pair for pair in self.pairs or ()):
            raise ValueError(
                f"pairs {[list(pair) for pair in self.pairs or ()]}: layers are counted from 1, or "
                "from -1 backwards"
            )
        return self

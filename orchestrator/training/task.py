"""What a fold run is given, and whom it reports to. There are no test labels here (law 1)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from orchestrator.encoder_outputs import EncoderHandle
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import Recipe
from orchestrator.features import PackHandle
from orchestrator.store import Store
from orchestrator.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Unlabelled:
    """Utterances to listen to: all that scoring is given of a test set (law 1)."""

    ids: tuple[str, ...]
    contents: tuple[str, ...]

    @classmethod
    def of_table(cls, table: pd.DataFrame, ids: Sequence[str]) -> Unlabelled:
        """The rows ``ids`` of a corpus table, sorted by id, without their emotions."""
        rows = table.set_index("id").loc[sorted(ids)]
        return cls(ids=tuple(rows.index), contents=tuple(rows["content"]))

    def key(self) -> dict[str, Any]:
        """What a store key needs of them."""
        return {"n": len(self.ids), "digest": _digest(zip(self.ids, self.contents, strict=True))}


@dataclass(frozen=True)
class Utterances(Unlabelled):
    """Labelled utterances of one role, sorted by id."""

    labels: tuple[int, ...]
    speakers: tuple[str, ...]
    votes: tuple[tuple[float, ...], ...] = ()
    """Share of votes for each emotion, all of the label where there are none; empty if no
    utterance has votes."""
    agreement: tuple[float, ...] = ()
    """Share of listeners who chose the label, NaN where nobody was asked; empty if that is so of
    all."""

    @classmethod
    def of(cls, table: pd.DataFrame, ids: Sequence[str], *, emotions: Sequence[str]) -> Utterances:
        """The rows ``ids`` of a corpus table, emotions numbered by their place in ``emotions``."""
        rows = table.set_index("id").loc[sorted(ids)]
        number = {emotion: index for index, emotion in enumerate(emotions)}
        return cls(
            ids=tuple(rows.index),
            contents=tuple(rows["content"]),
            labels=tuple(number[emotion] for emotion in rows["emotion"]),
            speakers=tuple(rows["speaker"]),
            votes=_shares(rows, number),
            agreement=_agreement(rows),
        )

    def subset(self, ids: Sequence[str]) -> Utterances:
        """The utterances among ``ids``, in this set's order."""
        keep = set(ids)
        rows = [index for index, name in enumerate(self.ids) if name in keep]
        return Utterances(
            ids=tuple(self.ids[row] for row in rows),
            contents=tuple(self.contents[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            speakers=tuple(self.speakers[row] for row in rows),
            votes=tuple(self.votes[row] for row in rows) if self.votes else (),
            agreement=tuple(self.agreement[row] for row in rows) if self.agreement else (),
        )

    def with_others(self, others: Utterances) -> Utterances:
        """These and others, of the same corpus, sorted by id."""
        one, other = self._filled(others), others._filled(self)
        ids = (*one.ids, *other.ids)
        order = sorted(range(len(ids)), key=ids.__getitem__)

        def both(name: str) -> tuple[Any, ...]:
            values = (*getattr(one, name), *getattr(other, name))
            return tuple(values[row] for row in order) if values else ()

        return Utterances(
            ids=both("ids"),
            contents=both("contents"),
            labels=both("labels"),
            speakers=both("speakers"),
            votes=both("votes"),
            agreement=both("agreement"),
        )

    def _filled(self, others: Utterances) -> Utterances:
        """These with votes and agreement where ``others`` have them: the label's, and NaN."""
        votes, agreement = self.votes, self.agreement
        if others.votes and not votes:
            classes = len(others.votes[0])
            votes = tuple(
                tuple(float(label == place) for place in range(classes)) for label in self.labels
            )
        if others.agreement and not agreement:
            agreement = (math.nan,) * len(self.ids)
        return replace(self, votes=votes, agreement=agreement)

    def counts(self, classes: int) -> np.ndarray:
        """Utterances of each class, ``(classes,)``."""
        return np.bincount(np.asarray(self.labels, dtype=np.int64), minlength=classes)

    def key(self) -> dict[str, Any]:
        """What a store key needs: identity, sound and label of each, readable in outline."""
        return {
            "n": len(self.ids),
            "speakers": sorted(set(self.speakers)),
            "digest": _digest(zip(self.ids, self.contents, self.labels, strict=True)),
        }


def _shares(rows: pd.DataFrame, number: Mapping[str, int]) -> tuple[tuple[float, ...], ...]:
    if "votes" not in rows or not (rows["votes"] != "").any():
        return ()
    shares = []
    for emotion, told in zip(rows["emotion"], rows["votes"], strict=True):
        votes = {name: n for name, n in json.loads(told or "{}").items() if name in number}
        total = sum(votes.values())
        own = votes if total else {emotion: 1.0}
        shares.append(tuple(own.get(name, 0.0) / (total or 1.0) for name in number))
    return tuple(shares)


def _agreement(rows: pd.DataFrame) -> tuple[float, ...]:
    if "agreement" not in rows or not rows["agreement"].notna().any():
        return ()
    return tuple(float(value) for value in rows["agreement"])


def _digest(rows: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class UnlabelledSpeech:
    """Speech without labels, heard by the student beside the fold's training utterances."""

    utterances: Unlabelled
    frames: PackHandle
    encoder: EncoderHandle | None = None
    """Outputs of the pretrained teacher's encoder for it, if the recipe has one."""
    waveforms: PackHandle | None = None
    """Its waveforms, if a fine-tuned teacher listens to them."""
    attended: Mapping[str, EncoderHandle] = field(default_factory=dict)
    """By ``source_name``, what the self-attention layers of a pretrained source hear of it."""


@dataclass(frozen=True)
class FoldTask:
    """One fold run: a resolved recipe x corpus x fold x seed.

    It carries the labels of training and validation only. The ids of the test utterances are handed
    to :func:`orchestrator.training.fold_run.predict` afterwards, and their labels to nobody here.
    """

    corpus: str
    fold: str
    seed: int
    recipe: Recipe
    features: LogMelFeatures
    emotions: tuple[str, ...]
    train: Utterances
    validation: Utterances
    frames: PackHandle
    encoder: EncoderHandle | None = None
    """Outputs of what is frozen of the pretrained teacher's encoder, if the recipe has one."""
    waveforms: PackHandle | None = None
    """Waveforms at the encoder's rate, if a fine-tuned teacher listens to them."""
    attended: Mapping[str, EncoderHandle] = field(default_factory=dict)
    """By ``source_name``, what the self-attention layers of a pretrained source hear."""
    recognisers: Mapping[str, str] = field(default_factory=dict)
    """By ``source_name``, the store's key of each recogniser that is a source."""
    held: Utterances | None = None
    """Training speakers kept apart for meta-learning, if the protocol does."""
    unlabelled: UnlabelledSpeech | None = None
    """Speech without labels, if the experiment has any and the recipe wants it."""
    threads: int = 1
    device: str = "cpu"
    gpus: float = 0.0
    """GPUs of a worker, or the part of one that it shares with others."""
    deterministic: bool = True
    device_share: float = 0.5
    """Of the worker's part of a GPU's memory, what data may fill; changes no number."""
    memory: int = 0
    """Bytes of its node's memory that each of several workers asks Ray for; 0: for none."""
    teacher_workers: int = 1
    student_workers: int = 1
    checkpoint_minutes: float = 5.0
    """Least time between two checkpoints of a fit; changes no number."""
    checkpoint_epochs: int | None = None
    """A checkpoint after so many epochs, too."""

    def with_recipe(self, recipe: Recipe) -> FoldTask:
        """The same fold run of another recipe; it trains on the held speakers if that asks so."""
        if not getattr(recipe.meta, "train_on_held", False) or self.held is None:
            return replace(self, recipe=recipe)
        return replace(self, recipe=recipe, train=self.train.with_others(self.held), held=None)

    def checkpoint(self, store: Store, stage: str, inputs: Mapping[str, Any]) -> Checkpoint:
        """Where a fit of ``stage`` with these store inputs leaves its state."""
        return Checkpoint(
            store,
            stage,
            inputs,
            minutes=self.checkpoint_minutes,
            epochs=self.checkpoint_epochs,
        )

    @property
    def classes(self) -> int:
        """Number of emotions."""
        return len(self.emotions)


class Reporter(Protocol):
    """Where a fold run says how it goes."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Named values after epoch ``step``."""


class Silent:
    """A reporter that keeps nothing."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Ignore them."""

"""What ``understudy corpora list`` and ``corpora check`` tell about a corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import pandas as pd

from orchestrator.corpora.emodb import COUNTS, SPEAKERS
from orchestrator.corpora.listing import Listing
from orchestrator.corpora.loading import prepare
from orchestrator.errors import CorpusError, nearest
from orchestrator.experiment.corpus import CorpusSection, EmodbCorpus, SyntheticCorpus, TableCorpus

CORPUS_KINDS: Final[dict[str, str]] = {
    "emodb": (
        "Berlin Database of Emotional Speech: German, 10 speakers, 7 emotions, 535 utterances; "
        "CC0 1.0; http://emodb.bilderbar.info"
    ),
    "synthetic": (
        "built-in speech-like audio: sessions of two speakers, 4 emotions; nothing to download"
    ),
    "table": (
        "your own: a CSV or Parquet file with a row per utterance (path, speaker, emotion, "
        "optional session)"
    ),
}
"""From each kind of corpus to a line on what it is, its licence and how to get it."""


@dataclass(frozen=True)
class CorpusReport:
    """A corpus in numbers.

    Attributes:
        name: how results call it.
        kind: one of ``CORPUS_KINDS``.
        place: the folder or file it was read from.
        utterances: those that can be used.
        seconds: their total duration.
        speakers, sessions, emotions: utterances by each, sorted; ``sessions`` is empty where the
            corpus has none.
        not_used: utterances left out by ``labels``, by emotion.
        fingerprint: provenance of results on this corpus; "" if nothing can be used.
        problems: one sentence for each utterance that cannot be used.
        differences: where the corpus is not what its publishers distribute.
    """

    name: str
    kind: str
    place: str
    utterances: int
    seconds: float
    speakers: dict[str, int]
    sessions: dict[str, int]
    emotions: dict[str, int]
    not_used: dict[str, int]
    fingerprint: str
    problems: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether an experiment would load the corpus."""
        return not self.problems and self.utterances > 0


def corpus_section(kind: str, root: str | None = None) -> CorpusSection:
    """The section for a kind and a place: ``corpora check emodb ROOT``.

    Args:
        kind: one of ``CORPUS_KINDS``.
        root: the folder of ``emodb``, the file of ``table``; none for ``synthetic``.

    Raises:
        CorpusError: the kind is unknown, or it needs a place and has none, or the reverse.
    """
    if kind not in CORPUS_KINDS:
        raise CorpusError(f"there is no kind of corpus {kind!r}; {nearest(kind, CORPUS_KINDS)}")
    if kind == "synthetic":
        if root is not None:
            raise CorpusError(f"the synthetic corpus is built in and has no root, not {root!r}")
        return SyntheticCorpus(kind="synthetic")
    if root is None:
        what = "the CSV or Parquet file" if kind == "table" else "the folder"
        raise CorpusError(f"a corpus of kind {kind!r} needs a place; give {what} after the kind")
    if kind == "table":
        return TableCorpus(kind="table", file=root)
    return EmodbCorpus(kind="emodb", root=root)


def check_corpus(section: CorpusSection) -> CorpusReport:
    """Load a corpus as an experiment would, and count instead of refusing.

    Raises:
        CorpusError: the layout, a map or a label is wrong, so that there is nothing to count.
    """
    prepared = prepare(section)
    corpus, listing = prepared.corpus, prepared.listing
    table = pd.DataFrame() if corpus is None else corpus.table
    return CorpusReport(
        name=section.title,
        kind=section.kind,
        place=listing.place,
        utterances=len(table),
        seconds=0.0 if corpus is None else float(table["duration"].sum()),
        speakers=_counts(table, "speaker"),
        sessions=_counts(table, "session"),
        emotions=_counts(table, "emotion"),
        not_used={} if corpus is None else corpus.not_used,
        fingerprint="" if corpus is None else corpus.fingerprint,
        problems=tuple(problem.text for problem in prepared.problems),
        differences=_differences(listing) if isinstance(section, EmodbCorpus) else (),
    )


def _counts(table: pd.DataFrame, column: str) -> dict[str, int]:
    """Rows by each value but "", sorted by value."""
    if column not in table:
        return {}
    return dict(sorted(Counter(str(value) for value in table[column] if value).items()))


def _differences(listing: Listing) -> tuple[str, ...]:
    """Where the files' names do not add up to the EmoDB that is distributed."""
    emotions = Counter(listing.table["emotion"])
    pairs = [
        ("utterances", len(listing.table), sum(COUNTS.values())),
        ("speakers", listing.table["speaker"].nunique(), SPEAKERS),
        *((f"utterances of {emotion}", emotions[emotion], COUNTS[emotion]) for emotion in COUNTS),
    ]
    return tuple(
        f"{found} {what}, {expected} as distributed"
        for what, found, expected in pairs
        if found != expected
    )

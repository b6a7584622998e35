"""What reading a corpus's layout gives, before maps, labels and audio checks are applied."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NEEDED: Final = ("id", "path", "speaker", "emotion")
"""Columns that every listing has, all text."""
OPTIONAL: Final = ("session", "gender", "dialogue", "split", "text", "transcript", "votes")
"""Text columns that a listing may have; where it has not, they are "" throughout."""
SPLITS: Final = ("train", "validation", "test")
"""Values of the column ``split``, the official roles."""


class AudioSource(Protocol):
    """Where audio comes from; picklable, since it travels to workers."""

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        """Mono audio ``(samples,)`` and its rate in Hz."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one utterance.

    Attributes:
        kind: a few words that problems of a kind share, to count them by.
        text: what is wrong, naming file and value.
        id: of the utterance, where it has one.
    """

    kind: str
    text: str
    id: str = ""


@dataclass(frozen=True)
class Documented:
    """What a corpus's publishers or the literature say of it, to compare a copy with.

    Attributes:
        utterances: before any label set or subset.
        counts: by column (``emotion``, ``session``, ``speaker``, ``split``), utterances of each
            value, in the corpus's own words; columns nothing is known of are left out.
        crossed: by pair of columns (``("session", "emotion")``), the same by pairs of values.
    """

    utterances: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    crossed: Mapping[tuple[str, str], Mapping[tuple[str, str], int]] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What a kind of corpus is, for ``corpora list`` and ``corpora check``.

    Attributes:
        summary: language, speakers, emotions, size, in a line.
        licence: under which it is distributed.
        obtain: where and how one gets it, a sentence or two.
        documented: totals of a complete copy, or None where there are none.
    """

    summary: str
    licence: str
    obtain: str
    documented: Documented | None = None


@dataclass(frozen=True)
class Listing:
    """The utterances a corpus's layout names.

    Attributes:
        table: ``NEEDED`` columns, any of ``OPTIONAL``, and whatever else the layout tells under
            names of its own (a map can read it); one row per utterance. ``agreement`` is the share
            of listeners who chose the label, float, NaN where nobody was asked. ``stated`` is the
            length in seconds that the corpus's own tables give, NaN where they give none. With
            ``duration`` (seconds) and ``content`` too, the audio needs no check.
        source: reads the audio of a ``path``.
        place: the folder or file, for messages.
        emotions: the corpus's own label set, or None where the rows are all that is known.
        labels: the map from those to the emotions to learn that the section's own options ask for
            (a label set), used where the section has no ``labels``.
        said: parts of the protocol string that the section's own options add: which label set,
            which subset.
        not_used: utterances that the section's own options leave out (a subset), by why.
        problems: utterances left out of the table because their row or name makes no sense.
        remarks: what is odd about the copy without making any listed utterance unusable (files
            beside the corpus, a table that is missing).
    """

    table: pd.DataFrame
    source: AudioSource
    place: str
    emotions: Sequence[str] | None = None
    labels: Mapping[str, str] | None = None
    said: tuple[str, ...] = ()
    not_used: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()


def votes_text(votes: Mapping[str, float]) -> str:
    """Votes by emotion as the column ``votes`` holds them: JSON, sorted, "" if there are none.

    >>> votes_text({"neutral": 1, "anger": 2.5, "fear": 0})
    '{"anger": 2.5, "neutral": 1}'
    """
    kept = {name: votes[name] for name in sorted(votes) if votes[name] > 0}
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def text_of(transcript: str) -> str:
    """A text id from words: case, punctuation and spacing do not make another text.

    >>> text_of("Oh,  my GOD!")
    'oh my god'
    """
    folded = unicodedata.normalize("NFKC", transcript).casefold().replace("’", "'")
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in folded)
    return " ".join(kept.replace("'", "").split())

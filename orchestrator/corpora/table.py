"""A corpus in the one form the rest of the house knows: a table of utterances and their audio."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.corpora.audio import FileSource, resample
from orchestrator.corpora.listing import NEEDED, AudioSource, Problem
from orchestrator.errors import CorpusError

COLUMNS: Final = (
    "id",
    "path",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "split",
    "emotion",
    "votes",
    "agreement",
    "text",
    "transcript",
    "duration",
    "content",
)
"""Columns of every corpus table, in order; those of one corpus only follow them."""

_NUMBERS: Final = ("agreement", "duration")
_TOLD: Final = (
    "content",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "split",
    "emotion",
    "votes",
    "text",
)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Utterances that can be used, every one of them checked; picklable.

    Attributes:
        name: how results call it.
        kind: the ``kind`` of its section.
        table: one row per utterance with ``COLUMNS``, sorted by ``id``. All are text but
            ``duration`` (seconds) and ``agreement`` (share of listeners who chose the label, NaN
            where unknown). Ids are unique. Other columns are "" where the corpus tells nothing:
            ``gender`` is ``female`` or ``male``, ``split`` ``train``, ``validation`` or ``test``,
            ``votes`` JSON from emotion to votes, equal ``text`` is the same text. ``content`` is a
            hash of what is heard.
        not_used: utterances left out by labels or a subset, by emotion or reason.
        set_aside: utterances that cannot be used, and why, where the section sets them aside.
        accepted: problems of utterances that are used all the same.
        labels: from the corpus's own emotions to those learned, where a map was used.
        said: parts of the protocol string that the corpus's own options add.
        folders: where its files lie on this machine, which results do not tell.
        source: where the audio of a ``path`` comes from; default: audio files.

    Raises:
        CorpusError: two utterances share an id.
        ValueError: the table lacks a column.
    """

    name: str
    kind: str
    table: pd.DataFrame
    not_used: dict[str, int] = field(default_factory=dict)
    set_aside: tuple[Problem, ...] = ()
    accepted: tuple[Problem, ...] = ()
    labels: Mapping[str, str] | None = None
    said: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    source: AudioSource = field(default_factory=FileSource)

    def __post_init__(self) -> None:
        needed = (*NEEDED, "duration", "content")
        missing = [column for column in needed if column not in self.table]
        if missing:
            raise ValueError(f"corpus {self.name!r}: the table lacks {', '.join(missing)}")
        absent: dict[str, str | float] = {
            column: float("nan") if column in _NUMBERS else ""
            for column in COLUMNS
            if column not in self.table
        }
        more = [column for column in self.table if column not in COLUMNS]
        table = self.table.assign(**absent)[[*COLUMNS, *more]]
        table = table.sort_values("id", ignore_index=True)
        twice = table["id"][table["id"].duplicated()]
        if len(twice):
            raise CorpusError(
                f"corpus {self.name!r}: two utterances have the id {twice.iloc[0]!r}; "
                "give each its own"
            )
        object.__setattr__(self, "table", table)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions that occur, sorted."""
        return tuple(sorted(set(self.table["emotion"])))

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over ids, content, and all that protocols and training read.

        Columns that are "" throughout do not count, so that a corpus keeps its fingerprint when
        the table learns to hold more.
        """
        told = ["id", *(name for name in _TOLD if (self.table[name] != "").any())]
        lines = json.dumps([told, self.table[told].to_numpy().tolist()], ensure_ascii=False)
        return hashlib.sha256(lines.encode()).hexdigest()[:32]

    @cached_property
    def _paths(self) -> dict[str, str]:
        return dict(zip(self.table["id"], self.table["path"], strict=True))

    def rows(self, ids: Iterable[str]) -> pd.DataFrame:
        """The rows of ``ids``, in that order.

        Raises:
            KeyError: an id is not in the corpus.
        """
        return self.table.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)

    def waveform(self, id: str, *, sample_rate: int) -> NDArray[np.float32]:
        """The audio of an utterance: mono float32 ``(samples,)`` at ``sample_rate`` Hz.

        Raises:
            KeyError: the id is not in the corpus.
            CorpusError: the file has gone or changed for the worse since the corpus was loaded.
        """
        audio, rate = self.source.read(self._paths[id])
        return resample(audio, rate=rate, to=sample_rate)

"""A corpus in the one form the rest of the house knows: a table of utterances and their audio."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.corpora.audio import FileSource, resample
from orchestrator.corpora.listing import AudioSource
from orchestrator.errors import CorpusError

COLUMNS: Final = ("id", "path", "speaker", "session", "emotion", "duration", "content")
"""Columns of every corpus table, in order."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Utterances that can be used, every one of them checked; picklable.

    Attributes:
        name: how results call it.
        kind: the ``kind`` of its section.
        table: one row per utterance with ``COLUMNS``, sorted by ``id``. All are text but
            ``duration`` (seconds). Ids are unique; ``session`` is "" where there is none;
            ``content`` is a hash of what is heard.
        not_used: utterances left out by ``labels``, by emotion.
        source: where the audio of a ``path`` comes from; default: audio files.

    Raises:
        CorpusError: two utterances share an id.
        ValueError: the table lacks a column.
    """

    name: str
    kind: str
    table: pd.DataFrame
    not_used: dict[str, int] = field(default_factory=dict)
    source: AudioSource = field(default_factory=FileSource)

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.table]
        if missing:
            raise ValueError(f"corpus {self.name!r}: the table lacks {', '.join(missing)}")
        table = self.table[list(COLUMNS)].sort_values("id", ignore_index=True)
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
        """32 hex digits over ids, content, speakers, sessions and emotions."""
        told = self.table[["id", "content", "speaker", "session", "emotion"]]
        lines = json.dumps(told.to_numpy().tolist(), ensure_ascii=False)
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

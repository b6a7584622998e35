"""What reading a corpus's layout gives, before maps, labels and audio checks are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray


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
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Listing:
    """The utterances a corpus's layout names.

    Attributes:
        table: text columns ``id``, ``path``, ``speaker``, ``session``, ``emotion`` and whatever
            else the layout tells (a map can read it); one row per utterance. With ``duration``
            (seconds) and ``content`` too, the audio needs no check.
        source: reads the audio of a ``path``.
        place: the folder or file, for messages.
        emotions: the corpus's own label set, or None where the rows are all that is known.
        problems: utterances left out of the table because their row or name makes no sense.
    """

    table: pd.DataFrame
    source: AudioSource
    place: str
    emotions: Sequence[str] | None = None
    problems: tuple[Problem, ...] = ()

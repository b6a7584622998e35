"""Short utterances of a speaker joined into longer ones, for a recogniser that hears sentences.

How a corpus of single words should be joined is in no paper; all of it is inferred.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.canonical import digest
from orchestrator.corpora.audio import rate_of
from orchestrator.corpora.listing import AudioSource, text_of
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.sources import Strings

PAUSE_VERSION: Final = 1
"""Raised whenever the audio of a string changes; a golden test fails when that is forgotten."""
QUIET_SECONDS: Final = 0.02
"""How long the quietest stretch of an utterance is, whose level its pauses have."""
FAINTEST: Final = 1 / 32768 / math.sqrt(12.0)
"""Least root mean square of a pause, of a full scale of 1: what rounding to 16 bits leaves."""

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """What a string is joined from.

    Attributes:
        paths: of its utterances in the inner source, in order.
        pauses: seconds before, between and after them, one more than utterances.
        content: of the string; the seed of its pauses.
    """

    paths: tuple[str, ...]
    pauses: tuple[float, ...]
    content: str


@dataclass(frozen=True)
class StringSource:
    """Audio of strings, joined when it is read.

    A pause is white noise, since no recording is silent in the digital sense. Its root mean square
    is that of the quietest 20 ms of the two utterances beside it, or of the one where it begins or
    ends the string, but not less than ``FAINTEST``. A DC offset goes on through it, from the one
    utterance's to the other's, so that nothing clicks.
    """

    inner: AudioSource
    strings: Mapping[str, Parts]
    """By path, which is a string's id."""

    def read(self, path: str) -> tuple[Waveform, int]:
        """The string ``(samples,)`` and the rate in Hz that all its utterances have.

        Raises:
            CorpusError: an utterance cannot be read, or two have different rates.
        """
        parts = self.strings[path]
        heard = [self.inner.read(one) for one in parts.paths]
        rate = heard[0][1]
        for name, (_, other) in zip(parts.paths, heard, strict=True):
            if other != rate:
                raise CorpusError(
                    f"{parts.paths[0]} has {rate} Hz and {name} {other} Hz, so they cannot be "
                    f"joined into the string {path!r}; resample one of them"
                )
        counts = [round(pause * rate) for pause in parts.pauses]
        noise = np.split(_white(sum(counts), seed=parts.content), np.cumsum(counts)[:-1])
        quiet = [_quietest(audio, rate=rate) for audio, _ in heard]
        pauses = [
            np.linspace(left, right, len(white)) + min(one, other) * white
            for (left, one), (right, other), white in zip(
                [quiet[0], *quiet], [*quiet, quiet[-1]], noise, strict=True
            )
        ]
        joined: list[Waveform] = [pauses[0].astype(np.float32)]
        for (audio, _), pause in zip(heard, pauses[1:], strict=True):
            joined += [audio, pause.astype(np.float32)]
        return np.concatenate(joined), rate

    def rate(self, path: str) -> int:
        """The rate of a string in Hz, without reading it where the inner source can tell."""
        return rate_of(self.inner, self.strings[path].paths[0])


def joined_strings(corpus: Corpus, section: Strings) -> Corpus:
    """A transcribed corpus as strings of about ``section.seconds``, each of one speaker.

    In each of ``section.passes`` every utterance of a speaker occurs once: they are joined in an
    order of that pass's own, and a string ends where the next utterance would take its length
    farther from the one wanted. What is left at the end of a pass makes a shorter string. Order and
    pauses hang on seed, speaker, pass and utterance alone: another speaker changes nobody's
    strings.

    Returns:
        A corpus with ids such as ``jackson-p1-0001`` (speaker, pass, number), the words of the
        utterances in ``transcript``, and no emotion. Durations are exact to a sample a pause.
    """
    strings: dict[str, Parts] = {}
    rows: list[dict[str, Any]] = []
    for speaker, table in corpus.table.groupby("speaker", sort=True):
        genders = set(table["gender"])
        utterances = table.to_dict("records")
        for number in range(1, section.passes + 1):
            drawn = _drawn(utterances, section, speaker=str(speaker), number=number)
            for place, string in enumerate(_cut(drawn, section.seconds), start=1):
                id_ = f"{speaker}-p{number}-{place:04d}"
                strings[id_] = parts = _parts(string)
                words = " ".join(one.row["transcript"] for one in string)
                rows.append(
                    {
                        "id": id_,
                        "path": id_,
                        "speaker": speaker,
                        "gender": next(iter(genders)) if len(genders) == 1 else "",
                        "emotion": "",
                        "text": text_of(words),
                        "transcript": words,
                        "duration": sum(one.row["duration"] for one in string) + sum(parts.pauses),
                        "content": parts.content,
                    }
                )
    low, high = section.pause_seconds
    said = (
        f"joined into strings of about {section.seconds:g} s with pauses of {low:g} to {high:g} s, "
        f"{section.passes} times over"
    )
    return dataclasses.replace(
        corpus,
        table=pd.DataFrame(rows),
        said=(*corpus.said, said),
        source=StringSource(corpus.source, strings),
    )


@dataclass(frozen=True)
class _Drawn:
    """An utterance in a pass: its row, and the pauses before (of a string's first) and after it."""

    row: Mapping[Any, Any]
    before: float
    after: float


def _drawn(
    utterances: Iterable[Mapping[Any, Any]], section: Strings, *, speaker: str, number: int
) -> list[_Drawn]:
    """The utterances of a speaker in the order of a pass, by hashes."""
    low, high = section.pause_seconds

    def pause(bits: str) -> float:
        share = int(bits, 16) / 16.0 ** len(bits)
        return low + (high - low) * share

    hashed = {digest([section.seed, speaker, number, row["id"]]): row for row in utterances}
    return [
        _Drawn(hashed[one], before=pause(one[32:48]), after=pause(one[48:]))
        for one in sorted(hashed)
    ]


def _cut(drawn: Iterable[_Drawn], seconds: float) -> Iterator[list[_Drawn]]:
    """The utterances as strings whose lengths are as near ``seconds`` as their order allows."""
    string: list[_Drawn] = []
    length = 0.0
    for one in drawn:
        added = float(one.row["duration"]) + one.after
        if string and abs(length + added - seconds) > abs(length - seconds):
            yield string
            string = []
        if not string:
            length = one.before
        string.append(one)
        length += added
    yield string


def _parts(string: list[_Drawn]) -> Parts:
    pauses = (string[0].before, *(one.after for one in string))
    contents = [str(one.row["content"]) for one in string]
    made = digest(["string", PAUSE_VERSION, contents, pauses])
    return Parts(tuple(str(one.row["path"]) for one in string), pauses, made[:32])


def _quietest(audio: Waveform, *, rate: int) -> tuple[float, float]:
    """Mean, and root mean square around it, of the quietest ``QUIET_SECONDS`` of an utterance."""
    size = min(round(QUIET_SECONDS * rate), len(audio))
    blocks = audio[: len(audio) // size * size].reshape(-1, size).astype(np.float64)
    means, levels = blocks.mean(axis=1), blocks.std(axis=1)
    place = int(levels.argmin())
    return float(means[place]), max(float(levels[place]), FAINTEST)


def _white(count: int, *, seed: str) -> NDArray[np.float64]:
    """White noise of unit variance from raw bits, whose stream NumPy promises never to change."""
    bits = np.random.Philox(key=int(seed, 16)).random_raw(count)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    noise: NDArray[np.float64] = (uniform - 0.5) * math.sqrt(12.0)
    return noise

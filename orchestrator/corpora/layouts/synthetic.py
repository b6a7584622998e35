"""The built-in corpus: speech-like audio made on demand, the same everywhere for the same seed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.corpora.layouts.synthetic_score import EMOTIONS, Voice, draw_score, draw_voice
from orchestrator.corpora.layouts.synthetic_voice import SAMPLE_RATE, Score, render
from orchestrator.corpora.listing import About, Listing
from orchestrator.experiment.corpus import SyntheticCorpus

GENERATOR_VERSION: Final = 1
"""Raised whenever the audio of an utterance changes; a golden test fails when that is forgotten."""

ABOUT: Final = About(
    summary="built-in speech-like audio: sessions of two speakers, 4 emotions",
    licence="none needed",
    obtain="built in; nothing to download",
)

_PREFIX: Final = "synthetic:"
_NAME: Final = re.compile(r"synthetic:s(\d+)([mw])-(\d+)")
# The first word of each seed keeps the three kinds of draws apart.
_VOICE, _SCORE, _NOISE = 1, 2, 3


def _bits(*words: int) -> np.random.Philox:
    """A generator keyed by integers, negative ones as 64-bit two's complement."""
    return np.random.Philox(np.random.SeedSequence([word & (2**64 - 1) for word in words]))


@lru_cache(maxsize=256)
def _voice(seed: int, session: int, woman: bool, difficulty: float) -> Voice:
    draw = np.random.Generator(_bits(_VOICE, seed, session, woman))
    return draw_voice(woman, draw, difficulty=difficulty)


@dataclass(frozen=True)
class SyntheticSource:
    """Makes the audio of an utterance from its name.

    An utterance depends on the seed, the difficulty and its own place only: more sessions or more
    utterances leave those that were there as they were.
    """

    seed: int
    difficulty: float

    def score(self, path: str) -> Score:
        """What is said and how, from ``synthetic:s1m-005``."""
        session, woman, number = _parse(path)
        voice = _voice(self.seed, session, woman, self.difficulty)
        draw = np.random.Generator(_bits(_SCORE, self.seed, session, woman, number))
        emotion = EMOTIONS[number % len(EMOTIONS)]
        return draw_score(voice, emotion, draw, difficulty=self.difficulty)

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        """The audio ``(samples,)`` and its rate in Hz."""
        session, woman, number = _parse(path)
        noise = _bits(_NOISE, self.seed, session, woman, number)
        return render(self.score(path), bits=noise), SAMPLE_RATE

    def content(self, path: str) -> str:
        """A hash of everything the audio depends on, without making it."""
        inputs = ["synthetic", GENERATOR_VERSION, self.seed, self.difficulty, *_parse(path)]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]


def _parse(path: str) -> tuple[int, bool, int]:
    """Session, whether the woman speaks, and the number of the utterance."""
    found = _NAME.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no utterance of the synthetic corpus")
    return int(found[1]), found[2] == "w", int(found[3])


def list_synthetic(section: SyntheticCorpus) -> Listing:
    """The utterances of the built-in corpus: each session one man and one woman.

    Ids (``s1m-005``) do not spell the emotion, since folds carry ids and no labels.
    """
    source = SyntheticSource(seed=section.seed, difficulty=section.difficulty)
    rows = []
    for session in range(1, section.sessions + 1):
        for letter in "mw":
            for number in range(len(EMOTIONS) * section.utterances_per_emotion):
                speaker = f"s{session}{letter}"
                path = f"{_PREFIX}{speaker}-{number:03d}"
                rows.append(
                    {
                        "id": path.removeprefix(_PREFIX),
                        "path": path,
                        "speaker": speaker,
                        "gender": "female" if letter == "w" else "male",
                        "session": str(session),
                        "emotion": EMOTIONS[number % len(EMOTIONS)],
                        "duration": source.score(path).samples / SAMPLE_RATE,
                        "content": source.content(path),
                    }
                )
    return Listing(
        table=pd.DataFrame(rows), source=source, place="the built-in corpus", emotions=EMOTIONS
    )

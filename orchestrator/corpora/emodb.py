"""The Berlin Database of Emotional Speech (Burkhardt et al. 2005) as distributed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.listing import Listing, Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import EmodbCorpus

LETTERS: Final = {
    "A": "fear",
    "E": "disgust",
    "F": "happiness",
    "L": "boredom",
    "N": "neutral",
    "T": "sadness",
    "W": "anger",
}
"""The sixth character of a file name: the initial of the emotion's German name."""

COUNTS: Final = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "neutral": 79,
    "sadness": 62,
}
"""Utterances of each emotion in the corpus as distributed, 535 in all."""

SPEAKERS: Final = 10

_STEM: Final = re.compile(
    r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<letter>[A-Za-z])(?P<version>[a-z]?)"
)


def list_emodb(section: EmodbCorpus) -> Listing:
    """The utterances of ``ROOT/wav``; a map can also read the columns ``text`` and ``version``.

    Other files than ``*.wav``, and hidden ones, are no part of the corpus.

    Raises:
        CorpusError: the root, its ``wav`` folder or any WAV file in it is missing or
            cannot be read.
    """
    root = Path(section.root).expanduser().absolute()
    if not root.is_dir():
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} is no folder; give the folder of the "
            "unpacked EmoDB, the one that holds 'wav'"
        )
    folder = root / "wav"
    if not folder.is_dir():
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no folder 'wav'; give the "
            "folder of the unpacked EmoDB, whose files are wav/03a01Fa.wav and so on"
        )
    try:
        present = sorted(folder.iterdir())
    except OSError as error:
        raise CorpusError(
            f"corpus {section.title!r}: {folder} cannot be read ({error.strerror}); "
            "change its permissions"
        ) from error
    files = [
        file for file in present if file.suffix.lower() == ".wav" and not file.name.startswith(".")
    ]
    if not files:
        raise CorpusError(
            f"corpus {section.title!r}: {folder} holds no .wav file; unpack EmoDB there, or give "
            "another root"
        )
    rows: list[dict[str, str]] = []
    problems: list[Problem] = []
    for file in files:
        found = _STEM.fullmatch(file.stem)
        if found is None:
            text = (
                f"{file}: the name is not of the form 03a01Fa.wav (speaker, text, emotion, version)"
            )
            problems.append(Problem(kind="strange name", text=text))
        elif found["letter"] not in LETTERS:
            known = ", ".join(f"{letter} {emotion}" for letter, emotion in LETTERS.items())
            text = f"{file}: {found['letter']!r} is no emotion of EmoDB (known: {known})"
            problems.append(Problem(kind="unknown label", text=text))
        else:
            rows.append(
                {
                    "id": file.stem,
                    "path": str(file),
                    "speaker": found["speaker"],
                    "session": "",
                    "emotion": LETTERS[found["letter"]],
                    "text": found["text"],
                    "version": found["version"],
                }
            )
    columns = ["id", "path", "speaker", "session", "emotion", "text", "version"]
    return Listing(
        table=pd.DataFrame(rows, columns=columns, dtype="str"),
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(LETTERS.values())),
        problems=tuple(problems),
    )

"""The Free Spoken Digit Dataset (Jackson et al. 2018), version 1.0.10: speech to be recognised."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import corpus_root, files_of, is_folder
from orchestrator.corpora.listing import About, Documented, Listing, Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import FsddCorpus

WORDS: Final = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
"""What is said, by the digit that a file name begins with."""

GENDERS: Final = dict.fromkeys(
    ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"), "male"
)
"""From the corpus's own description; others may have joined since."""

ABOUT: Final = About(
    summary="Free Spoken Digit Dataset: English digits, 6 speakers, 3000 utterances, transcribed",
    licence="CC BY-SA 4.0",
    obtain=(
        "understudy corpora fetch fsdd DIR, or "
        "https://github.com/Jakobovski/free-spoken-digit-dataset"
    ),
    documented=Documented(
        utterances=3000,
        counts={
            "speaker": dict.fromkeys(GENDERS, 500),
            "digit": {str(digit): 300 for digit in range(10)},
        },
        crossed={
            ("speaker", "digit"): {
                (speaker, str(digit)): 50 for speaker in GENDERS for digit in range(10)
            }
        },
    ),
)

_STEM: Final = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_\s]+)_(?P<take>[0-9]+)")
_COLUMNS: Final = (
    *("id", "path", "speaker", "gender", "session", "emotion"),
    *("text", "transcript", "digit", "take"),
)


def list_fsdd(section: FsddCorpus) -> Listing:
    """The utterances of ``ROOT/recordings``; a map can also read the columns ``digit``, ``take``.

    ``ROOT`` may also be ``recordings`` itself. Other files than ``*.wav``, and hidden ones, are no
    part of the corpus. Its own division, which tests takes 0 to 4 of every speaker, is not read: it
    says nothing about new speakers.

    Raises:
        CorpusError: the root is missing, cannot be read, or holds no WAV file.
    """
    hint = "the folder of the unpacked FSDD, the one that holds 'recordings'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    inner = root / "recordings"
    folder = inner if is_folder(inner, title=section.title) else root
    files = files_of(folder, title=section.title)
    if not files:
        raise CorpusError(
            f"corpus {section.title!r}: {folder} holds no .wav file such as 7_jackson_32.wav; "
            f"give {hint}"
        )
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for file in files:
        row = _row(file)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    return Listing(
        table=pd.DataFrame(rows, columns=list(_COLUMNS), dtype="str"),
        source=FileSource(),
        place=str(root),
        problems=tuple(problems),
    )


def _row(file: Path) -> tuple[str, ...] | Problem:
    name = _STEM.fullmatch(file.stem)
    if name is None:
        text = f"{file}: the name is not of the form 7_jackson_32.wav (digit, speaker, take)"
        return Problem(kind="strange name", text=text, id=file.stem)
    word = WORDS[int(name["digit"])]
    return (
        file.stem,
        str(file),
        name["speaker"],
        GENDERS.get(name["speaker"], ""),
        "",
        "",
        word,
        word,
        name["digit"],
        name["take"],
    )

"""SAVEE, the Surrey Audio-Visual Expressed Emotion database (Haq and Jackson 2009)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import (
    Recording,
    corpus_root,
    files_of,
    first_copies,
    is_folder,
    subfolders,
)
from orchestrator.corpora.listing import About, Documented, Listing, Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import SaveeCorpus

LETTERS: Final = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
"""What a file's name begins with, after the speaker."""

SPEAKERS: Final = ("DC", "JE", "JK", "KL")
"""Four men."""

ABOUT: Final = About(
    summary="SAVEE: British English, 4 men, 7 emotions, 480 utterances",
    licence="free of charge for research, after registration",
    obtain="register at http://kahlan.eps.surrey.ac.uk/savee; it may not be passed on",
    documented=Documented(
        utterances=480,
        counts={
            "speaker": dict.fromkeys(SPEAKERS, 120),
            "emotion": {
                emotion: 120 if emotion == "neutral" else 60 for emotion in LETTERS.values()
            },
        },
    ),
)

_ID: Final = re.compile(r"(?P<speaker>[A-Z]{2})_(?P<text>(?P<letter>[a-z]{1,2})\d\d)")
_COLUMNS: Final = ("id", "path", "speaker", "gender", "session", "emotion", "text")


def list_savee(section: SaveeCorpus) -> Listing:
    """The utterances of ``ROOT/AudioData/DC/a01.wav`` and so on, or of a flattened copy.

    ``ROOT`` may also be ``AudioData`` itself, and a flattened copy's ``DC_a01.wav`` may lie in
    ``ROOT`` or in ``ROOT/ALL``. A copy that has both layouts is read once. Other files than
    ``*.wav``, and hidden ones, are no part of the corpus.

    ``text`` is the file's code (``a01``), the same for all four speakers. Some sentences are said
    in several emotions, but names do not tell which, so that equal texts across emotions are not
    seen.

    Raises:
        CorpusError: the root is missing, cannot be read, or holds no WAV file in these places.
    """
    hint = "the folder of the unpacked SAVEE, the one that holds 'AudioData'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    recordings, remarks = first_copies(_recordings(root, title=section.title))
    if not recordings:
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no recordings of SAVEE, "
            f"neither AudioData/DC/a01.wav nor DC_a01.wav; give {hint}"
        )
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for recording in recordings:
        row = _row(recording)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    return Listing(
        table=pd.DataFrame(rows, columns=list(_COLUMNS), dtype="str"),
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(LETTERS.values())),
        problems=tuple(problems),
        remarks=remarks,
    )


def _recordings(root: Path, *, title: str) -> list[Recording]:
    """The WAV files of every layout, the distributed one first."""
    found: list[Recording] = []
    for place in (root / "AudioData", root):
        if not any(is_folder(place / speaker, title=title) for speaker in SPEAKERS):
            continue
        for folder in subfolders(place, title=title):
            # Two letters, as all speakers have, so that a stranger's folder is noticed too.
            if re.fullmatch("[A-Z]{2}", folder.name):
                found += [
                    Recording(id=f"{folder.name}_{file.stem}", file=file, place=place)
                    for file in files_of(folder, title=title)
                ]
    for place in (root, root / "ALL"):
        if is_folder(place, title=title):
            found += [
                Recording(id=file.stem, file=file, place=place)
                for file in files_of(place, title=title)
            ]
    return found


def _row(recording: Recording) -> tuple[str, ...] | Problem:
    name = _ID.fullmatch(recording.id)
    if name is None:
        text = (
            f"{recording.file}: the name is not of the form DC/a01.wav or DC_a01.wav "
            "(speaker, emotion, number)"
        )
        return Problem(kind="strange name", text=text, id=recording.id)
    if name["speaker"] not in SPEAKERS:
        text = (
            f"{recording.file}: {name['speaker']!r} is no speaker of SAVEE "
            f"(known: {', '.join(SPEAKERS)})"
        )
        return Problem(kind="unknown speaker", text=text, id=recording.id)
    if name["letter"] not in LETTERS:
        known = ", ".join(f"{letter} {emotion}" for letter, emotion in LETTERS.items())
        text = f"{recording.file}: {name['letter']!r} is no emotion of SAVEE (known: {known})"
        return Problem(kind="unknown label", text=text, id=recording.id)
    return (
        recording.id,
        str(recording.file),
        name["speaker"],
        "male",
        "",
        LETTERS[name["letter"]],
        name["text"],
    )

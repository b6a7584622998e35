"""RAVDESS, the Ryerson audio-visual database (Livingstone and Russo 2018): its spoken part."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import (
    Recording,
    corpus_root,
    files_of,
    first_copies,
    subfolders,
)
from orchestrator.corpora.listing import About, Documented, Listing, Problem
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import RavdessCorpus

EMOTIONS: Final = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
"""The third field of a name."""

INTENSITIES: Final = {"01": "normal", "02": "strong"}
"""The fourth field of a name."""

SPEAKERS: Final = tuple(f"{actor:02}" for actor in range(1, 25))
"""The last field of a name; men have odd numbers, women even ones."""

ABOUT: Final = About(
    summary=(
        "RAVDESS, speech: North American English, 24 speakers, 8 emotions, 1440 utterances of "
        "2 sentences"
    ),
    licence="CC BY-NC-SA 4.0",
    obtain=(
        "understudy corpora fetch ravdess DIR, or Audio_Speech_Actors_01-24.zip of "
        "https://zenodo.org/records/1188976"
    ),
    documented=Documented(
        utterances=1440,
        counts={
            "speaker": dict.fromkeys(SPEAKERS, 60),
            "emotion": {
                emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS.values()
            },
        },
    ),
)

_NAME: Final = re.compile(
    r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>\d\d)-(?P<intensity>0[12])-"
    r"(?P<statement>0[12])-(?P<repetition>0[12])-(?P<actor>\d\d)"
)
_ACTOR: Final = re.compile(r"Actor_\d\d")
_COLUMNS: Final = (
    "id",
    "path",
    "speaker",
    "gender",
    "session",
    "emotion",
    "text",
    "intensity",
    "repetition",
)


def list_ravdess(section: RavdessCorpus) -> Listing:
    """The spoken utterances of ``ROOT/Actor_01`` and so on, or of such folders one level below.

    Songs and videos, told by their names, are left out and counted; so are second copies of the
    corpus in a folder beside the first, as some mirrors have. A map can also read ``intensity``
    (``normal``, ``strong``), ``repetition`` and ``text`` (the statement, ``01`` or ``02``).

    Raises:
        CorpusError: the root is missing, cannot be read, or holds no speech in these places.
    """
    hint = "the folder of the unpacked RAVDESS, the one that holds 'Actor_01'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    recordings, remarks = first_copies(_recordings(root, title=section.title))
    if not recordings:
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no recordings of RAVDESS such "
            f"as Actor_01/03-01-05-01-02-01-01.wav; give {hint}"
        )
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    not_used: Counter[str] = Counter()
    for recording in recordings:
        row = _row(recording)
        if isinstance(row, Problem):
            problems.append(row)
        elif isinstance(row, str):
            not_used[row] += 1
        else:
            rows.append(row)
    if not rows and not problems:
        kinds = " and ".join(f"{count} {kind}" for kind, count in sorted(not_used.items()))
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no speech, only {kinds} files; "
            f"{ABOUT.obtain}"
        )
    return Listing(
        table=pd.DataFrame(rows, columns=list(_COLUMNS), dtype="str"),
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(EMOTIONS.values())),
        not_used=dict(sorted(not_used.items())),
        problems=tuple(problems),
        remarks=remarks,
    )


def _recordings(root: Path, *, title: str) -> list[Recording]:
    """The files of every actor's folder, those in the root first."""
    below = subfolders(root, title=title)
    others = [folder for folder in below if not _ACTOR.fullmatch(folder.name)]
    return [
        Recording(id=file.stem, file=file, place=place)
        for place in (root, *others)
        for folder in (below if place is root else subfolders(place, title=title))
        if _ACTOR.fullmatch(folder.name)
        for file in files_of(folder, title=title, suffixes=(".wav", ".mp4"))
    ]


def _row(recording: Recording) -> tuple[str, ...] | str | Problem:
    """A row of the table, or why the recording is not used, or what is wrong with it."""
    file = recording.file
    name = _NAME.fullmatch(recording.id)
    if name is None or name["actor"] not in SPEAKERS:
        text = (
            f"{file}: the name is not of the form 03-01-05-01-02-01-12.wav (modality, channel, "
            "emotion, intensity, statement, repetition, actor)"
        )
        return Problem(kind="strange name", text=text, id=recording.id)
    if file.parent.name != f"Actor_{name['actor']}":
        text = f"{file}: the name says actor {name['actor']}, the folder {file.parent.name}"
        return Problem(kind="strange name", text=text, id=recording.id)
    if name["modality"] != "03":
        return "video"
    if name["channel"] != "01":
        return "song"
    if file.suffix.lower() != ".wav":
        text = f"{file}: the name says audio (03), the ending {file.suffix}"
        return Problem(kind="strange name", text=text, id=recording.id)
    if name["emotion"] not in EMOTIONS:
        known = ", ".join(f"{code} {emotion}" for code, emotion in EMOTIONS.items())
        text = f"{file}: {name['emotion']!r} is no emotion of RAVDESS (known: {known})"
        return Problem(kind="unknown label", text=text, id=recording.id)
    return (
        recording.id,
        str(file),
        name["actor"],
        "male" if int(name["actor"]) % 2 else "female",
        "",
        EMOTIONS[name["emotion"]],
        name["statement"],
        INTENSITIES[name["intensity"]],
        name["repetition"],
    )

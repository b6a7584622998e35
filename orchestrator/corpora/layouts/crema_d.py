"""CREMA-D, the crowd-sourced emotional multimodal actors dataset (Cao et al. 2014)."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import (
    corpus_root,
    counted,
    few,
    files_of,
    is_folder,
    is_there,
)
from orchestrator.corpora.listing import About, Documented, Listing, Problem, votes_text
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import CremaDCorpus

CODES: Final = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
"""The third part of a name: the emotion that the actor was asked for."""

ABOUT: Final = About(
    summary=(
        "CREMA-D: American English, 91 speakers, 6 emotions, 7442 utterances of 12 sentences, "
        "with the votes of listeners"
    ),
    licence="Open Database License (ODbL) 1.0",
    obtain=(
        "understudy corpora fetch crema-d DIR, or a clone with Git LFS of "
        "https://github.com/CheyneyComputerScience/CREMA-D"
    ),
    documented=Documented(
        utterances=7442,
        counts={
            "emotion": {
                emotion: 1087 if emotion == "neutral" else 1271 for emotion in CODES.values()
            }
        },
    ),
)

DEMOGRAPHICS: Final = "VideoDemographics.csv"
VOTES: Final = "processedResults/tabulatedVotes.csv"

_POINTER: Final = b"version https://git-lfs.github.com/spec"
_POINTER_BYTES: Final = 1024
# One name as distributed ends in _X. Levels are of use to maps only, so any will do.
_NAME: Final = re.compile(
    r"(?P<speaker>\d{4})_(?P<text>[A-Z]{3})_(?P<code>[A-Z]{3})_(?P<level>[A-Z]{1,2})"
)
_LETTERS: Final = {code[0]: emotion for code, emotion in CODES.items()}
_ABOUT_ACTOR: Final = ("Age", "Sex", "Race", "Ethnicity")
_COLUMNS: Final = ("id", "path", "speaker", "session", "emotion", "text", "level")


def list_crema_d(section: CremaDCorpus) -> Listing:
    """The utterances of ``ROOT/AudioWAV``, or of ``ROOT`` itself where it holds the WAV files.

    ``emotion`` is what the actor was asked for. The voice-only rows of
    ``processedResults/tabulatedVotes.csv`` make ``votes``; the agreement follows from them when
    it is known which emotions are learned. ``VideoDemographics.csv`` makes ``gender``. A map can
    also read ``text`` (the sentence, such as ``DFA``), ``level`` (``LO``, ``MD``, ``HI``,
    ``XX``), ``age``, ``race`` and ``ethnicity``. Without these two files a remark says what is
    not known.

    Raises:
        CorpusError: the root is missing, cannot be read or holds no WAV file; all of them are
            pointers of Git LFS; or one of the two files lacks a column.
    """
    hint = "the folder of CREMA-D, the one that holds 'AudioWAV'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    folder = root / "AudioWAV"
    if not is_folder(folder, title=section.title):
        folder = root
    files = files_of(folder, title=section.title)
    if not files:
        raise CorpusError(
            f"corpus {section.title!r}: {folder} holds no .wav file such as "
            f"1001_DFA_ANG_XX.wav; give {hint}"
        )
    pointers = {file for file in files if _is_pointer(file)}
    if len(pointers) == len(files):
        raise CorpusError(
            f"corpus {section.title!r}: all {len(files)} files of {folder} are pointers of Git "
            "LFS instead of audio; run 'git lfs pull' there, or 'understudy corpora fetch crema-d "
            "DIR'"
        )
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for file in files:
        row = _row(file, is_pointer=file in pointers)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(_COLUMNS), dtype="str")
    named = {file.stem for file in files}
    table, about_actors = _with_actors(table, file=root / DEMOGRAPHICS, title=section.title)
    table, about_votes = _with_votes(table, file=root / VOTES, named=named, title=section.title)
    return Listing(
        table=table,
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(CODES.values())),
        problems=tuple(problems),
        remarks=(*about_actors, *about_votes),
    )


def _is_pointer(file: Path) -> bool:
    """Whether Git LFS has left its note instead of the audio."""
    try:
        # Of seven thousand files only suspiciously small ones are opened.
        if not 0 < file.stat().st_size < _POINTER_BYTES:
            return False
        with file.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        # What cannot be opened is named by the check of the audio.
        return False


def _row(file: Path, *, is_pointer: bool) -> tuple[str, ...] | Problem:
    name = _NAME.fullmatch(file.stem)
    if name is None:
        text = (
            f"{file}: the name is not of the form 1001_DFA_ANG_XX.wav (speaker, sentence, "
            "emotion, level)"
        )
        return Problem(kind="strange name", text=text, id=file.stem)
    if name["code"] not in CODES:
        known = ", ".join(f"{code} {emotion}" for code, emotion in CODES.items())
        text = f"{file}: {name['code']!r} is no emotion of CREMA-D (known: {known})"
        return Problem(kind="unknown label", text=text, id=file.stem)
    if is_pointer:
        text = f"{file} is a pointer of Git LFS instead of audio; run 'git lfs pull'"
        return Problem(kind="unreadable", text=text, id=file.stem)
    return (
        file.stem,
        str(file),
        name["speaker"],
        "",
        CODES[name["code"]],
        name["text"],
        name["level"],
    )


def _with_actors(
    table: pd.DataFrame, *, file: Path, title: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with what is known of each actor, and remarks on what is not."""
    actors: dict[str, Sequence[str]] = {}
    remarks = []
    if is_there(file, title=title):
        for actor, *told in _cells(file, needed=("ActorID", *_ABOUT_ACTOR), title=title):
            actors[actor] = told
        unknown = [one for one in sorted(set(table["speaker"])) if one not in actors]
        if unknown:
            remarks.append(f"{file} has no row for {counted(unknown, 'speaker')} ({few(unknown)})")
    else:
        remarks.append(f"there is no {file}: gender, age, race and ethnicity are not known")
    nothing = [""] * len(_ABOUT_ACTOR)
    told_of = [actors.get(speaker, nothing) for speaker in table["speaker"]]
    made = {
        name.lower(): [told[place] for told in told_of] for place, name in enumerate(_ABOUT_ACTOR)
    }
    sexes = [sex.lower() for sex in made.pop("sex")]
    strange = Counter(sex for sex in sexes if sex not in ("female", "male", ""))
    if strange:
        remarks.append(
            f"{file}: Sex is neither Female nor Male but {few(sorted(strange))} for "
            f"{strange.total()} utterances, whose gender is left open"
        )
    gender = ["" if sex in strange else sex for sex in sexes]
    return table.assign(gender=gender, **made).astype("str"), tuple(remarks)


def _with_votes(
    table: pd.DataFrame, *, file: Path, named: set[str], title: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with votes, and remarks on where they do not fit the files.

    Args:
        named: names without ending of all files, those with problems too.
    """
    votes: Mapping[str, Counter[str]] = {}
    remarks = []
    if is_there(file, title=title):
        votes, strange = _read_votes(file, title=title)
        if strange:
            remarks.append(f"{file}: no sense in {counted(strange, 'row')} ({few(strange)})")
        gone = [name for name in votes if name not in named]
        if gone:
            remarks.append(f"{file} has votes for {counted(gone, 'missing file')} ({few(gone)})")
        without = [name for name in table["id"] if name not in votes]
        if without:
            remarks.append(f"{file} has no votes for {counted(without, 'file')} ({few(without)})")
    else:
        remarks.append(f"there is no {file}: votes and agreement are not known")
    cast = [votes.get(name, Counter()) for name in table["id"]]
    texts = pd.Series([votes_text(one) for one in cast], index=table.index, dtype="str")
    return table.assign(votes=texts), tuple(remarks)


def _read_votes(file: Path, *, title: str) -> tuple[dict[str, Counter[str]], list[str]]:
    """Voice-only votes by name, and the rows that make no sense.

    The first column has no header. Its six digits begin with 1 where raters heard the voice only,
    with 2 where they saw the face only, with 3 where they had both.
    """
    votes: dict[str, Counter[str]] = {}
    strange = []
    for number, name, *cells in _cells(file, needed=("", "fileName", *_LETTERS), title=title):
        whole = name and all(cell.isdecimal() for cell in cells)
        if not whole or not re.fullmatch(r"[123]\d{5}", number):
            strange.append(f"{number!r} of {name!r}")
        elif number.startswith("1"):
            cast = zip(_LETTERS.values(), map(int, cells), strict=True)
            votes.setdefault(name, Counter()).update(dict(cast))
    return votes, strange


def _cells(file: Path, *, needed: Sequence[str], title: str) -> list[list[str]]:
    """The needed columns of a CSV file, row by row; "" where a row is too short.

    Raises:
        CorpusError: the file cannot be read, or lacks a column.
    """
    if _is_pointer(file):
        raise CorpusError(
            f"corpus {title!r}: {file} is a pointer of Git LFS instead of a table; "
            "run 'git lfs pull' there"
        )
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [[cell.strip() for cell in row] for row in csv.reader(stream)] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(
            f"corpus {title!r}: {file} cannot be read ({error}); get it again from "
            "https://github.com/CheyneyComputerScience/CREMA-D, or take it away"
        ) from error
    for name in needed:
        if name not in header:
            raise CorpusError(
                f"corpus {title!r}: {file} has no column {name!r}; get it again from "
                "https://github.com/CheyneyComputerScience/CREMA-D, or take it away"
            )
    places = [header.index(name) for name in needed]
    return [
        [row[place] if place < len(row) else "" for place in places] for row in rows if any(row)
    ]

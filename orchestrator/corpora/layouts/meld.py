"""MELD (Poria et al. 2019) as distributed: three CSV files, and clips from a television series."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.clips import ClipSource
from orchestrator.corpora.layouts.folders import corpus_root
from orchestrator.corpora.layouts.meld_clips import Clips, Folders, find_clips, walk
from orchestrator.corpora.layouts.rows import row_name, row_per_line
from orchestrator.corpora.listing import SPLITS, About, Documented, Listing, Problem, text_of
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import MeldCorpus

FILES: Final = {
    "train": "train_sent_emo.csv",
    "validation": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
"""The table of each split."""

EMOTIONS: Final = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")

GENDERS: Final = {
    "Chandler": "male",
    "Joey": "male",
    "Monica": "female",
    "Phoebe": "female",
    "Rachel": "female",
    "Ross": "male",
}
"""Of the six main characters; the corpus tells nobody's."""

_COUNTS: Final = {
    "train": (4710, 1743, 1205, 1109, 683, 271, 268),
    "validation": (470, 163, 150, 153, 111, 22, 40),
    "test": (1256, 402, 281, 345, 208, 68, 50),
}
"""Rows of each split by emotion, in the order of ``EMOTIONS``."""

ABOUT: Final = About(
    summary=(
        "MELD: English, dialogues of the series Friends, 7 emotions, 13708 utterances in an "
        "official split"
    ),
    licence="GPL-3.0",
    obtain=(
        "understudy corpora fetch meld DIR, or https://affective-meld.github.io (repository "
        "declare-lab/MELD)"
    ),
    documented=Documented(
        utterances=13708,
        counts={
            "split": {split: sum(counts) for split, counts in _COUNTS.items()},
            "emotion": {
                emotion: sum(counts[place] for counts in _COUNTS.values())
                for place, emotion in enumerate(EMOTIONS)
            },
        },
        crossed={
            ("split", "emotion"): {
                (split, emotion): count
                for split, counts in _COUNTS.items()
                for emotion, count in zip(EMOTIONS, counts, strict=True)
            }
        },
    ),
)

_NEEDED: Final = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_EXTRA: Final = ("Sentiment", "Season", "Episode")
_COLUMNS: Final = (
    "id",
    "path",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "split",
    "emotion",
    "text",
    "transcript",
    "sentiment",
    "season",
    "episode",
)
_TIME: Final = re.compile(r"(\d+):(\d+):(\d+(?:[.,]\d+)?)")
_NAMED: Final = 3

# What Windows wrote for quotes and dashes, in copies that took it for Latin-1.
_MISTAKEN: Final = {
    code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(128, 160)
}


@dataclass
class _Found:
    """What reading the splits has found so far."""

    rows: list[dict[str, str | float]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def list_meld(section: MeldCorpus) -> Listing:
    """The rows of the CSV files found in the root or up to two folders below it.

    Ids are ``train-dia0_utt0`` and so on, since dialogues are numbered anew in each split.
    ``stated`` is what the start and end times tell. A map can also read ``sentiment``, ``season``
    and ``episode``. A row is listed whether its clip is there or not. Rows are numbered from 1,
    the header not counted; messages name the line too where each row is a line.

    Raises:
        CorpusError: the root is missing or cannot be read, there is no CSV file, or one is none of
            MELD's.
    """
    hint = "the folder of the unpacked MELD, the one that holds 'train_sent_emo.csv'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    found = _Found()
    try:
        folders = walk(root)
        files = {split: _find(FILES[split], folders=folders, found=found) for split in SPLITS}
        if not any(files.values()):
            raise CorpusError(
                f"corpus {section.title!r}: neither {root} nor two levels of folders below it hold "
                f"{', '.join(FILES.values())}; give the folder of the unpacked MELD"
            )
        for split, file in files.items():
            if file is None:
                found.remarks.append(f"{root}: no {FILES[split]}, so the corpus has no {split}")
                continue
            clips = find_clips(split, root=root, folders=folders)
            _read_split(file, split=split, clips=clips, found=found, title=section.title)
    except OSError as error:
        raise CorpusError(
            f"corpus {section.title!r}: {error.filename} cannot be read ({error.strerror}); "
            "change its permissions"
        ) from error
    table = pd.DataFrame(found.rows, columns=[*_COLUMNS, "stated"])
    types = dict.fromkeys(_COLUMNS, "str") | {"stated": "float64"}
    return Listing(
        table=table.astype(types),
        source=ClipSource(),
        place=str(root),
        emotions=tuple(sorted(EMOTIONS)),
        problems=tuple(found.problems),
        remarks=tuple(found.remarks),
    )


def _find(name: str, *, folders: Folders, found: _Found) -> Path | None:
    """The file of this name that is highest up; a remark on others."""
    places = [one.path for one in folders if one.depth <= 2 and name in one.files]
    if len(places) > 1:
        others = ", ".join(str(place / name) for place in places[1:])
        found.remarks.append(f"{places[0] / name} is used, and not {others}")
    return places[0] / name if places else None


def _read_split(file: Path, *, split: str, clips: Clips, found: _Found, title: str) -> None:
    try:
        cells, lined = _cells(file, found=found)
    except csv.Error as error:
        raise CorpusError(
            f"corpus {title!r}: {file} cannot be read as csv ({error}); "
            "give the file as MELD's repository has it"
        ) from error
    header = [name.strip() for name in cells[0]] if cells else []
    absent = [name for name in _NEEDED if name not in header]
    if absent:
        raise CorpusError(
            f"corpus {title!r}: {file} has no column {', '.join(absent)}; "
            "give the file as MELD's repository has it"
        )
    seen: set[str] = set()
    timeless: list[str] = []
    for number, values in enumerate(cells[1:], start=1):
        where = f"{file}, {row_name(number, lined=lined)}"
        if len(values) != len(header):
            text = f"{where} has {len(values)} cells where the header has {len(header)}"
            found.problems.append(Problem(kind="strange row", text=text))
            continue
        row = _row(dict(zip(header, values, strict=True)), split=split, clips=clips)
        if row is None:
            text = f"{where}: Dialogue_ID and Utterance_ID have to be whole numbers"
            found.problems.append(Problem(kind="strange row", text=text))
            continue
        id = str(row["id"])
        if id in seen:
            text = f"{where} is {id} a second time"
            found.problems.append(Problem(kind="duplicate row", text=text))
            continue
        seen.add(id)
        if row["emotion"] not in EMOTIONS:
            text = f"{where}: {row['emotion']!r} is no emotion of MELD ({', '.join(EMOTIONS)})"
            found.problems.append(Problem(kind="unknown label", text=text, id=id))
            continue
        found.rows.append(row)
        if row["stated"] != row["stated"]:
            timeless.append(id)
    _remark(found, f"{file}: no sensible start and end time in", timeless, "rows")
    if not clips.folders:
        found.remarks.append(f"{file}: no folder of its clips ({clips.missing})")
    stems = {id.partition("-")[2] for id in seen}
    _remark(found, f"{file}: no row names", clips.unnamed(stems), "clips")


def _cells(file: Path, *, found: _Found) -> tuple[list[list[str]], bool]:
    """The rows of a CSV file, the header first, without empty lines; whether each is a line."""
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        found.remarks.append(f"{file} is not UTF-8; it is read as Windows-1252")
    stream = io.StringIO(text.translate(_MISTAKEN), newline="")
    rows = [cells for cells in csv.reader(stream) if cells]
    return rows, row_per_line(content, rows=len(rows) - 1)


def _row(cells: Mapping[str, str], *, split: str, clips: Clips) -> dict[str, str | float] | None:
    """A row of the table; None if its cells do not tell which utterance it is."""
    value = {name: (cells.get(name) or "").strip() for name in (*_NEEDED, *_EXTRA)}
    dialogue, utterance = value["Dialogue_ID"], value["Utterance_ID"]
    if not (dialogue.isdecimal() and utterance.isdecimal()):
        return None
    stem = f"dia{int(dialogue)}_utt{int(utterance)}"
    stated = _seconds(cells.get("EndTime") or "") - _seconds(cells.get("StartTime") or "")
    return {
        "id": f"{split}-{stem}",
        "path": str(clips.path(stem)),
        "speaker": value["Speaker"],
        "gender": GENDERS.get(value["Speaker"], ""),
        "session": "",
        "dialogue": f"{split}-dia{int(dialogue)}",
        "split": split,
        "emotion": value["Emotion"].lower(),
        "text": text_of(value["Utterance"]),
        "transcript": value["Utterance"],
        "sentiment": value["Sentiment"].lower(),
        "season": value["Season"],
        "episode": value["Episode"],
        "stated": stated if stated > 0 else float("nan"),
    }


def _seconds(time: str) -> float:
    """``00:16:16,059`` in seconds, NaN if it is no such time."""
    told = _TIME.fullmatch(time.strip())
    if told is None:
        return float("nan")
    return int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3].replace(",", "."))


def _remark(found: _Found, text: str, names: Sequence[str], what: str) -> None:
    """``TEXT 12 WHAT (a, b, c, ...)``, if there are any."""
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        found.remarks.append(f"{text} {len(names)} {what} ({', '.join(names[:_NAMED])}{more})")

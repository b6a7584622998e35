"""The Berlin Database of Emotional Speech (Burkhardt et al. 2005) as distributed."""

from __future__ import annotations

import re
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
from orchestrator.corpora.listing import About, Documented, Listing, Problem
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

SPEAKERS: Final = {
    "03": 49,
    "08": 58,
    "09": 43,
    "10": 38,
    "11": 55,
    "12": 35,
    "13": 61,
    "14": 69,
    "15": 56,
    "16": 71,
}
"""Utterances of each speaker in the corpus as distributed."""

GENDERS: Final = {
    **dict.fromkeys(("03", "10", "11", "12", "15"), "male"),
    **dict.fromkeys(("08", "09", "13", "14", "16"), "female"),
}
"""From the corpus's own description."""

ABOUT: Final = About(
    summary="Berlin Database of Emotional Speech: German, 10 speakers, 7 emotions, 535 utterances",
    licence="CC0 1.0",
    obtain="understudy corpora fetch emodb DIR, or http://emodb.bilderbar.info",
    documented=Documented(
        utterances=sum(COUNTS.values()), counts={"speaker": SPEAKERS, "emotion": COUNTS}
    ),
)

RECOGNITION: Final = "erkennung.txt"

_STEM: Final = re.compile(
    r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<letter>[A-Za-z])(?P<version>[a-z]?)"
)
_COLUMNS: Final = ("id", "path", "speaker", "gender", "session", "emotion", "text", "version")


def list_emodb(section: EmodbCorpus) -> Listing:
    """The utterances of ``ROOT/wav``; a map can also read the columns ``text`` and ``version``.

    ``ROOT/erkennung.txt`` tells how many of the listeners recognised the emotion (``agreement``)
    and how many found it natural (``naturalness``), both in [0, 1]. The list as distributed also
    rates recordings that are not in the corpus; remarks count them, and what else is odd.

    Other files than ``*.wav``, and hidden ones, are no part of the corpus.

    Raises:
        CorpusError: the root, its ``wav`` folder or any WAV file in it is missing or
            cannot be read.
    """
    hint = "the folder of the unpacked EmoDB, the one that holds 'wav'"
    root = corpus_root(section.root, title=section.title, hint=hint)
    folder = root / "wav"
    if not is_folder(folder, title=section.title):
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no folder 'wav'; give the "
            "folder of the unpacked EmoDB, whose files are wav/03a01Fa.wav and so on"
        )
    files = files_of(folder, title=section.title)
    if not files:
        raise CorpusError(
            f"corpus {section.title!r}: {folder} holds no .wav file; unpack EmoDB there, or give "
            "another root"
        )
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for file in files:
        row = _row(file)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    table, remarks = _with_recognition(
        pd.DataFrame(rows, columns=list(_COLUMNS), dtype="str"),
        file=root / RECOGNITION,
        named={file.stem for file in files},
        title=section.title,
    )
    return Listing(
        table=table,
        source=FileSource(),
        place=str(root),
        emotions=tuple(sorted(LETTERS.values())),
        problems=tuple(problems),
        remarks=remarks,
    )


def _row(file: Path) -> tuple[str, ...] | Problem:
    name = _STEM.fullmatch(file.stem)
    if name is None:
        text = f"{file}: the name is not of the form 03a01Fa.wav (speaker, text, emotion, version)"
        return Problem(kind="strange name", text=text, id=file.stem)
    if name["letter"] not in LETTERS:
        known = ", ".join(f"{letter} {emotion}" for letter, emotion in LETTERS.items())
        text = f"{file}: {name['letter']!r} is no emotion of EmoDB (known: {known})"
        return Problem(kind="unknown label", text=text, id=file.stem)
    return (
        file.stem,
        str(file),
        name["speaker"],
        GENDERS.get(name["speaker"], ""),
        "",
        LETTERS[name["letter"]],
        name["text"],
        name["version"],
    )


def _with_recognition(
    table: pd.DataFrame, *, file: Path, named: set[str], title: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with what listeners said, and remarks on where that does not fit the files.

    Args:
        named: names without ending of all files, those with problems too.
    """
    shares: dict[str, tuple[float, float]] = {}
    remarks = []
    if is_there(file, title=title):
        shares, strange = _read_recognition(file, title=title)
        if strange:
            remarks.append(f"{file}: no sense in {counted(strange, 'line')} ({few(strange)})")
        gone = [name for name in shares if name not in named]
        if gone:
            remarks.append(
                f"{file} rates {counted(gone, 'recording')} that {file.parent / 'wav'} does not "
                f"hold ({few(gone)})"
            )
        without = [name for name in table["id"] if name not in shares]
        if without:
            remarks.append(f"{file} does not rate {counted(without, 'file')} ({few(without)})")
    else:
        remarks.append(f"there is no {file}: agreement and naturalness are not known")
    unknown = (float("nan"), float("nan"))
    told = [shares.get(name, unknown) for name in table["id"]]
    return table.assign(
        agreement=pd.Series([one[0] for one in told], index=table.index, dtype="float64"),
        naturalness=pd.Series([one[1] for one in told], index=table.index, dtype="float64"),
    ), tuple(remarks)


def _read_recognition(
    file: Path, *, title: str
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Shares of those who recognised, and who found natural, by name; and lines without sense.

    The file is Latin-1 with tabs; numbers are per cent with decimal commas, and padded with
    non-breaking spaces.

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="latin-1").split("\n")
    except OSError as error:
        raise CorpusError(
            f"corpus {title!r}: {file} cannot be read ({error.strerror}); change its permissions"
        ) from error
    shares: dict[str, tuple[float, float]] = {}
    strange = []
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells) or cells[0].startswith("Nr"):
            continue
        name = cells[1].removesuffix(".wav") if len(cells) == 4 else ""
        told = [_share(cell) for cell in cells[2:]]
        if not name or name in shares or None in told:
            strange.append(f"line {number}")
        else:
            recognised, natural = (share for share in told if share is not None)
            shares[name] = (recognised, natural)
    return shares, strange


def _share(cell: str) -> float | None:
    """``65,00`` (per cent) as 0.65, or None if it is nothing of the kind."""
    try:
        share = float(cell.replace(",", ".")) / 100
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None

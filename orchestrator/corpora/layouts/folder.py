"""Any folder of audio files: speech of which nothing is known but how it sounds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pandas as pd
import soundfile

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts.folders import corpus_root, counted, few
from orchestrator.corpora.listing import About, Listing
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import FolderCorpus

ABOUT: Final = About(
    summary="your own: a folder of audio files without labels, heard beside labelled corpora",
    licence="yours",
    obtain="any folder of WAV, FLAC, Ogg or MP3 files; docs/corpora.md says what becomes of it",
)

SUFFIXES: Final = frozenset(
    {".aif", ".oga", ".opus", ".snd", ".wave"}
    # RAW says neither rate nor coding, and what ends in .mat is seldom sound.
    | {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw", ".mat4", ".mat5"}
)
"""Endings of audio files, in any case."""


def list_folder(section: FolderCorpus) -> Listing:
    """Every audio file that ``pattern`` leads to; its id is its path below the root, with ``/``.

    Hidden files and folders are left out. Files of other endings, and linked folders, which ``**``
    does not enter, are remarked on.

    Raises:
        CorpusError: the root is missing, a folder in it cannot be read, or it holds no such file.
    """
    hint = "a folder of audio files"
    root = corpus_root(section.root, title=section.title, hint=hint)
    linked = _linked_folders(root, title=section.title)
    files: list[Path] = []
    others: list[Path] = []
    for file in sorted(root.glob(section.pattern)):
        inside = file.relative_to(root)
        if any(part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        (files if file.suffix.lower() in SUFFIXES else others).append(inside)
    if not files:
        found = f", but {_by_ending(others)}" if others else ""
        raise CorpusError(
            f"corpus {section.title!r}: root {section.root!r} holds no audio file that pattern "
            f"{section.pattern!r} leads to{found}; give {hint}, or another pattern"
        )
    remarks = []
    if others:
        remarks.append(f"{root}: not read, being no audio by their endings: {_by_ending(others)}")
    if linked and "**" in section.pattern:
        names = few(folder.relative_to(root).as_posix() for folder in linked)
        remarks.append(f"{root}: {counted(linked, 'linked folder')} not entered: {names}")
    ids = [inside.as_posix() for inside in files]
    table = pd.DataFrame(
        {
            "id": ids,
            "path": [str(root / inside) for inside in files],
            "speaker": "",
            "emotion": "",
            "session": "",
        },
        dtype="str",
    )
    return Listing(table=table, source=FileSource(), place=str(root), remarks=tuple(remarks))


def _linked_folders(root: Path, *, title: str) -> list[Path]:
    """The links to folders anywhere below; raises where a folder cannot be read, as glob does not.

    Raises:
        CorpusError: naming the folder.
    """

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"corpus {title!r}: {error.filename} cannot be read ({error.strerror or error}); "
            "change its permissions"
        ) from error

    found = []
    for folder, inside, _ in os.walk(root, onerror=refuse):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += [path for name in inside if (path := Path(folder) / name).is_symlink()]
    return found


def _by_ending(files: Iterable[Path]) -> str:
    """``2 .txt, 1 without an ending``."""
    endings = Counter(file.suffix.lower() or "without an ending" for file in files)
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())

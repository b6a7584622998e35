"""Folders of recordings: finding the files, each one once, with errors that say what to give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import CorpusError

_NAMED: Final = 3


@dataclass(frozen=True)
class Recording:
    """A file that a corpus's layout finds.

    Attributes:
        id: of its utterance.
        file: where it lies.
        place: the folder that the layout found it through, to tell copies of a corpus apart.
    """

    id: str
    file: Path
    place: Path


def is_folder(path: Path, *, title: str) -> bool:
    """Whether a path leads to a folder.

    Raises:
        CorpusError: that cannot be told, since a folder on the way may not be entered.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error, title=title) from error


def is_there(path: Path, *, title: str) -> bool:
    """Whether a path leads to a file.

    Raises:
        CorpusError: that cannot be told, since a folder on the way may not be entered.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error, title=title) from error


def is_gone(path: Path) -> bool:
    """Whether certainly nothing is at a path; False where that cannot be told."""
    try:
        return not path.exists()
    except OSError:
        return False


def corpus_root(root: str, *, title: str, hint: str) -> Path:
    """The absolute folder that ``root`` names.

    Args:
        root: as the section has it; ``~`` is the user's home.
        title: of the corpus, for the message.
        hint: which folder to give, as the end of a sentence.

    Raises:
        CorpusError: there is no such folder, or it may not be looked at.
    """
    folder = Path(root).expanduser().absolute()
    if not is_folder(folder, title=title):
        raise CorpusError(f"corpus {title!r}: root {root!r} is no folder; give {hint}")
    return folder


def entries(folder: Path, *, title: str) -> list[Path]:
    """What a folder holds but for hidden files (``._a01.wav``), sorted by name.

    Raises:
        CorpusError: the folder cannot be read.
    """
    try:
        present = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error, title=title) from error
    return [path for path in present if not path.name.startswith(".")]


def subfolders(folder: Path, *, title: str) -> list[Path]:
    """The folders in a folder, hidden ones left out, sorted by name.

    Raises:
        CorpusError: the folder cannot be read.
    """
    return [path for path in entries(folder, title=title) if is_folder(path, title=title)]


def files_of(folder: Path, *, title: str, suffixes: Sequence[str] = (".wav",)) -> list[Path]:
    """The files of a folder with one of the endings, in any case, sorted by name.

    Raises:
        CorpusError: the folder cannot be read.
    """
    return [path for path in entries(folder, title=title) if path.suffix.lower() in suffixes]


def first_copies(found: Iterable[Recording]) -> tuple[list[Recording], tuple[str, ...]]:
    """Each id once, where it comes first, and a remark on every place that holds some again."""
    first: dict[str, Recording] = {}
    again: dict[Path, list[Recording]] = {}
    for recording in found:
        if first.setdefault(recording.id, recording) is not recording:
            again.setdefault(recording.place, []).append(recording)
    remarks = tuple(
        f"{place}: {counted(copies, 'file')} not read, since {first[copies[0].id].place} holds "
        f"the same names ({few(copy.id for copy in copies)})"
        for place, copies in again.items()
    )
    return list(first.values()), remarks


def counted(things: Sequence[object], what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def few(names: Iterable[str]) -> str:
    """The first names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every = list(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unreadable(path: Path, error: OSError, *, title: str) -> CorpusError:
    return CorpusError(
        f"corpus {title!r}: {path} cannot be read ({error.strerror or error}); "
        "change its permissions"
    )

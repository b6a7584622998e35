"""Where the clips of MELD lie in a copy of it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.corpora.clips import CONTAINERS

NAMES: Final = {
    "train": ("train_splits", "train"),
    "validation": ("dev_splits_complete", "dev_splits", "dev"),
    "test": ("output_repeated_splits_test", "test_splits", "test"),
}
"""Names of a split's folder of clips: as distributed, then those that people give."""

_DEPTH: Final = 3
_SUFFIXES: Final = (".wav", ".mp4")
_CLIP: Final = re.compile(r"dia(\d+)_utt(\d+)")


@dataclass(frozen=True)
class Folder:
    """One folder of a copy: its path, its levels below the root, the names of its files."""

    path: Path
    depth: int
    files: frozenset[str]


Folders = list[Folder]
"""Those higher up first, then by path."""


def walk(root: Path) -> Folders:
    """The root and the folders up to three levels below it; no hidden files and folders.

    Raises:
        OSError: a folder cannot be read.
    """
    found: Folders = []

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        path = Path(place)
        depth = len(path.relative_to(root).parts)
        visible = frozenset(name for name in files if not name.startswith("."))
        found.append(Folder(path=path, depth=depth, files=visible))
        # In place: os.walk goes into what is left. Archives made on a Mac hold a folder of shadows.
        folders[:] = [
            name
            for name in folders
            if depth < _DEPTH and not name.startswith(".") and name != "__MACOSX"
        ]
    return sorted(found, key=lambda one: (one.depth, str(one.path)))


@dataclass(frozen=True)
class Clips:
    """The clips of one split.

    Attributes:
        folders: those that hold some, the usual names first.
        missing: where a clip that is not there would be.
        suffix: what it would end in.
        found: from ``dia0_utt0`` to the clip to use.
        names: of every clip, from its stem where it has the usual form, else "", in order.
    """

    folders: tuple[Path, ...]
    missing: Path
    suffix: str
    found: dict[str, Path] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()

    def path(self, stem: str) -> Path:
        """The clip of an utterance, there or not."""
        return self.found.get(stem, self.missing / f"{stem}{self.suffix}")

    def unnamed(self, stems: Collection[str]) -> list[str]:
        """Names of clips that belong to none of these utterances."""
        return [name for stem, name in self.names if stem not in stems]


def find_clips(split: str, *, root: Path, folders: Folders) -> Clips:
    """The clips of a split, extracted WAV files before MP4 files of the same utterance."""
    order = NAMES[split]
    places = [
        one
        for name in order
        for one in folders
        if one.path.name.lower() == name and one.depth > 0 and any(map(_stem, one.files))
    ]
    found: dict[str, Path] = {}
    names: list[tuple[str, str]] = []
    for suffix in _SUFFIXES:
        for one in places:
            for name in sorted(one.files):
                if (stem := _stem(name)) and name.lower().endswith(suffix):
                    found.setdefault(stem, one.path / name)
    for one in places:
        names += [(_stem(name), name) for name in sorted(one.files) if _is_clip(name)]
    suffixes = Counter(path.suffix for path in found.values())
    return Clips(
        folders=tuple(one.path for one in places),
        missing=places[0].path if places else root / order[0],
        suffix=suffixes.most_common(1)[0][0] if suffixes else ".mp4",
        found=found,
        names=tuple(names),
    )


def _stem(name: str) -> str:
    """``dia0_utt0`` of a clip's file name, "" if it is not of that form."""
    stem, suffix = os.path.splitext(name)
    usual = _CLIP.fullmatch(stem)
    if usual is None or suffix.lower() not in _SUFFIXES:
        return ""
    return f"dia{int(usual[1])}_utt{int(usual[2])}"


def _is_clip(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in _SUFFIXES or suffix in CONTAINERS

"""What travels to a cluster with a job: the code and one experiment file, nothing else."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import orchestrator

PACKAGES = ("orchestrator", "models", "search_spaces", "experiments")
SUFFIXES = frozenset({".py", ".yaml", ".json"})
"""Of the packages only these travel: no data, weights, stores or compiled files."""
SUBMITTED = "submitted"
"""The folder of the experiment file inside the package."""


def pack(file: Path, folder: Path) -> str:
    """Copy the code and the experiment ``file``, wherever it lies, into the empty ``folder``.

    The same code and file give the same package, which Ray then uploads once.

    Returns:
        A hash of the package's paths and contents, 16 hex digits.
    """
    root = Path(orchestrator.__file__).resolve().parent.parent
    for package in PACKAGES:
        for source in sorted((root / package).rglob("*")):
            inside = source.relative_to(root)
            if source.suffix in SUFFIXES and not any(part[0] == "." for part in inside.parts):
                _copy(source, folder / inside)
    _copy(file, folder / SUBMITTED / file.name)
    digest = hashlib.sha256()
    for copied in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(copied.read_bytes()).hexdigest()
        digest.update(f"{copied.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)

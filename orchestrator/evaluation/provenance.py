"""Which code made a result."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import models
import orchestrator
import search_spaces


@cache
def sources_digest() -> str:
    """A hash over the sources of the three packages, the same wherever they are installed.

    The version alone does not tell two commits apart.
    """
    total = hashlib.sha256()
    for package in (models, orchestrator, search_spaces):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts):
            total.update(f"{package.__name__}/{path.relative_to(folder).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]

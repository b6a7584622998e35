"""Stores with a little in them, for tests of what lies in a store and what may go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from pyarrow import fs

from orchestrator.store import Store
from orchestrator.store.contents import Contents

HOUR, DAY = 3600.0, 86400.0


def far(tmp_path: Path, *, used_by: str | None = None, cache: str = "cache") -> Store:
    """A store that is not on a local disk, as far as it can tell; its bucket is a folder."""
    (tmp_path / "bucket").mkdir(exist_ok=True)
    filesystem = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    return Store("one", filesystem=filesystem, cache=tmp_path / cache, used_by=used_by)


def near(tmp_path: Path, *, used_by: str | None = None) -> Store:
    """A store in a folder."""
    return Store(tmp_path / "store", used_by=used_by)


def of_bytes(count: int) -> Callable[[Path], None]:
    """A builder of one file of so many bytes."""
    return lambda folder: None if (folder / "out.bin").write_bytes(bytes(count)) else None


def make(store: Store, name: str, *, stage: str = "student", count: int = 100) -> str:
    """An artifact of a store; its key."""
    return store.obtain(stage, {"name": name}, of_bytes(count)).key


def made_ago(root: Path, seconds: float) -> None:
    """Every file below a folder was last written so long ago."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        os.utime(path, (then, then))


def users_of(contents: Contents) -> dict[str, tuple[str, ...]]:
    """By key, who refers to an artifact."""
    return {one.key: one.users for one in contents.artifacts}

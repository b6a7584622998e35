"""What a fetched corpus says of itself: where its files came from, and how large they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from orchestrator.corpora.fetching.download import Downloaded, Remote
from orchestrator.errors import CorpusError

RECORD: Final = "fetched.json"
"""File in the root of a fetched corpus: what came from where, and every file's size."""


def read_record(root: Path, name: str) -> dict[str, Any] | None:
    """What was fetched, or None where nothing was.

    Raises:
        CorpusError: the file is there and is not such a record.
    """
    file = root / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        whole = record["corpus"] == name and all(
            isinstance(size, int) for size in record["tree"].values()
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise CorpusError(
            f"{file} is no record of fetching {name}; move {root} away to fetch it again"
        )
    return dict(record)


def verify(record: Mapping[str, Any], root: Path, name: str) -> None:
    """Raise unless every file that was fetched is there at its size."""
    now = sizes(root)
    changed = [path for path, size in record["tree"].items() if now.get(path) != size]
    if changed:
        raise CorpusError(
            f"{root} was fetched, and since then {len(changed)} of its {len(record['tree'])} files "
            f"went missing or changed size ({', '.join(changed[:3])}); move {root} away and the "
            f"same command fetches {name} again"
        )


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its path from there."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file()
    }


def entry(remote: Remote, done: Downloaded, file: Path) -> dict[str, Any]:
    """A line of the record: where a file came from, its size and sha256, and when (UTC)."""
    date = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {"url": remote.url, **asdict(done), "date": date}

"""Git LFS: the pointers that a repository's archive holds, and the files that they stand for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import requests

from orchestrator.corpora.fetching.download import Downloaded, Patience, Remote, Tell, download
from orchestrator.errors import CorpusError

PARALLEL: Final = 8
"""Downloads at a time: thousands of small files wait for answers more than for bytes."""

_LONGEST: Final = 1024  # bytes of a pointer, by the format's specification
_FIRST_LINE: Final = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER: Final = re.compile(rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n")


@dataclass(frozen=True)
class Pointer:
    """What a file is that Git LFS keeps elsewhere: its sha256 (hex) and its size in bytes."""

    sha256: str
    size: int


def pointer_in(file: Path) -> Pointer | None:
    """The pointer that a file holds, or None if it holds its own content.

    Raises:
        CorpusError: it begins as a pointer and goes on as none.
    """
    if file.stat().st_size > _LONGEST:
        return None
    text = file.read_bytes()
    if not text.startswith(_FIRST_LINE):
        return None
    found = _POINTER.search(text)
    if found is None:
        raise CorpusError(f"{file} begins as a Git LFS pointer but names no sha256 and size")
    return Pointer(sha256=found[1].decode(), size=int(found[2]))


def pointers_below(folder: Path) -> dict[str, Pointer]:
    """The pointers in a folder by their path below it (``AudioWAV/1001_DFA_ANG_XX.wav``).

    Raises:
        CorpusError: a file begins as a pointer and goes on as none.
    """
    found = {
        file.relative_to(folder).as_posix(): pointer_in(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return {path: pointer for path, pointer in found.items() if pointer is not None}


def download_large(
    pointers: Mapping[str, Pointer],
    folder: Path,
    *,
    base: str,
    patience: Patience,
    tell: Tell | None = None,
) -> dict[str, Downloaded]:
    """The files that pointers stand for, several at a time; those that are there are kept.

    Args:
        pointers: by path.
        folder: where they go, under their paths.
        base: URL that the paths follow.
        patience: of each download.
        tell: called after every file, with the bytes of all.

    Raises:
        CorpusError: a file cannot be downloaded, or is not what its pointer says. Those that came
            before stay.
        FetchError: the server does not answer, is in trouble, or breaks off again and again.
    """
    local, sessions = threading.local(), list[requests.Session]()

    def fetch(path: str) -> Downloaded:
        # A session is not made for several threads at once, and saves a handshake a file.
        if not hasattr(local, "session"):
            local.session = requests.Session()
            sessions.append(local.session)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pointer = pointers[path]
        remote = Remote(f"{base}/{quote(path)}", size=pointer.size, sha256=pointer.sha256)
        return download(remote, target, patience=patience, session=local.session)

    total, done = sum(pointer.size for pointer in pointers.values()), 0
    results: dict[str, Downloaded] = {}
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="large-files") as pool:
        running = {pool.submit(fetch, path): path for path in pointers}
        try:
            for future in as_completed(running):
                path = running[future]
                results[path] = future.result()
                done += results[path].size
                if tell is not None:
                    tell(done, total, path)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            for session in sessions:
                session.close()
    return results

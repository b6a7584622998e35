"""How the store writes to a local disk: locks that die with their process, all or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MANIFEST = "manifest.json"
INPUTS = "inputs.json"
_PARTIAL = ".partial-"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: Path, *, purpose: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``; one process (and one thread of it) at a time.

    Without ``wait``, a lock that another process holds raises ``BlockingIOError``.

    The kernel frees an ``flock`` when its process ends, however it ends, so no lock outlives a
    crash. The file is removed on release; whoever was waiting for the removed file tries again.
    While it is held, it says in words who holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                log.info("waiting for another process to finish %s", purpose)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not _same_file(handle, path):
                continue
            try:
                _sign(handle, purpose)
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(handle)


def holder(path: Path) -> str | None:
    """Who holds the lock file ``path``, in words; None if nobody does. Waits for nobody."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(handle, 4096).decode(errors="replace") or "another process"
    finally:
        os.close(handle)
    return None


@contextlib.contextmanager
def gate(path: Path, *, alone: bool) -> Iterator[None]:
    """Be inside with others who are not ``alone``, or nobody else; the file ``path`` stays.

    Who is not ``alone`` waits for one who is; who would be ``alone`` waits for nobody.

    Raises:
        BlockingIOError: ``alone``, and somebody is inside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _sign(handle: int, purpose: str) -> None:
    # a full disk is for those to complain of who have something to write
    with contextlib.suppress(OSError):
        text = f"{purpose} (process {os.getpid()} on {os.uname().nodename})"
        os.ftruncate(handle, 0)
        os.write(handle, text.encode())


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds the old bytes or all the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{_PARTIAL}{secrets.token_hex(8)}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_partial(name: str) -> bool:
    """Whether a file name belongs to a write that has not finished (or never will)."""
    return _PARTIAL in name


@dataclass(frozen=True)
class Entry:
    """A file of a store."""

    name: str
    """Its path below the store, with slashes."""
    size: int
    """Bytes."""
    touched: float
    """When it was last written, seconds since 1970."""


class Files(Protocol):
    """Files by name, wherever they are."""

    def exists(self, name: str) -> bool:
        """Whether ``name`` is a file."""

    def read(self, name: str) -> bytes:
        """All bytes of a file."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that readers see the old bytes or all the new ones."""

    def remove(self, name: str) -> None:
        """Throw a file away; that there is none is no mistake."""

    def remove_folder(self, name: str) -> None:
        """Throw a folder away with all that is in it, writes that never finished among them."""

    def list(self, prefix: str) -> tuple[str, ...]:
        """Names of the files under a folder, at any depth, sorted; none that are being written."""

    def entries(self, prefix: str = "") -> tuple[Entry, ...]:
        """Every file under a folder, at any depth, sorted by name."""


class LocalFiles:
    """Result files under a local folder; :class:`orchestrator.store.remote.Remote` is its twin."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def exists(self, name: str) -> bool:
        """Whether ``name`` is a file."""
        return (self._root / name).is_file()

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that readers see the old bytes or all the new ones."""
        write_atomic(self._root / name, data)

    def list(self, prefix: str) -> tuple[str, ...]:
        """Names of the files under the folder ``prefix``, at any depth, sorted."""
        return tuple(
            sorted(
                (Path(folder) / file).relative_to(self._root).as_posix()
                for folder, _, files in os.walk(self._root / prefix)
                for file in files
                if not is_partial(file)
            )
        )

    def entries(self, prefix: str = "") -> tuple[Entry, ...]:
        """Every file under the folder ``prefix``, at any depth, sorted by name.

        Raises:
            OSError: a folder cannot be read.
        """
        return tuple(sorted(self._walk(prefix), key=lambda entry: entry.name))

    def _walk(self, prefix: str) -> Iterator[Entry]:
        for folder, _, files in os.walk(self._root / prefix, onerror=_unless_gone):
            for file in files:
                path = Path(folder) / file
                # who works in the store meanwhile takes files away
                with contextlib.suppress(FileNotFoundError):
                    found = path.lstat()
                    name = path.relative_to(self._root).as_posix()
                    yield Entry(name, found.st_size, found.st_mtime)

    def remove(self, name: str) -> None:
        """Throw a file away; that there is none is no mistake."""
        (self._root / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        """Throw a folder away with all that is in it, writes that never finished among them."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._root / name)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path) -> dict[str, Any]:
    """Bring every file of ``folder`` to the disk and write, last, the manifest that lists them.

    Returns:
        The manifest: ``{"files": {relative path: {"bytes": int, "sha256": hex}}}``.

    Raises:
        ValueError: the folder holds something that is neither a file nor a folder.
    """
    files: dict[str, dict[str, Any]] = {}
    folders = [folder]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            msg = f"{name} is neither a file nor a folder, and an artifact holds nothing else"
            raise ValueError(msg)
        if path.is_dir():
            folders.append(path)
            continue
        with path.open("rb+") as file:
            files[name] = {
                "bytes": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
            os.fsync(file.fileno())
    manifest = {"files": files}
    write_atomic(folder / MANIFEST, json.dumps(manifest, sort_keys=True, indent=1).encode())
    for inner in folders:
        sync_folder(inner)
    return manifest


def fault(folder: Path, *, digests: bool = False) -> str | None:
    """What is wrong with the artifact in ``folder``, or None when it is whole.

    Names and sizes are compared with the manifest; with ``digests`` the bytes are too, which reads
    every file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        listed = dict(manifest["files"])
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is unreadable"
    for name, expected in listed.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        if size != expected["bytes"]:
            return f"{name} has {size} bytes instead of {expected['bytes']}"
        if digests:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                    return f"{name} does not have the bytes that were written"
    return None


def publish(built: Path, target: Path) -> None:
    """Give the sealed folder ``built`` its final name in one step.

    If a whole artifact got there first (a builder on a node whose locks are not ours), it stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        built.rename(target)
    except OSError:
        if target.is_dir() and fault(target) is None:
            return
        raise
    sync_folder(target.parent)

"""What a process has to tell and the store has not taken yet: on local disk, line by line.

::

    SPOOL/WRITER/lock                            held while the process WRITER lives
    SPOOL/WRITER/STORE/FOLDER/00000001-1a2b3c4d.jsonl
    SPOOL/WRITER/STORE/FOLDER/files/00000002-... bytes that the lines speak of

``FOLDER`` is the run's folder in the store. A line that was written outlives its process, however
that ends: whoever uses the same store next on this machine finds it here (:func:`left_behind`).

Where this disk is full, what is told waits in memory: without bound for as long as the store takes
nothing either, and lost with its process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import logging
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

SPOOL_VARIABLE = "UNDERSTUDY_SPOOL"
"""Environment variable that names the spool's folder, which has to be on a local disk."""

_LOCK = "lock"
_NEW = ".new-"

log = logging.getLogger(__name__)


def spool_folder() -> Path:
    """The spool of this user on this machine."""
    named = os.environ.get(SPOOL_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    # tempfile would write there first, and name another folder where the disk is full, or none
    return Path(os.environ.get("TMPDIR") or "/tmp").absolute() / f"understudy-spool-{os.getuid()}"


def folder_of(store: str) -> str:
    """What a store's part of the spool is called: of its address, which no folder could be."""
    return hashlib.sha256(store.encode()).hexdigest()[:16]


class Spool:
    """The part of the spool that is this process's own; made when it is first needed.

    Args:
        root: The spool.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own: Path | None = None
        self._lock = -1
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._complained = False

    def segment(self, store: str, folder: str) -> Segment:
        """A new segment of a run: on disk, or in memory where that cannot be."""
        number = next(self._numbers)
        try:
            return Segment(self._folder() / folder_of(store) / folder, number)
        except OSError as error:
            self.complain(error)
            return Segment(None, number)

    def keep(self, store: str, folder: str, name: str, data: bytes) -> Kept:
        """Bytes of a run, to be told of: on disk, or in memory where that cannot be."""
        number = next(self._numbers)
        try:
            path = self._folder() / folder_of(store) / folder / name
            path = path.with_name(f"{number:08d}-{path.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{_NEW}{number}")
            try:
                partial.write_bytes(data)
                partial.rename(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self.complain(error)
            return Kept(None, data)
        return Kept(path, b"")

    def tidy(self, store: str, folder: str) -> None:
        """Take the folders of a run away that hold nothing."""
        if self._own is not None:
            place = self._own / folder_of(store) / folder
            for empty in (place / "files", place):
                with contextlib.suppress(OSError):
                    empty.rmdir()

    def complain(self, error: OSError) -> None:
        """Say, once, that this disk does not take what it should."""
        if not self._complained:
            log.warning(
                "tracking: %s cannot be written (%s); what the store has not taken waits in "
                "memory. Free some space, or name another folder with %s",
                self._root,
                error.strerror or error,
                SPOOL_VARIABLE,
            )
        self._complained = True

    def leave(self) -> None:
        """Take the folder away, with all that is in it; for a process that ends."""
        if self._own is not None and self._pid == os.getpid():
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock)
            self._own = None

    def _folder(self) -> Path:
        if self._own is None:
            _make_root(self._root)
            name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
            # under its own name only when it is locked: a folder without a lock is a dead one's
            new = self._root / f"{_NEW}{name}"
            new.mkdir(mode=0o700)
            self._lock = os.open(new / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._own = new.rename(self._root / name)
        return self._own


class Kept:
    """Bytes that wait, on disk or in memory."""

    def __init__(self, path: Path | None, data: bytes) -> None:
        self._path = path
        self._data = data

    def read(self) -> bytes:
        """All of them."""
        return self._data if self._path is None else self._path.read_bytes()

    def remove(self) -> None:
        """They need not wait any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Segment:
    """Events that go to the store as one file.

    Args:
        folder: Where it lies; None: in memory.
        number: Its place among the segments of its process.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, folder: Path | None, number: int) -> None:
        self.token = secrets.token_hex(4)
        """By which the store's copy of it is known."""
        self._path: Path | None = None
        self._handle = -1
        self._lines = bytearray()
        self._size = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{number:08d}-{self.token}.jsonl"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._handle = os.open(self._path, flags, 0o600)

    def write(self, line: bytes) -> None:
        """Add a line; it is there when this returns, whatever becomes of the process.

        Raises:
            OSError: If the disk is full; then the line is not there, and none may follow it.
        """
        if self._path is None:
            self._lines += line
        elif os.write(self._handle, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(line)

    def close(self) -> None:
        """No line follows."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            # who reads it finds what a disk in trouble has kept of it
            with contextlib.suppress(OSError):
                os.close(handle)

    def read(self) -> bytes:
        """The lines that were written whole."""
        if self._path is None:
            return bytes(self._lines)
        return self._path.read_bytes()[: self._size]

    def remove(self) -> None:
        """It need not wait any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Waiting:
    """What of one run the store has not taken. One thread at a time.

    Args:
        spool: Where it waits.
        store: The store's address.
        folder: The run's folder in the store.
    """

    def __init__(self, spool: Spool, store: str, folder: str) -> None:
        self.closed: deque[Segment] = deque()
        """The segments that no line follows, in their order."""
        self.files: dict[str, Kept] = {}
        """Bytes that the lines speak of, by their name below ``folder``."""
        self._open: Segment | None = None
        self._spool = spool
        self._place = (store, folder)

    def __bool__(self) -> bool:
        return self._open is not None or bool(self.closed)

    @property
    def is_open(self) -> bool:
        """Whether there are lines in no closed segment."""
        return self._open is not None

    def write(self, line: bytes, files: Mapping[str, bytes]) -> None:
        """Add a line, and before it the bytes that it speaks of, by names made of their digest.

        Raises:
            OSError: If the disk is full: the segment has to be closed, and the line is not in it.
        """
        for name, data in files.items():
            if name not in self.files:
                self.files[name] = self._spool.keep(*self._place, name, data)
        if self._open is None:
            self._open = self._spool.segment(*self._place)
        self._open.write(line)

    def write_in_memory(self, line: bytes, error: OSError) -> None:
        """Begin a segment in memory, since the disk has that error."""
        self._spool.complain(error)
        self._open = Segment(None, 0)
        self._open.write(line)

    def tidy(self) -> None:
        """Take the empty folders away: a process may see thousands of runs."""
        self._spool.tidy(*self._place)

    def close(self) -> None:
        """The lines so far are a segment."""
        if self._open is not None:
            self._open.close()
            self.closed.append(self._open)
            self._open = None


class Left:
    """A run's lines that a process left behind when it ended."""

    def __init__(self, folder: str, place: Path) -> None:
        self.folder = folder
        """The run's folder in the store."""
        self._place = place

    def segments(self) -> list[tuple[str, Kept]]:
        """Token and lines of its segments, in their order; the last line may be half a line."""
        paths = sorted(self._place.glob("*-*.jsonl"))
        return [(path.stem.partition("-")[2], Kept(path, b"")) for path in paths]

    def files(self) -> dict[str, Kept]:
        """The bytes that the lines speak of, by their name below ``folder``."""
        return {
            f"files/{path.name.partition('-')[2]}": Kept(path, b"")
            for path in sorted(self._place.glob("files/[!.]*"))
        }


@contextlib.contextmanager
def left_behind(root: Path, store: str) -> Iterator[list[Left]]:
    """What processes that have ended left in the spool for a store; nobody else gets it meanwhile.

    What lies there no more at the end has been seen to; empty folders go.

    Args:
        root: The spool.
        store: The store's address.
    """
    with contextlib.ExitStack() as stack:
        found: list[Left] = []
        for writer in sorted(root.glob("[!.]*")):
            held = stack.enter_context(contextlib.ExitStack())
            if not _is_ours(writer) or not held.enter_context(_taken(writer)):
                continue
            held.callback(_tidy, writer)
            place = writer / folder_of(store)
            folders = sorted({path.parent for path in place.rglob("*-*.jsonl")})
            found += [Left(one.relative_to(place).as_posix(), one) for one in folders]
            if not folders:
                held.close()
        yield found


@contextlib.contextmanager
def _taken(writer: Path) -> Iterator[bool]:
    """Whether a process's part of the spool is a dead one's, and this thread's for now."""
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(writer / _LOCK, os.O_RDWR)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        yield free


def _is_ours(writer: Path) -> bool:
    """Whether this user made it: nobody else's lines are taken for ours."""
    try:
        found = writer.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _tidy(writer: Path) -> None:
    # bytes that no line speaks of any more were shipped, or never told
    for place in writer.iterdir():
        if place.name != _LOCK and not any(place.rglob("*-*.jsonl")):
            shutil.rmtree(place, ignore_errors=True)
    if [path.name for path in writer.iterdir()] == [_LOCK]:
        shutil.rmtree(writer, ignore_errors=True)


def _make_root(root: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    # who owns a folder may take away what others have in it
    if not os.environ.get(SPOOL_VARIABLE) and not _is_ours(root):
        raise PermissionError(errno.EPERM, "it is somebody else's", str(root))

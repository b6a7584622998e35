"""Unpacking of archives that nobody vouches for: zip and tar, without leaving the folder."""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from orchestrator.corpora.fetching.download import Tell
from orchestrator.corpora.fetching.tars import whole_tar
from orchestrator.errors import CorpusError

EXPANSION: Final = 100
"""An archive of n bytes may unpack to this times n, or to ``SMALL`` if that is more. Deflated
speech grows less than fivefold, tables about tenfold; deflate's utmost is a thousandfold."""
SMALL: Final = 1 << 20
"""Bytes that any archive may unpack to."""
MOST_MEMBERS: Final = 200_000
"""Files and folders that an archive may hold."""

_CHUNK: Final = 1 << 20
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DAMAGE: Final = (
    EOFError,
    RuntimeError,  # zipfile: an encrypted member, or a compression that it does not know
    ValueError,  # a name or a position that makes no sense
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

Choice = Callable[[PurePosixPath], bool]
"""Says of a member's path whether it is meant."""


class ArchiveError(CorpusError):
    """The archive is damaged, or not one that a corpus is distributed in."""


@dataclass(frozen=True)
class _Member:
    """A file (``stream``) or a folder (None) of an archive, or what is not meant to be unpacked."""

    path: PurePosixPath
    stream: IO[bytes] | None = None
    left: bool = False


def extract(
    archive: Path,
    folder: Path,
    *,
    leave: Choice = lambda path: False,
    nested: Choice = lambda path: False,
    tell: Tell | None = None,
) -> int:
    """Unpack a zip, or a tar however compressed; ``folder`` appears when everything is there.

    Links of any kind are refused, whether or not they leave the folder: no corpus needs them. Among
    what is left out they do no harm. Permissions and owners are not taken over.

    Args:
        archive: the file.
        folder: the new folder; must not exist. ``folder.partial`` beside it is replaced.
        leave: members not to unpack.
        nested: members that are tar archives themselves, to be unpacked in their place; of those in
            turn, none is.
        tell: called as files are written, with the bytes so far.

    Returns:
        How many files were unpacked.

    Raises:
        ArchiveError: the archive is damaged, cut or none, a member's path is absolute, goes up or
            names a drive, a member is a link or a device, or there are too many bytes or members,
            or no file at all.
        CorpusError: the disk has too little room, or cannot be written.
    """
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir()
        files = _unpack(archive, partial, leave, nested, tell)
        os.replace(partial, folder)
    except _DAMAGE as error:
        raise ArchiveError(
            f"{archive} is damaged, or of a kind that cannot be read ({error})"
        ) from error
    except OSError as error:
        # gzip's damage is an OSError too, without a number.
        if error.errno is None:
            raise ArchiveError(f"{archive} is damaged ({error})") from error
        raise CorpusError(
            f"{archive} cannot be unpacked into {folder.parent}: {error.strerror}; mend that (the "
            "same command unpacks it again)"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return files


def _unpack(archive: Path, folder: Path, leave: Choice, nested: Choice, tell: Tell | None) -> int:
    """Every member into the folder, counted against the limits."""
    size = archive.stat().st_size
    most = max(EXPANSION * size, SMALL)
    written = files = 0
    with contextlib.closing(_members(archive, folder, leave, nested, most)) as members:
        for number, member in enumerate(members, start=1):
            if number > MOST_MEMBERS:
                raise ArchiveError(f"{archive} holds more than {MOST_MEMBERS:,} files and folders")
            if member.left:
                continue
            target = folder.joinpath(*member.path.parts)
            if member.stream is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            files += 1
            with target.open("wb") as file:
                while chunk := member.stream.read(_CHUNK):
                    written += len(chunk)
                    if written > most:
                        raise ArchiveError(
                            f"{archive} has {size:,} bytes and unpacks to more than {most:,}, at "
                            f"{str(member.path)!r}: no speech does that"
                        )
                    file.write(chunk)
            if tell is not None:
                tell(written, None, f"{archive.name}, unpacked")
    if not files:
        raise ArchiveError(f"{archive} holds no file to unpack")
    return files


def _members(
    archive: Path, folder: Path, leave: Choice, nested: Choice, most: int
) -> Generator[_Member]:
    """Members of an archive, in its order; a stream is read before the next is taken."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            stated = sum(info.file_size for info in opened.infolist())
            if stated <= most:  # else it is refused when it comes to that
                _room(folder, stated, archive)
            yield from _zip_members(opened, archive, leave)
        return
    # What a compressed tar unpacks to stands nowhere; it is at least about its own size.
    _room(folder, archive.stat().st_size, archive)
    with archive.open("rb") as file:
        yield from _tar_members(file, archive, leave, nested, PurePosixPath())


def _zip_members(opened: zipfile.ZipFile, archive: Path, leave: Choice) -> Generator[_Member]:
    for info in opened.infolist():
        path = _inside(info.filename, archive)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if leave(path):
            yield _Member(path, left=True)
        elif info.is_dir():
            yield _Member(path)
        elif kind not in (0, stat.S_IFREG):
            raise ArchiveError(f"{archive}: {info.filename!r} is a link or a device; refused")
        else:
            with opened.open(info) as stream:
                yield _Member(path, stream)


def _tar_members(
    file: IO[bytes], archive: Path, leave: Choice, nested: Choice | None, place: PurePosixPath
) -> Generator[_Member]:
    """Members of a tar, either the archive or, without ``nested``, one in ``place`` of it."""
    called = str(archive if nested else place)
    empty = True
    with whole_tar(file, name=called) as tar:
        for info in tar:
            empty = empty and info.isdir()
            # An absolute name stays absolute when it is joined, and is refused as such.
            name = str((place if nested else place.parent) / info.name)
            path = _inside(name, archive)
            if leave(path):
                yield _Member(path, left=True)
                continue
            if info.isdir():
                yield _Member(path)
                continue
            stream = tar.extractfile(info) if info.isreg() else None
            if stream is None:
                raise ArchiveError(f"{archive}: {name!r} is a link or a device; refused")
            if nested and nested(path):
                yield from _tar_members(stream, archive, leave, None, path)
            else:
                yield _Member(path, stream)
    if empty:
        raise ArchiveError(f"{archive} holds no file{'' if nested else f' in {called}'}")


def _inside(name: str, archive: Path) -> PurePosixPath:
    """A member's path below the folder.

    Raises:
        ArchiveError: it leads out of it, on this system or another.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name) or "\0" in name:
        raise ArchiveError(
            f"{archive}: the path {name!r} leads out of the folder to unpack into; refused"
        )
    return path


def _room(folder: Path, needed: int, archive: Path) -> None:
    """Raise if the disk has less than so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(
            f"{archive} needs {needed:,} bytes to unpack and {folder.parent} has {free:,} free; "
            "make room (the same command unpacks it then)"
        )

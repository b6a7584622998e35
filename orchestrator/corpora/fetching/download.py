"""A download of one file that goes on where it broke off, and is checked when it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import requests
import urllib3.exceptions

from orchestrator.errors import CorpusError, UnderstudyError

Tell = Callable[[int, int | None, str], None]
"""Told how a download goes: bytes done, bytes in all (None if unknown), name of what it is."""

_CHUNK: Final = 1 << 18
_RETRIED: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True)
class Remote:
    """A file on a server, and what is known of it: None where nobody published it."""

    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return self.url.partition("?")[0].rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    Attributes:
        tries: requests in a row that fail without a byte more than before, after which it ends.
        first_pause: seconds after the first of them; each further one waits twice as long.
        longest_pause: seconds that none waits longer than, whatever the server asks for.
        timeouts: seconds to wait for a connection, and for the next bytes.
    """

    tries: int = 5
    first_pause: float = 1.0
    longest_pause: float = 60.0
    timeouts: tuple[float, float] = (15.0, 60.0)


@dataclass(frozen=True)
class Downloaded:
    """A whole, checked file: its size in bytes and its sha256 in hex."""

    size: int
    sha256: str


class FetchError(UnderstudyError):
    """A download failed for reasons outside of what the user gave (exit code 1)."""


class _BrokeOffError(Exception):
    """A failure that may pass; ``pause`` is how many seconds the server asks to be left alone."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(
    remote: Remote,
    target: Path,
    *,
    patience: Patience | None = None,
    session: requests.Session | None = None,
    tell: Tell | None = None,
) -> Downloaded:
    """Download into ``target``, which appears when it is whole; nothing if it is there and fits.

    What has come so far lies in ``target.part``. A later call asks for the rest only, and only if
    the server says by ETag or date that the file is still the same.

    Args:
        remote: where the file is, and what it must be.
        target: its path here; the folder exists.
        patience: default: five tries, from a second's pause to sixteen.
        session: connections to use again; default: new ones.
        tell: called as bytes come.

    Raises:
        CorpusError: the file is not there, is not what it should be, or does not fit on the disk.
        FetchError: the server does not answer, is in trouble, or breaks off again and again.
    """
    if target.exists():
        with contextlib.suppress(CorpusError):
            return _checked(target, remote)
    patience = patience or Patience()
    part = target.with_name(target.name + ".part")
    failures, furthest = 0, 0
    with contextlib.nullcontext(session) if session else requests.Session() as connections:
        while True:
            furthest = max(furthest, _resumable(part, remote.url)[0])
            try:
                _receive(remote, part, connections, patience, tell)
                break
            except _BrokeOffError as error:
                have = _resumable(part, remote.url)[0]
                failures = 1 if have > furthest else failures + 1
                if failures >= patience.tries:
                    onward = f"goes on from byte {have:,}" if have else "starts again"
                    if part.exists() and not part.stat().st_size:
                        _discard(part)
                    raise FetchError(
                        f"{remote.url} could not be downloaded: {error}, {failures} times in a "
                        f"row; the same command {onward}"
                    ) from error
                pause = max(patience.first_pause * 2 ** (failures - 1), error.pause)
                time.sleep(min(pause, patience.longest_pause))
    done = _checked(part, remote)
    os.replace(part, target)
    _note(part).unlink(missing_ok=True)
    return done


def _receive(
    remote: Remote,
    part: Path,
    session: requests.Session,
    patience: Patience,
    tell: Tell | None,
) -> None:
    """One request, its body added to the part."""
    have, validator = _resumable(part, remote.url)
    # The bytes as they are on the server's disk: another encoding would make Range meaningless.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = session.get(remote.url, headers=headers, stream=True, timeout=patience.timeouts)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _BrokeOffError(_reason(error)) from error
    except requests.RequestException as error:
        raise CorpusError(f"{remote.url} cannot be downloaded ({error})") from error
    with response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            _discard(part)
            raise _BrokeOffError("the file there is shorter than what came before")
        _refuse(response, remote.url)
        total = _total(response)
        if have and not _continues(response, have, validator):
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                _discard(part)
                raise _BrokeOffError("the server continued another file")
            have = 0
        if remote.size is not None and total is not None and total != remote.size:
            _discard(part)
            raise CorpusError(
                f"{remote.url} has {total:,} bytes, expected {remote.size:,}: it is not the file "
                "that was published"
            )
        _append(response, remote, part, have, total, tell)


def _append(
    response: requests.Response,
    remote: Remote,
    part: Path,
    have: int,
    total: int | None,
    tell: Tell | None,
) -> None:
    """The body of a response, written behind the first ``have`` bytes of the part."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise CorpusError(
            f"{part.parent} has {free:,} bytes free, and {remote.url} needs {total - have:,}; "
            "make room, or give another folder"
        )
    done = have
    try:
        if not have:
            _discard(part)
            note = {"url": remote.url, "validator": _validator(response)}
            _note(part).write_text(json.dumps(note), encoding="utf-8")
        with part.open("ab") as file:
            # What has come, although the stream breaks off, is kept: closing the file writes it.
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                if tell is not None:
                    tell(done, total, remote.name)
    except urllib3.exceptions.HTTPError as error:
        raise _BrokeOffError(_reason(error)) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CorpusError(
            f"{part} cannot be written: {'the disk is full' if full else error.strerror}; "
            f"{'make room' if full else 'mend that'}, and the same command goes on"
        ) from error
    if total is not None and done < total:
        raise _BrokeOffError(f"the connection ended after {done:,} of {total:,} bytes")


def _refuse(response: requests.Response, url: str) -> None:
    """Raise if the server gave anything but the file."""
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    said = f"{status} {response.reason or ''}".strip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRIED:
        asked = response.headers.get("Retry-After", "")
        raise _BrokeOffError(
            f"the server answered {said}", pause=float(asked) if asked.isdecimal() else 0.0
        )
    raise CorpusError(
        f"{url} cannot be downloaded: the server answered {said}; if the file has moved, give a "
        "copy's address with --mirror"
    )


def _continues(response: requests.Response, have: int, validator: str) -> bool:
    """Whether a response is the rest of the same file."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return False
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    now = _validator(response)
    return begins and now in ("", validator)


def _total(response: requests.Response) -> int | None:
    """Bytes of the whole file as the server states them."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        stated = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


def _validator(response: requests.Response) -> str:
    """What If-Range may name: a strong ETag, else the date, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _note(part: Path) -> Path:
    """Where the part's origin is kept."""
    return part.with_name(part.name + ".json")


def _resumable(part: Path, url: str) -> tuple[int, str]:
    """Bytes of the part that can be built upon, and by which word of the server."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        size = part.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    if not isinstance(note, dict) or note.get("url") != url or not note.get("validator"):
        return 0, ""
    return size, str(note["validator"])


def _discard(part: Path) -> None:
    """Begin anew."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _checked(file: Path, remote: Remote) -> Downloaded:
    """Size and hash of a file, if it is the published one; else it is removed."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            sha256.update(chunk)
            if remote.md5 is not None:
                md5.update(chunk)
    for what, expected, found in (
        ("size in bytes", remote.size, size),
        ("md5", remote.md5, md5.hexdigest()),
        ("sha256", remote.sha256, sha256.hexdigest()),
    ):
        if expected is not None and found != expected:
            file.unlink()
            raise CorpusError(
                f"{remote.url} is not the file that was published: {what} {found}, expected "
                f"{expected}; what came was removed, so that the same command starts again"
            )
    return Downloaded(size=size, sha256=sha256.hexdigest())


def _reason(error: Exception) -> str:
    """The innermost cause, which says most."""
    cause: object = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause)

"""Tracking URIs: made the same from every folder, and shown without their secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import InputError

_SQLITE = "sqlite:///"


def absolute_uri(uri: str, base: str | Path = ".") -> str:
    """The URI with a relative sqlite path made absolute, since Ray's processes live elsewhere.

    Args:
        uri: An MLflow tracking URI.
        base: Folder that a relative path starts from, default the working directory.

    Raises:
        InputError: If it is a folder, which MLflow no longer writes to.

    >>> absolute_uri("sqlite:///understudy.db", base="/home/me")
    'sqlite:////home/me/understudy.db'
    """
    if urlsplit(uri).scheme in {"", "file"}:
        raise InputError(
            f"tracking.uri: {redacted(uri)!r} is a folder, and MLflow keeps no runs in folders any "
            "more; use a database such as sqlite:///understudy.db or a server such as "
            "http://host:5000"
        )
    path = sqlite_path(uri)
    return uri if path is None else f"{_SQLITE}{(Path(base) / path).resolve()}"


def sqlite_path(uri: str) -> Path | None:
    """The file of an sqlite URI; None for any other URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def is_server(uri: str) -> bool:
    """Whether the URI names an MLflow server and not a database."""
    return urlsplit(uri).scheme in {"http", "https"}


def has_secret(uri: str) -> bool:
    """Whether the URI carries a user name or password."""
    return redacted(uri) != uri


def redacted(text: str) -> str:
    """Text with the credentials of every URI in it replaced.

    >>> redacted("cannot reach postgresql://me:secret@db/runs?password=secret")
    'cannot reach postgresql://***@db/runs?password=***'
    """
    text = re.sub(r"(?<=://)[^/\s'\"]*@", "***@", text)
    return re.sub(r"(?i)((?:password|token|secret)=)[^&\s'\"]+", r"\1***", text)

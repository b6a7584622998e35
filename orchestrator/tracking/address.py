"""Tracking URIs: made the same from every folder, checked for sense, shown without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from orchestrator.errors import InputError

_SQLITE = "sqlite:///"
_SERVERS = frozenset({"http", "https"})
_DATABASES = frozenset({"postgresql", "mysql", "mssql"})
# A password may hold a slash, which nobody may be shown either, and which is no port's end.
_USER = re.compile(r"(?<=://)(?:[^/\s'\"]*|[^/:\s'\"\[]*:(?!\d*/)[^\s'\"]*)@")
_SETTING = re.compile(r"(?i)((?:password|token|secret)=)[^&\s'\"]+")
_MEND = "use a database such as sqlite:///understudy.db or a server such as http://host:5000"


def absolute_uri(uri: str, base: str | Path = ".") -> str:
    """The URI with a relative sqlite path made absolute, since Ray's processes live elsewhere.

    Nothing is asked of the network or the disk: what can never work is refused here, and what does
    not work now may work later.

    Args:
        uri: An MLflow tracking URI.
        base: Folder that a relative path starts from, default the working directory.

    Raises:
        InputError: If it is a folder, which MLflow no longer writes to, does not parse, is of a
            kind that MLflow does not know, or needs a driver that is not installed.

    >>> absolute_uri("sqlite:///understudy.db", base="/home/me")
    'sqlite:////home/me/understudy.db'
    """
    parts = _split(uri)
    if parts.scheme in {"", "file"}:
        raise InputError(
            f"tracking.uri: {redacted(uri)!r} is a folder, and MLflow keeps no runs in folders any "
            f"more; {_MEND}"
        )
    if parts.scheme == "sqlite":
        return f"{_SQLITE}{_sqlite_file(uri, base)}"
    if parts.scheme in _SERVERS:
        if not parts.hostname:
            raise InputError(f"tracking.uri: {redacted(uri)!r} names no host; {_MEND}")
    elif parts.scheme.partition("+")[0] in _DATABASES:
        _check_driver(uri)
    else:
        raise InputError(
            f"tracking.uri: {redacted(uri)!r} is of a kind ({parts.scheme}) that runs cannot be "
            f"kept in; {_MEND}"
        )
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The file of an sqlite URI; None for any other URI."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def is_server(uri: str) -> bool:
    """Whether the URI names an MLflow server and not a database."""
    return urlsplit(uri).scheme in _SERVERS


def has_secret(uri: str) -> bool:
    """Whether the URI carries a user name or password."""
    return redacted(uri) != uri


def has_password(uri: str) -> bool:
    """Whether the URI carries a password or token; a user name alone is none.

    >>> has_password("postgresql://me@db/runs"), has_password("postgresql://me:secret@db/runs")
    (False, True)
    """
    uri = re.sub(r"['\"\s]", "", uri)  # which end a URI in a text
    user = _USER.search(uri)
    of_user = user[0].removesuffix("@").partition(":")[2] if user else ""
    return bool(of_user or _SETTING.search(uri.partition("?")[2]))


def redacted(text: str) -> str:
    """Text with the credentials of every URI in it replaced.

    >>> redacted("cannot reach postgresql://me:secret@db/runs?password=secret")
    'cannot reach postgresql://***@db/runs?password=***'
    """
    return _SETTING.sub(r"\1***", _USER.sub("***@", text))


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # looked at only when asked for
    except ValueError as error:
        raise InputError(f"tracking.uri: {redacted(uri)!r} is no URI ({error}); {_MEND}") from None
    return parts


def _sqlite_file(uri: str, base: str | Path) -> Path:
    path = uri.removeprefix(_SQLITE)
    if path == uri or path in {"", ":memory:"}:
        raise InputError(
            f"tracking.uri: {redacted(uri)!r} names no file; write sqlite:///runs.db, or "
            "sqlite:////data/runs.db for a path from the root"
        )
    absolute = (Path(base) / path).resolve()
    # In a URI '?' begins the driver's settings and '%' a character's code; MLflow and what it
    # stands on disagree about both.
    for mark in "?%":
        if mark in str(absolute):
            raise InputError(
                f"tracking.uri: the path of {redacted(uri)!r} is {str(absolute)!r}, and MLflow "
                f"opens no database with a {mark!r} in its path; rename the folder or give another"
            )
    return absolute


def _check_driver(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        dialect = make_url(uri).get_dialect()
        driver = dialect.driver
    except (ArgumentError, ValueError) as error:
        reason = redacted(str(error).replace(uri, redacted(uri)))
        raise InputError(f"tracking.uri: {redacted(uri)!r} is no URI ({reason}); {_MEND}") from None
    try:
        dialect.import_dbapi()
    except ImportError:
        extra = (
            "install understudy[postgres] and write postgresql+psycopg://..."
            if uri.startswith("postgresql")
            else "install it"
        )
        raise InputError(
            f"tracking.uri: {redacted(uri)!r} needs the driver {driver!r}, which is not installed; "
            f"{extra}"
        ) from None

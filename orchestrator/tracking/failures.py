"""What it means that MLflow cannot be used, in words that say what to do about it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from orchestrator.errors import UnderstudyError
from orchestrator.tracking.address import is_server, redacted

_CREDENTIALS = (
    "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) in the "
    "environment"
)
_NO_SERVER = "check the address, and that an MLflow server (3 or later) is what listens there"
# What the text of an error says, the reason in plain words, the mend. The first that fits is taken.
_SERVER = (
    (r"Invalid Host header", "it refuses requests by this name (403, its host check)", "{hosts}"),
    (r"\b401\b|Unauthorized", "it does not accept who asks (401)", _CREDENTIALS),
    (r"\b403\b|Forbidden|Permission denied", "it forbids this (403)", _CREDENTIALS),
    (r"Connection refused", "nobody listens there (connection refused)", "start the server"),
    (
        r"Failed to resolve|NameResolution|Name or service not known|No address associated",
        "no host has that name",
        "check the address",
    ),
    (
        r"CERTIFICATE|SSL",
        "its certificate cannot be trusted",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    (
        r"[Tt]imed out|[Tt]imeout",
        "it does not answer in time",
        "look at the server and the network",
    ),
    (r"unreachable|No route", "no way leads there", "look at the network"),
    (r"\b404\b", "what answers there is no MLflow server (404)", _NO_SERVER),
    (r"valid JSON|error code 405", "what answers there is no MLflow server", _NO_SERVER),
    (r"\b50\d\b|INTERNAL_ERROR", "it has an error of its own", "look at the server's log"),
)
_DATABASE = (
    (
        r"readonly database",
        "it cannot be written (read-only)",
        "give its file and folder back to you",
    ),
    (r"disk is full|No space left", "the disk is full", "make room"),
    (
        r"unable to open database|Permission denied:|Not a directory|File exists|Read-only file",
        "it cannot be opened or made",
        "check that its folder can be written",
    ),
    (r"not a database|malformed", "it is no sqlite database, or a damaged one", "move it away"),
    (r"database is locked", "another program holds its lock", "end that program"),
    (
        r"out-of-date database schema|Can't locate revision",
        "another version of MLflow made it",
        "bring it up to date with 'mlflow db upgrade'",
    ),
    (r"[Cc]onnection refused", "nobody listens there (connection refused)", "start the database"),
    (
        r"password authentication failed|no password supplied|Access denied",
        "it does not accept the user or the password",
        "check them in the URI; ${NAME} there takes them from the environment",
    ),
    (r"database \"[^\"]*\" does not exist", "there is no database of that name", "make it"),
    (r"permission denied for", "this user may not write there", "grant it the right"),
    (r"resolve host|translate host|Name or service", "no host has that name", "check the address"),
    (
        r"[Tt]imed out|[Tt]imeout",
        "it does not answer in time",
        "look at the database and the network",
    ),
)


def explained(error: Exception, uri: str) -> str:
    """Why MLflow cannot be used now, and the mend, without secrets.

    Args:
        error: What MLflow, or what lies below it, raised; an error of our own has its words.
        uri: The tracking URI.
    """
    if isinstance(error, UnderstudyError):
        return redacted(str(error))
    text = redacted(str(error).strip() or type(error).__name__)
    for pattern, reason, mend in _SERVER if is_server(uri) else _DATABASE:
        if re.search(pattern, text):
            return _said(uri, reason, mend.replace("{hosts}", _hosts(uri)))
    return _said(
        uri,
        text.splitlines()[0],
        "check that the server runs or the folder can be written",
    )


def _said(uri: str, reason: str, mend: str) -> str:
    return (
        f"tracking.uri: MLflow cannot use {redacted(uri)!r}: {reason}; {mend}, or give another "
        "with tracking.uri="
    )


def _hosts(uri: str) -> str:
    """The option that lets this name through MLflow's host check, which compares ports as well."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    names = host if parts.port is None else f"{host},{host}:{parts.port}"
    return f"start the server with --allowed-hosts {names}"

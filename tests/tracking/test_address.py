"""Tracking URIs: absolute, and shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.tracking.address import absolute_uri, has_secret, redacted


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///runs.db", "sqlite:////base/runs.db"),
        ("sqlite:///../runs.db", "sqlite:////runs.db"),
        ("sqlite:////elsewhere/runs.db", "sqlite:////elsewhere/runs.db"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://me:pw@db/runs", "postgresql://me:pw@db/runs"),
    ],
)
def test_only_a_relative_sqlite_path_changes(uri: str, absolute: str) -> None:
    assert absolute_uri(uri, Path("/base")) == absolute


@pytest.mark.parametrize("uri", ["./mlruns", "/data/mlruns", "file:///data/mlruns", ""])
def test_a_folder_is_refused_with_what_to_use(uri: str) -> None:
    with pytest.raises(InputError, match=r"is a folder.*sqlite:///understudy\.db"):
        absolute_uri(uri)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:p@ss@host:5000/x", "http://***@host:5000/x"),
        ("http://host/path@version", "http://host/path@version"),
        ("see http://a:b@h1 and mysql://c@h2", "see http://***@h1 and mysql://***@h2"),
        ("mssql://h/db?Password=x&driver=y", "mssql://h/db?Password=***&driver=y"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
    ],
)
def test_credentials_are_never_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert has_secret(text) == (text != shown)

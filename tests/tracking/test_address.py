"""Tracking URIs: absolute, and shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.tracking.address import absolute_uri, has_password, has_secret, redacted


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
    ("uri", "said"),
    [
        ("ftp://host/runs", r"kind \(ftp\) that runs cannot be kept in; use a database such as"),
        ("databricks", "is a folder"),
        ("databricks://profile", r"kind \(databricks\)"),
        ("http://", "names no host"),
        ("http://[::1", "is no URI"),
        ("http://host:port", "is no URI"),
        ("sqlite://runs.db", r"names no file; write sqlite:///runs\.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a?b/runs.db", r"with a '\?' in its path"),
        ("sqlite:///a%20b/runs.db", "with a '%' in its path"),
        ("postgresql+nothing://host/runs", "is no URI"),
        ("postgresql+psycopg://host:port/runs", "is no URI"),
        ("postgresql+pg8000://me:secret@host/runs", r"driver 'pg8000'.*postgresql\+psycopg://"),
        ("mysql+pymysql://me:secret@host/runs", "driver 'pymysql', which is not installed"),
    ],
)
def test_what_can_never_work_is_refused_with_the_mend_and_without_its_password(
    uri: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        absolute_uri(uri)

    assert "secret" not in str(caught.value)


def test_a_working_directory_that_mlflow_cannot_open_is_refused() -> None:
    with pytest.raises(InputError, match="with a '%' in its path"):
        absolute_uri("sqlite:///runs.db", "/home/100%")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:p@ss@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://me:p/@s@db/runs", "postgresql://***@db/runs"),
        ("http://host/path@version", "http://host/path@version"),
        ("http://host:5000/path@version", "http://host:5000/path@version"),
        ("see http://a:b@h1 and mysql://c@h2", "see http://***@h1 and mysql://***@h2"),
        ("mssql://h/db?Password=x&driver=y", "mssql://h/db?Password=***&driver=y"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
    ],
)
def test_credentials_are_never_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert has_secret(text) == (text != shown)


@pytest.mark.parametrize(
    ("uri", "holds"),
    [
        ("postgresql://me:p@db/runs", True),
        ("postgresql://me:p/s@db/runs", True),
        ("postgresql://me:it's@db/runs", True),
        ("http://:p@host", True),
        ("http://host/?a=b&TOKEN=p", True),
        ("postgresql://me@db/runs", False),
        ("postgresql://me:@db/runs?password=", False),
        ("http://host:5000/a@b", False),
        ("sqlite:////data/token=3/some:where@home.db", False),
    ],
)
def test_a_user_name_alone_is_no_password(uri: str, holds: bool) -> None:
    assert has_password(uri) == holds

"""Why MLflow cannot be used: met for real where that can be had, and in its own words elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from orchestrator.errors import StoreError, UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.failures import explained
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.service import Tail
from orchestrator.tracking.writer import Writer

PREFIX = "journal/demo/sweep"


@pytest.fixture
def limits() -> Any:
    """Limits for every connection to an sqlite database, as PRAGMAs: sqlite itself refuses.

    The tests may run as root, to whom no file is read-only, and a full disk is hard to come by.
    """
    now: list[str] = []

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        for pragma in now:
            connection.execute(pragma)

    event.listen(Pool, "checkout", limit)
    yield now
    event.remove(Pool, "checkout", limit)


@pytest.mark.parametrize(
    ("on", "off", "said"),
    [
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", r"cannot be written \(read-only\)"),
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", "the disk is full"),
    ],
)
def test_a_database_that_takes_nothing_is_named_and_caught_up_with(
    tmp_path: Path,
    tracking_database: Path,
    limits: list[str],
    on: str,
    off: str,
    said: str,
) -> None:
    database = shutil.copy(tracking_database, tmp_path / "runs.db")
    store = Store(tmp_path / "store")
    journal = Journal(store, prefix=PREFIX, key="one")
    journal.start("run", params={f"p{place}": "x" * 5000 for place in range(90)})
    journal.end()
    # Not begun: its steps are taken one by one.
    tail = Tail(store.uri, f"sqlite:///{database}", "nothing", PREFIX)

    limits[:] = [on]
    assert tail.flush(0.0) == 2
    assert tail.problem().startswith("tracking.uri: MLflow cannot use 'sqlite:///")
    pytest.raises(UnderstudyError, _raise, tail.problem()).match(said)

    limits[:] = [off]
    assert tail.flush(20.0) == 0
    assert tail.problem() == ""
    (run,) = tail._writer._mlflow.search_runs([tail._writer._experiment_id])
    assert (run.info.status, len(run.data.params)) == ("FINISHED", 90)


def _raise(text: str) -> None:
    raise UnderstudyError(text)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_text("these are no runs " * 100)

    with pytest.raises(UnderstudyError, match="it is no sqlite database, or a damaged one"):
        Writer(f"sqlite:///{tmp_path / 'runs.db'}", "demo").initialise()


def test_a_port_where_nobody_listens_is_said_at_once_and_without_the_password() -> None:
    began = time.monotonic()
    with pytest.raises(
        UnderstudyError, match=r"\(connection refused\); start the server"
    ) as caught:
        Writer("http://me:secret@127.0.0.1:9", "demo").initialise()

    assert time.monotonic() - began < 10.0
    assert "secret" not in str(caught.value)


def test_a_database_server_where_nobody_listens_is_said(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    uri = "postgresql+psycopg://me:secret@127.0.0.1:9/runs"
    with pytest.raises(
        UnderstudyError, match=r"\(connection refused\); start the database"
    ) as caught:
        Writer(uri, "demo", artifacts=str(tmp_path)).initialise()

    assert "secret" not in str(caught.value)


HTTP = "https://ml.example.org:8443/base"
POSTGRES = "postgresql+psycopg://db/runs"


@pytest.mark.parametrize(
    ("uri", "text", "said"),
    [
        (
            HTTP,
            "failed with error code 403 != 200. Response body: 'Invalid Host header - possible DNS",
            "start the server with --allowed-hosts ml.example.org,ml.example.org:8443",
        ),
        (
            "http://ml.example.org",
            "Invalid Host header",
            "start the server with --allowed-hosts ml.example.org,",
        ),
        (HTTP, "failed with error code 403 != 200. Response body: 'no'", "it forbids this (403)"),
        (
            HTTP,
            "Response body: 'You are not authenticated' (401 != 200)",
            "MLFLOW_TRACKING_USERNAME",
        ),
        (HTTP, "Failed to resolve 'ml.example.org' ([Errno -2] Name or", "no host has that name"),
        (
            HTTP,
            "Max retries exceeded (Caused by SSLError(...))",
            "its certificate cannot be trusted",
        ),
        (HTTP, "HTTPConnectionPool: Read timed out.", "it does not answer in time"),
        (HTTP, "failed with error code 404 != 200", "no MLflow server (404)"),
        (HTTP, "INTERNAL_ERROR: (sqlite3.OperationalError)", "it has an error of its own"),
        (POSTGRES, 'FATAL:  password authentication failed for user "me"', "check them in the URI"),
        (POSTGRES, 'FATAL:  database "runs" does not exist', "there is no database of that name"),
        (POSTGRES, "ERROR: permission denied for schema public", "grant it the right"),
        (
            "sqlite:////r.db",
            "Detected out-of-date database schema (found version",
            "mlflow db upgrade",
        ),
        ("sqlite:////r.db", "(sqlite3.OperationalError) database is locked", "holds its lock"),
        (
            "sqlite:////r.db",
            "a new thing\nwith more lines",
            "cannot use 'sqlite:////r.db': a new thing;",
        ),
        ("sqlite:////r.db", "", "cannot use 'sqlite:////r.db': Exception;"),
    ],
)
def test_each_failure_has_its_reason_and_its_mend(uri: str, text: str, said: str) -> None:
    assert said in explained(Exception(text), uri)


def test_an_error_of_our_own_keeps_its_words_but_not_its_secrets() -> None:
    error = StoreError("store: s3://key:secret@bucket is away")

    assert explained(error, HTTP) == "store: s3://***@bucket is away"


def test_an_experiment_that_was_deleted_is_said(
    mlflow_uri: str, request: pytest.FixtureRequest
) -> None:
    def made() -> Writer:
        writer = Writer(mlflow_uri, request.node.name)
        writer.initialise()
        return writer

    writer = made()
    writer._mlflow.delete_experiment(writer._experiment_id)

    with pytest.raises(UnderstudyError, match="was deleted; restore it in the dashboard"):
        made()


def test_two_that_make_one_experiment_at_once_share_it(
    mlflow_uri: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    first = Writer(mlflow_uri, request.node.name)
    second = Writer(mlflow_uri, request.node.name)
    create: Callable[..., str] = MlflowClient.create_experiment

    def meanwhile(self: MlflowClient, name: str, home: str) -> str:
        create(self, name, home)
        return create(self, name, home)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_experiment", meanwhile)
        first.initialise()
    second.initialise()

    assert first._experiment_id == second._experiment_id

"""Reading MLflow's runs, for what needs no writer; nothing is made that is not there."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from orchestrator.errors import InputError, UnderstudyError, nearest
from orchestrator.tracking.address import absolute_uri, is_server, redacted, sqlite_path
from orchestrator.tracking.failures import explained
from orchestrator.tracking.runs import read_pages

if TYPE_CHECKING:
    from mlflow.entities import Run

_TABLE = "experiments"
_MISSING = "run the sweep or the evaluation first, or start from the folder it was run in"


class NoRunsError(InputError):
    """Where MLflow's runs should be, there is nothing of MLflow's yet."""


def read_runs(uri: str, experiment: str, *, deleted: bool = False) -> Iterator[Run]:
    """Every run of an MLflow experiment, as it is held there.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the MLflow experiment.
        deleted: Also those that were deleted in the dashboard; default no.

    Raises:
        NoRunsError: There is no such database or experiment.
        InputError: The address is none, or what it needs is not installed.
        UnderstudyError: The database or server cannot be read.
    """
    uri = absolute_uri(uri)
    if not is_server(uri):
        check_database(uri)
    try:
        yield from _runs(uri, experiment, deleted=deleted)
    except UnderstudyError:
        raise
    except Exception as error:
        raise UnderstudyError(explained(error, uri)) from error


def _runs(uri: str, experiment: str, *, deleted: bool) -> Iterator[Run]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow's client would try for minutes before it says that a server is gone
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = sorted(one.name for one in client.search_experiments())
        mend = nearest(experiment, known) if known else "it holds none"
        raise NoRunsError(
            f"tracking.uri: MLflow at {redacted(uri)} has no experiment {experiment!r}; {mend}"
        )
    for run in read_pages(client, found.experiment_id):
        if deleted or run.info.lifecycle_stage == "active":
            yield run


def tag_of(run: Run, name: str) -> str:
    """A tag of a run, "" where it has none."""
    return str(run.data.tags.get(name, ""))


def check_database(uri: str) -> None:
    """Look whether there is a database of MLflow's, before anything would make one.

    Args:
        uri: MLflow tracking URI of a database, as by ``absolute_uri``.

    Raises:
        NoRunsError: If there is none.
        UnderstudyError: If it cannot be read now.
    """
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise NoRunsError(f"tracking.uri: there is no database {database} yet; {_MISSING}")
    try:
        found = _server_has_table(uri) if database is None else _has_table(database)
    except Exception as error:
        raise UnderstudyError(explained(error, uri)) from error
    if not found:
        raise NoRunsError(
            f"tracking.uri: {redacted(uri)} holds no runs of MLflow's; {_MISSING}, or check the "
            "address"
        )


def _has_table(database: Path) -> bool:
    address = f"file:{quote(str(database))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=10.0)) as connection:
        asked = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return connection.execute(asked, (_TABLE,)).fetchone() is not None


def _server_has_table(uri: str) -> bool:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        return sqlalchemy.inspect(engine).has_table(_TABLE)
    finally:
        engine.dispose()

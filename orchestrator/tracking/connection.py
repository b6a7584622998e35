"""Opening MLflow: the database and the experiment are made once, by whoever comes first."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from orchestrator.errors import UnderstudyError
from orchestrator.store import Store
from orchestrator.store.publication import locked
from orchestrator.tracking.address import is_server, redacted, sqlite_path
from orchestrator.tracking.failures import explained

if TYPE_CHECKING:
    from mlflow import MlflowClient


def connect(uri: str, experiment: str, artifacts: str | None = None) -> tuple[MlflowClient, str]:
    """A client of the tracking store, and the id of the experiment in it.

    Args:
        uri: MLflow tracking URI, as by ``absolute_uri``.
        experiment: Name of the MLflow experiment, made if missing.
        artifacts: Folder or URI under which a new experiment's files go; default: beside an sqlite
            database. A server has a place of its own, and any other database needs one.

    Raises:
        UnderstudyError: If the database or server cannot be used now, or the experiment was
            deleted.
    """
    # Who trains on other people's voices has not agreed to a phone call home.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A line for every run that ends would tear the progress display.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # MLflow's client would ask again by itself when an answer is lost, and make a run twice. The
    # writer asks again, too, after a look at what is there.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
        with _alone(uri):
            if not is_server(uri):
                _probe(uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            return client, _experiment_id(client, uri, experiment, artifacts)
    except UnderstudyError:
        raise
    except Exception as error:
        raise UnderstudyError(explained(error, uri)) from error


def is_final(error: Exception) -> bool:
    """Whether MLflow will not take a thing, however often it is offered.

    What was deleted is no such reason: it may be restored.
    """
    from mlflow.exceptions import RestException

    code = getattr(error, "error_code", "")
    # A proxy before the server says 400 as well, but not in MLflow's words.
    said_by_mlflow = code == "BAD_REQUEST" and isinstance(error, RestException)
    final = code == "INVALID_PARAMETER_VALUE" or said_by_mlflow
    return final and "must be in the 'active' state" not in str(error)


def artifacts_in(store: Store) -> str:
    """Where files go that come with runs in a database that has no place for them: the store.

    What the store's URI says about a server of S3's kind is handed on as MLflow's own variable
    ``MLFLOW_S3_ENDPOINT_URL``, unless that is set: MLflow's addresses of files have no options.
    """
    if "://" not in store.shown:
        return f"{store.shown.rstrip('/')}/mlflow"
    parts = urlsplit(store.shown)
    options = dict(parse_qsl(parts.query))
    endpoint = options.get("endpoint_override", "")
    if endpoint and parts.scheme == "s3":
        if "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        os.environ.setdefault("MLFLOW_S3_ENDPOINT_URL", endpoint)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/mlflow", "", ""))


def _alone(uri: str) -> AbstractContextManager[None]:
    """Two processes that create one sqlite database at once break its migration."""
    database = sqlite_path(uri)
    if database is None:
        return nullcontext()
    return locked(database.with_name(f".{database.name}.lock"), purpose="making the database")


def _probe(uri: str) -> None:
    """Say at once what is wrong with a database: MLflow tries for minutes before it does."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    sqlalchemy.inspect(engine).get_table_names()


def _experiment_id(client: MlflowClient, uri: str, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return client.create_experiment(name, _home(uri, name, artifacts))
        except MlflowException:
            # Another command may have made it a moment ago.
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage != "active":
        raise UnderstudyError(
            f"tracking: the MLflow experiment {name!r} was deleted; restore it in the dashboard, "
            "or give the experiment file another name"
        )
    return known.experiment_id


def _home(uri: str, name: str, artifacts: str | None) -> str | None:
    """Where a new experiment's files go: MLflow's default is a folder of whoever makes it."""
    if is_server(uri):
        return None
    if artifacts is not None:
        return f"{artifacts.rstrip('/')}/{name}"
    database = sqlite_path(uri)
    if database is None:
        raise UnderstudyError(
            f"tracking: a new experiment in {redacted(uri)!r} needs a place for its files"
        )
    return str(database.with_name(f"{database.stem}-artifacts") / name)

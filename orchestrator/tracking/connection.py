"""Opening MLflow: the database and the experiment are made once, by whoever comes first."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from orchestrator.errors import UnderstudyError
from orchestrator.store.publication import locked
from orchestrator.tracking.address import redacted, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client of the tracking store, and the id of the experiment in it.

    Args:
        uri: MLflow tracking URI, as by ``absolute_uri``.
        experiment: Name of the MLflow experiment, made if missing.

    Raises:
        UnderstudyError: If the database or server cannot be used, or the experiment was deleted.
    """
    # Who trains on other people's voices has not agreed to a phone call home.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A line for every run that ends would tear the progress display.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    try:
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        with _alone(uri):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            return client, _experiment_id(client, uri, experiment)
    except UnderstudyError:
        raise
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnderstudyError(
            f"tracking.uri: MLflow cannot use {redacted(uri)!r} ({redacted(cause)}); check that "
            "the server runs or the folder can be written, or give another with tracking.uri="
        ) from error


def is_final(error: Exception) -> bool:
    """Whether MLflow will not take a thing, however often it is offered."""
    return getattr(error, "error_code", "") in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


def _alone(uri: str) -> AbstractContextManager[None]:
    """Two processes that create one sqlite database at once break its migration."""
    database = sqlite_path(uri)
    if database is None:
        return nullcontext()
    return locked(database.with_name(f".{database.name}.lock"), purpose="making the database")


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        database = sqlite_path(uri)
        # MLflow's default is a folder of whatever process makes the experiment.
        home = None
        if database is not None:
            home = str(database.with_name(f"{database.stem}-artifacts") / name)
        return client.create_experiment(name, home)
    if known.lifecycle_stage != "active":
        raise UnderstudyError(
            f"tracking: the MLflow experiment {name!r} was deleted; restore it in the dashboard, "
            "or give the experiment file another name"
        )
    return known.experiment_id

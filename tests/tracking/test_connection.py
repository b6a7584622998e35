"""Where the files of a new experiment go, and what MLflow will never take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, RestException
from pyarrow.fs import LocalFileSystem

from orchestrator.errors import UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.connection import _home, artifacts_in, is_final


def test_files_go_beside_an_sqlite_database_and_elsewhere_to_the_place_that_is_given() -> None:
    assert _home("sqlite:////data/runs.db", "demo", None) == "/data/runs-artifacts/demo"
    assert _home("sqlite:////data/runs.db", "demo", "s3://b/mlflow/") == "s3://b/mlflow/demo"
    assert _home("postgresql://db/runs", "demo", "/store/mlflow") == "/store/mlflow/demo"
    assert _home("http://host:5000", "demo", "/store/mlflow") is None


def test_a_database_without_a_place_for_files_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"'postgresql://\*\*\*@db/runs' needs a place"):
        _home("postgresql://me:secret@db/runs", "demo", None)


def test_the_place_in_the_store_has_no_credentials(tmp_path: Path) -> None:
    assert artifacts_in(Store(tmp_path)) == f"{tmp_path}/mlflow"
    store = Store("s3://key:secret@bucket/folder/", filesystem=LocalFileSystem())
    assert artifacts_in(store) == "s3://bucket/folder/mlflow"


@pytest.mark.parametrize(
    ("query", "endpoint"),
    [
        ("endpoint_override=host%3A9000&scheme=http", "http://host:9000"),
        ("endpoint_override=host:9000", "https://host:9000"),
        ("endpoint_override=http://host:9000&region=eu", "http://host:9000"),
        ("region=eu", None),
    ],
)
def test_what_the_stores_address_says_of_its_server_is_handed_on_beside_the_path(
    query: str, endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")  # put back after the test
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL")
    store = Store(f"s3://bucket/folder/?{query}", filesystem=LocalFileSystem())

    assert artifacts_in(store) == "s3://bucket/folder/mlflow"
    assert os.environ.get("MLFLOW_S3_ENDPOINT_URL") == endpoint


def test_the_server_that_mlflow_was_told_of_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://told")

    artifacts_in(Store("s3://b/f?endpoint_override=other", filesystem=LocalFileSystem()))

    assert os.environ["MLFLOW_S3_ENDPOINT_URL"] == "http://told"


def test_a_proxys_400_is_no_word_of_mlflow() -> None:
    assert is_final(MlflowException.invalid_parameter_value("too long"))
    said: Any = RestException
    assert is_final(said({"error_code": "BAD_REQUEST", "message": "no"}))
    proxy = MlflowException("400 The plain HTTP request was sent to HTTPS port", error_code=3)
    proxy.error_code = "BAD_REQUEST"
    assert not is_final(proxy)
    assert not is_final(OSError("no route"))


def test_what_was_deleted_may_be_restored() -> None:
    text = "The experiment 5 must be in the 'active' state. Current state is deleted."

    assert not is_final(MlflowException.invalid_parameter_value(text))

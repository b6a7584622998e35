"""What the tracking tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.tracking.spool import SPOOL_VARIABLE
from tests.tracking.spooled import Gated


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory, tracking_database: Path) -> str:
    """One database for all tests, each in an experiment of its own: making one takes seconds."""
    copy = shutil.copy(tracking_database, tmp_path_factory.mktemp("mlflow") / "runs.db")
    return f"sqlite:///{copy}"


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool of the test's own."""
    monkeypatch.setenv(SPOOL_VARIABLE, str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[Gated]:
    """A store whose gate opens at the latest when the test has ended."""
    store = Gated(tmp_path / "store")
    yield store
    store.gate.set()

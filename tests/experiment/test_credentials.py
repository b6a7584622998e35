"""Passwords in experiment files."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import load_experiment
from tests import small


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("tracking.uri", "postgresql+psycopg://me:hidden@db/runs"),
        ("tracking.uri", "https://me:hidden@runs.example.org"),
        ("tracking.uri", "https://:hidden@runs.example.org"),
        ("search.storage", "postgresql://me:hidden@db/studies"),
        ("search.storage", "postgresql://db/studies?user=me&password=hidden"),
        ("search.storage", "postgresql://db/studies?user=me&PASSWORD=hidden"),
        ("store", "s3://key:hidden@bucket/folder"),
        ("store", "s3://bucket/folder?secret=hidden"),
        # what stands in for a variable stands in the file
        ("tracking.uri", "postgresql+psycopg://me:${NOT_SET:-hidden}@db/runs"),
        # half of it is no better
        ("tracking.uri", "https://${WHO}:hid${DEN}@runs.example.org"),
    ],
)
def test_a_password_as_such_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, address: str
) -> None:
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("DEN", "den")
    with pytest.raises(ExperimentError, match=rf"small\.yaml: {key} holds a password.*\$") as said:
        small.load(tmp_path, f"{key}={address}")
    assert "hid" not in str(said.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:${PASSWORD}@db/runs",
        "${WHOLE}",
        "postgresql+psycopg://me@db/runs",
        "http://host:5000",
        "http://host:5000/a@b",
        "sqlite:///some:where@home.db",
    ],
)
def test_variables_and_addresses_without_one_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("PASSWORD", "hidden")
    monkeypatch.setenv("WHOLE", "postgresql+psycopg://me:hidden@db/runs")
    file = small.write(tmp_path)
    text = file.read_text().replace(f"sqlite:///{tmp_path}/runs.db", address)
    file.write_text(text)

    loaded = load_experiment(file)

    told = address.replace("${PASSWORD}", "hidden")
    told = told.replace("${WHOLE}", "postgresql+psycopg://me:hidden@db/runs")
    assert loaded.tracking.uri == told

"""The benchmark of outages times every call of a journal, and says what is not as it should be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import outages
from benchmarks.outages import Timed, wrong
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree


@pytest.fixture
def journals_as_before() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("start", "metrics", "artifact", "tag", "link", "dataset", "model", "end"):
            patch.setattr(Journal, name, getattr(Journal, name))
        yield
    del Journal.spent  # type: ignore[attr-defined]


@pytest.mark.usefixtures("journals_as_before")
def test_a_fold_runs_end_and_its_teachers_journal_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(journal: Journal, *_: object, **__: object) -> None:
        time.sleep(0.1)

    monkeypatch.setattr(Journal, "metrics", slow)
    monkeypatch.setattr(Journal, "end", slow)
    tree = RunTree(Store(tmp_path / "store"), "demo", "sweep")

    def recorded(*_: object, **__: object) -> None:
        tree.journal("teacher").metrics({"loss": 1.0})
        time.sleep(0.1)

    monkeypatch.setattr(outages, "recorded_run", recorded)
    for number in range(2):
        journal = tree.journal("fold run", number)
        run: Any = Timed(str(tmp_path / "notes"))
        run(None, store=tree.store, journal=journal, tree=tree, parent="")
        journal.end("FINISHED")

    for line in (tmp_path / "notes").read_text().splitlines():
        spent, whole = map(float, line.split())
        assert 0.2 <= spent < 0.3 <= whole
    assert len((tmp_path / "notes").read_text().splitlines()) == 2


def found(**other: Any) -> dict[str, Any]:
    """What is measured of a sweep of two trials, nothing wrong."""
    right = {"lost": 0, "twice": 0, "running": 0, "complete": 2, "blocked": 0.001, "fold_runs": 10}
    return {**right, "outages": [{"what": "hung", "began": 8, "ended": 10}], **other}


def test_a_sweep_that_lost_nothing_has_nothing_wrong() -> None:
    assert wrong(found(), 2) == []


@pytest.mark.parametrize(
    "other",
    [
        {"lost": 1},
        {"twice": 1},
        {"running": 1},
        {"complete": 1},
        {"blocked": 0.006},
        {"outages": [{"what": "hung", "began": 9, "ended": 10}]},
    ],
)
def test_what_is_wrong_is_said(other: dict[str, Any]) -> None:
    assert len(wrong(found(**other), 2)) == 1

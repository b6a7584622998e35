"""A journal writes segments that say everything once, and never troubles the run."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking.journal import Event, Journal, read_segment, run_key


def _events(store: Store, prefix: str = "j") -> list[Event]:
    return [event for name in store.list(prefix) for event in read_segment(store.read_bytes(name))]


class _Broken(Store):
    """A store that cannot be written while ``broken`` is true."""

    broken = True

    def write_bytes(self, name: str, data: bytes) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        super().write_bytes(name, data)


def test_a_run_is_written_as_start_metrics_and_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=60)
    params = {"recipe": {"lr": 0.1, "widths": (1, 2), "augment": {}}, "fold": "speaker=03"}
    journal.start("fold run", "parent", params=params, tags={"kind": "fold run"})
    journal.metrics({"validation/macro_recall": 0.5}, step=1)
    journal.metrics({"validation/macro_recall": 0.6}, step=2)
    journal.end("FAILED", reason="out of memory")

    names = store.list("j")
    start, first, second, end = _events(store)

    assert [name.split("/")[:2] for name in names] == [["j", "run1"]] * 2
    assert {event["key"] for event in (start, first, second, end)} == {"run1"}
    assert (start["name"], start["parent"]) == ("fold run", "parent")
    assert start["params"] == {
        "recipe.lr": "0.1",
        "recipe.widths": "[1, 2]",
        "recipe.augment": "{}",
        "fold": "speaker=03",
    }
    assert (first["step"], first["values"]) == (1, {"validation/macro_recall": 0.5})
    assert first["time"] <= second["time"] <= end["time"]
    assert (end["status"], end["reason"]) == ("FAILED", "out of memory")


def test_a_segment_is_written_when_the_interval_has_passed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=0.0)
    for step in range(3):
        journal.metrics({"loss": 1.0}, step=step)

    assert len(store.list("j")) == 3


def test_a_second_attempt_writes_after_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    Journal(store, prefix="j", key="run1").start("first")
    Journal(store, prefix="j", key="run1").start("second")

    assert [event["name"] for event in _events(store)] == ["first", "second"]


def test_two_attempts_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempts = [Journal(store, prefix="j", key="run1") for _ in range(2)]
    for attempt in attempts:
        attempt.metrics({"loss": 1.0})
    for attempt in attempts:
        attempt._next = 1  # both looked before either wrote
        attempt.flush()

    assert len(_events(store)) == 2


def test_a_store_that_cannot_be_written_is_said_once_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Broken(tmp_path)
    journal = Journal(store, prefix="j", key="run1", interval=0.0)
    with caplog.at_level(logging.WARNING):
        journal.start("run")
        journal.metrics({"loss": 1.0}, step=1)
        assert not journal.flush()
    store.broken = False
    journal.end("FINISHED")

    assert [event["event"] for event in _events(store)] == ["start", "metrics", "end"]
    assert caplog.text.count("the disk is full") == 1


def test_values_that_are_not_finite_survive_the_journal(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix="j", key="run1")
    journal.metrics({"nan": math.nan, "inf": -math.inf})
    journal.flush()

    (event,) = _events(store)

    assert math.isnan(float(event["values"]["nan"]))
    assert float(event["values"]["inf"]) == -math.inf


@pytest.mark.parametrize("key", ["", "../up", "a/b", "o'clock"])
def test_a_key_that_is_no_folder_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="a run's key is letters"):
        Journal(Store(tmp_path), prefix="j", key=key)


@pytest.mark.parametrize("data", [b"{", b"[1]\n", b'{"event": "start"}\n'])
def test_a_file_that_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own message or ours
        read_segment(data)


def test_run_keys_depend_on_every_part_and_on_nothing_else() -> None:
    assert run_key("sweep", "demo", 3) == run_key("sweep", "demo", 3)
    assert run_key("sweep", "demo", 3) != run_key("sweep", "demo", 4)
    assert run_key("ab", "c") != run_key("a", "bc")
    assert len(run_key("sweep")) == 32


def test_a_journal_does_not_import_mlflow() -> None:
    code = (
        "import sys, orchestrator.tracking.journal; "
        "sys.exit(bool({'mlflow', 'torch', 'ray'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

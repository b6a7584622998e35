"""From the spool to the store: nobody waits, nothing is lost, and the order is kept."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking import shipping
from orchestrator.tracking.journal import Journal
from tests.store.stores import far
from tests.tracking.spooled import (
    AT_ONCE,
    Faulty,
    Gated,
    events,
    full,
    journal_in,
    names,
    numbers,
    steps,
    waiting,
)

pytestmark = pytest.mark.usefixtures("spool", "quickly")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again in moments."""
    monkeypatch.setattr(shipping, "_FIRST_PAUSE", 0.02)


def test_training_waits_for_no_store(gated: Gated, spool: Path) -> None:
    journal = journal_in(gated)
    began = time.monotonic()
    journal.start("run")
    for step in range(20):
        journal.metrics({"loss": 1.0}, step=step)
    journal.artifact("a.png", b"picture")
    journal.tag({"a": 1})
    journal.link("teacher", "run0")
    journal.dataset(name="emodb", digest="ab", source="here")
    journal.model("demo", {"student.json": b"{}"})
    took = time.monotonic() - began

    assert took < 2.0
    assert names(gated) == []
    assert len(waiting(spool)) == 26  # on disk, every one
    gated.gate.set()
    assert journal.flush()
    assert steps(gated) == list(range(20))
    assert numbers(gated) == list(range(1, 27))
    assert waiting(spool) == []


def test_a_segment_that_is_due_needs_no_further_event(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    journal = journal_in(store, interval=0.1)
    journal.metrics({"loss": 1.0}, step=1)
    deadline = time.monotonic() + 10
    while not names(store) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert steps(store) == [1]


def test_a_store_that_cannot_be_written_is_said_once_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shipping, "PATIENCE", 0.2)
    store = Faulty(tmp_path / "store")
    store.fault = full  # type: ignore[method-assign]
    journal = journal_in(store)
    with caplog.at_level(logging.WARNING):
        journal.start("run")
        journal.metrics({"loss": 1.0}, step=1)
        assert not journal.flush()
        began = time.monotonic()
        for _ in range(50):
            assert not journal.flush()  # it was waited for long enough
        assert time.monotonic() - began < 1.0
    del store.fault
    monkeypatch.setattr(shipping, "PATIENCE", 20.0)
    journal.end("FINISHED")

    assert [event["event"] for event in events(store)] == ["start", "metrics", "end"]
    assert caplog.text.count("the disk is full") == 1


def test_a_slow_store_is_waited_for_as_long_as_it_takes_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PATIENCE", 0.4)
    store = Faulty(tmp_path / "store")
    store.fault = lambda name: time.sleep(0.15)  # type: ignore[method-assign]
    journal = journal_in(store)
    for step in range(6):
        journal.metrics({"loss": 1.0}, step=step)

    assert journal.flush()  # after more than PATIENCE in all, of which none was idle
    assert steps(store) == list(range(6))


def test_a_run_may_end_without_waiting_for_the_store(gated: Gated) -> None:
    journal = journal_in(gated)
    journal.end("FINISHED", wait=False)
    assert names(gated) == []
    gated.gate.set()

    assert journal.flush()
    assert [event["event"] for event in events(gated)] == ["end"]


def test_what_the_disk_cannot_read_now_is_read_later(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(gated)
    journal.artifact("a.png", b"picture")
    trouble = [OSError(errno.EMFILE, "too many open files") for _ in range(2)]
    read = Path.read_bytes

    def troubled(path: Path) -> bytes:
        if trouble:
            raise trouble.pop()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", troubled)
    gated.gate.set()

    assert journal.flush()
    assert trouble == []
    assert [event["name"] for event in events(gated)] == ["a.png"]
    assert [gated.read_bytes(name) for name in gated.list("j/run1/files")] == [b"picture"]


def test_a_thread_that_cannot_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    journal = journal_in(store)

    def none_left(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", none_left)
        journal.metrics({"loss": 1.0}, step=1)
    journal.metrics({"loss": 1.0}, step=2)

    assert journal.flush()
    assert steps(store) == [1, 2]


def test_no_credentials_are_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Faulty(tmp_path / "store")
    faults = [StoreError("cannot write s3://me:secret@host/bucket")]

    def once(name: str) -> None:
        if faults:
            raise faults.pop()

    store.fault = once  # type: ignore[method-assign]
    journal_in(store).end("FAILED", reason="cannot reach postgresql://me:secret@db/runs")

    (end,) = events(store)
    assert end["reason"] == "cannot reach postgresql://***@db/runs"
    assert "s3://***@host/bucket" in caplog.text
    assert "secret" not in caplog.text


def test_no_segment_speaks_of_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PATIENCE", 0.2)
    store = Faulty(tmp_path / "store")

    def no_room(name: str) -> None:
        if name.endswith("-b.png"):
            raise StoreError("the disk is full")

    store.fault = no_room  # type: ignore[method-assign]
    journal = journal_in(store, interval=60)
    journal.artifact("a.png", b"picture")
    journal.artifact("b.png", b"another")
    assert not journal.flush()
    assert [name.rpartition("-")[2] for name in store.list("j")] == ["a.png"]
    del store.fault
    monkeypatch.setattr(shipping, "PATIENCE", 20.0)
    assert journal.flush()

    assert [event["name"] for event in events(store)] == ["a.png", "b.png"]
    assert len(store.list("j/run1/files")) == 2


def test_a_segment_whose_answer_was_lost_is_not_written_twice(tmp_path: Path) -> None:
    store = Faulty(tmp_path / "store")
    lost: list[str] = []

    def lose_the_first(name: str) -> None:
        if not lost:
            lost.append(name)
            Store.write_bytes(store, name, b'{"event": "start", "key": "run1", "time": 1}\n')
            raise StoreError("no answer")

    store.fault = lose_the_first  # type: ignore[method-assign]
    journal = journal_in(store)
    journal.start("run")
    journal.metrics({"loss": 1.0}, step=1)

    assert journal.flush()
    assert names(store)[0] == lost[0]
    assert numbers(store) == [1, 2]


def test_a_run_that_the_store_refuses_holds_up_no_other(tmp_path: Path) -> None:
    store = Faulty(tmp_path / "store")
    refusing = True

    def refuse(name: str) -> None:
        if refusing and "/run1/" in name:
            raise ValueError("not by this name")

    store.fault = refuse  # type: ignore[method-assign]
    journal = journal_in(store)
    journal.metrics({"loss": 1.0}, step=1)
    other = Journal(store, prefix="j", key="run2", interval=AT_ONCE)
    other.metrics({"loss": 1.0}, step=2)

    assert other.flush()
    assert steps(store) == [2]
    refusing = False
    assert journal.flush()


def test_another_attempt_comes_after_what_another_process_wrote(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    journal = journal_in(store)
    journal.start("first")
    assert journal.flush()
    Store(tmp_path / "store").write_bytes("j/run1/000002-00000000.jsonl", b"")
    journal.start("third")
    assert journal.flush()

    assert numbers(store) == [1, 2, 3]


def test_two_journals_of_one_run_keep_their_order(gated: Gated) -> None:
    first, second = journal_in(gated), journal_in(gated)
    first.metrics({"loss": 1.0}, step=1)
    second.metrics({"loss": 1.0}, step=2)
    first.metrics({"loss": 1.0}, step=3)
    gated.gate.set()

    assert first.flush()
    assert second.flush()
    assert steps(gated) == [1, 2, 3]
    assert numbers(gated) == [1, 2, 3]


def test_a_store_elsewhere_gets_the_same(tmp_path: Path) -> None:
    store = far(tmp_path)
    journal = journal_in(store)
    journal.start("run")
    journal.artifact("a.png", b"picture")
    journal.end()

    assert [event["event"] for event in events(store)] == ["start", "artifact", "end"]
    assert [store.read_bytes(name) for name in store.list("j/run1/files")] == [b"picture"]


def test_a_process_that_was_forked_goes_on_by_itself(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    journal = journal_in(store)
    journal.metrics({"loss": 1.0}, step=1)
    assert journal.flush()
    child = os.fork()
    if child == 0:
        journal.metrics({"loss": 1.0}, step=2)
        os._exit(0 if journal.flush() else 1)
    assert os.waitpid(child, 0)[1] == 0
    journal.start("again")
    assert journal.flush()

    assert [event["event"] for event in events(store)] == ["metrics", "metrics", "start"]

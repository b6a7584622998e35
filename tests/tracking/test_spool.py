"""What waits on local disk outlives its process, and a full disk loses nothing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking.shipping import ship_leftovers
from orchestrator.tracking.spool import SPOOL_VARIABLE, folder_of, spool_folder
from tests.tracking.spooled import (
    Faulty,
    Gated,
    events,
    full,
    journal_in,
    names,
    steps,
    waiting,
)

pytestmark = pytest.mark.usefixtures("spool")


def test_a_spool_that_cannot_be_made_is_said_and_memory_serves(
    tmp_path: Path, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.write_text("in the way")
    store = Store(tmp_path / "store")
    journal = journal_in(store)
    journal.artifact("a.png", b"picture")
    journal.metrics({"loss": 1.0}, step=1)
    journal.end()

    assert [event["event"] for event in events(store)] == ["artifact", "metrics", "end"]
    assert len(store.list("j/run1/files")) == 1
    assert caplog.text.count(f"another folder with {SPOOL_VARIABLE}") == 1


def test_a_disk_that_fills_within_a_line_loses_none(
    gated: Gated, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = journal_in(gated, interval=60)
    journal.metrics({"loss": 1.0}, step=1)
    (segment,) = waiting(spool)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 10, before[1]))
    try:
        journal.metrics({"loss": 1.0}, step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.metrics({"loss": 1.0}, step=3)
    half = segment.read_bytes()
    gated.gate.set()

    assert not half.endswith(b"\n")  # it did fill
    assert journal.flush()
    assert steps(gated) == [1, 2, 3]
    assert "waits in memory" in caplog.text


def test_the_spools_folder_is_named_without_a_look_at_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(SPOOL_VARIABLE)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))

    assert spool_folder().parent == tmp_path / "none"


def test_a_disk_that_cannot_close_a_segment_troubles_nobody(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(gated, interval=60)
    journal.metrics({"loss": 1.0}, step=1)
    close = os.close

    def fails(handle: int) -> None:
        close(handle)
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.spool.os.close", fails)
        journal.end(wait=False)
    gated.gate.set()

    assert journal.flush()
    assert [event["event"] for event in events(gated)] == ["metrics", "end"]


def test_a_spool_of_another_user_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(SPOOL_VARIABLE)
    theirs = tmp_path / "understudy-spool-12345"
    theirs.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    store = Store(tmp_path / "store")
    journal = journal_in(store)
    journal.metrics({"loss": 1.0}, step=1)

    assert journal.flush()
    assert list(theirs.iterdir()) == []
    assert "somebody else's" in caplog.text


# What a process left behind

_KILLED = """
import sys, threading
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal

class Hung(Store):
    def write_bytes(self, name, data):
        threading.Event().wait()

journal = Journal(Hung(sys.argv[1]), prefix="j", key="run1", interval=0.0)
journal.start("run")
journal.artifact("a.png", b"picture")
for step in range(3):
    journal.metrics({"loss": 1.0}, step=step)
open = Journal(Hung(sys.argv[1]), prefix="j", key="run2", interval=60.0)
open.metrics({"loss": 1.0}, step=3)
print("told", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spool of a process that told three steps of one run, and one of another, and was killed.

    Before, it was offered to somebody else, who left it alone.
    """
    place = tmp_path_factory.mktemp("dead")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SPOOL_VARIABLE, str(place / "spool"))
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(place / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        store = Store(place / "store")
        alive = ship_leftovers(store), names(store)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert alive == (0, [])
    assert len(waiting(place / "spool")) == 6
    return place


@pytest.fixture
def left(dead: Path, spool: Path, tmp_path: Path) -> Store:
    """A store for which a dead process has left something in the spool."""
    shutil.copytree(dead / "spool", spool)
    (place,) = spool.glob(f"*/{folder_of(str(dead / 'store'))}")
    place.rename(place.with_name(folder_of(str(tmp_path / "store"))))
    return Store(tmp_path / "store")


def test_what_a_killed_process_left_is_shipped_once(
    tmp_path: Path, spool: Path, left: Store
) -> None:
    with waiting(spool)[-1].open("ab") as last:
        last.write(b'{"event": "metr')  # as if it had been killed within a line
    shutil.copytree(spool, tmp_path / "copy")

    assert ship_leftovers(Store(tmp_path / "another")) == 0
    assert ship_leftovers(left) == 6
    assert ship_leftovers(left) == 0
    assert list(spool.iterdir()) == []
    told = events(left)
    assert [event["event"] for event in told] == ["start", "artifact"] + ["metrics"] * 4
    assert steps(left) == [0, 1, 2, 3]
    assert [left.read_bytes(name) for name in left.list("j/run1/files")] == [b"picture"]

    # whoever died after the store had taken it, and before the spool knew, ships it again
    spool.rmdir()
    (tmp_path / "copy").rename(spool)
    ship_leftovers(left)
    assert events(left) == told


def test_who_takes_a_run_up_again_comes_after_what_was_left(left: Store) -> None:
    journal = journal_in(left)
    journal.start("again")
    assert journal.flush()
    told = [event for event in events(left) if event["key"] == "run1"]

    assert [event["event"] for event in told] == ["start", "artifact", *["metrics"] * 3, "start"]
    assert told[-1]["name"] == "again"


def test_what_another_user_put_there_is_not_taken_for_ours(
    spool: Path, left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 12345)

    assert ship_leftovers(left) == 0
    assert len(waiting(spool)) == 6


def test_leftovers_stay_when_the_store_cannot_be_written(spool: Path, left: Store) -> None:
    store = Faulty(left.folder)
    store.fault = full  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="the disk is full"):
        ship_leftovers(store)

    assert len(waiting(spool)) == 6
    del store.fault
    assert ship_leftovers(store) == 6


def test_leftovers_that_cannot_be_read_stay_and_hold_up_nothing(
    spool: Path, left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def damaged(path: Path) -> bytes:
        if "run1" in path.parts:
            raise OSError(errno.EIO, "input/output error")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", damaged)
        assert ship_leftovers(left) == 1
    assert len(waiting(spool)) == 5
    assert ship_leftovers(left) == 5


def test_a_process_that_ends_well_ships_and_leaves_nothing(tmp_path: Path, spool: Path) -> None:
    code = (
        "import sys; from orchestrator.store import Store; "
        "from orchestrator.tracking.journal import Journal; "
        "Journal(Store(sys.argv[1]), prefix='j', key='run1').metrics({'loss': 1.0}, 7)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], check=True)

    assert steps(Store(tmp_path / "store")) == [7]
    assert list(spool.iterdir()) == []

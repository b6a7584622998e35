"""The service between journals and MLflow, with and without Ray."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from mlflow import MlflowClient

from orchestrator.errors import InputError, StoreError
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.service import Tail, Tracking, _environment, start_tracking
from orchestrator.tracking.writer import Writer

PREFIX = "journal/demo/sweep"


def _started(store: Store, key: str, name: str) -> None:
    """A run that has begun, and the store knows it."""
    journal = Journal(store, prefix=PREFIX, key=key)
    journal.start(name)
    journal.flush()


def _statuses(uri: str, experiment: str) -> dict[str, str]:
    writer = Writer(uri, experiment)
    writer.initialise()
    found = writer._mlflow.search_runs([writer._experiment_id])
    return {run.info.run_name: run.info.status for run in found}


def test_what_is_left_open_is_closed_at_the_end(tmp_path: Path, mlflow_uri: str) -> None:
    store = Store(tmp_path)
    tail = Tail(store.uri, mlflow_uri, "closing", PREFIX, poll=0.05)
    assert tail.initialise() == ""
    finished = Journal(store, prefix=PREFIX, key="one")
    finished.start("finished")
    finished.end()
    _started(store, "two", "cut short")
    Journal(store, prefix="journal/demo/other", key="three").start("another command's")

    assert tail.close(20.0) == 0
    assert _statuses(mlflow_uri, "closing") == {"finished": "FINISHED", "cut short": "KILLED"}


def test_the_background_tail_needs_no_flush(tmp_path: Path, mlflow_uri: str) -> None:
    store = Store(tmp_path)
    tail = Tail(store.uri, mlflow_uri, "tailing", PREFIX, poll=0.05)
    tail.initialise()
    _started(store, "one", "run")
    deadline = time.monotonic() + 20
    while not _statuses(mlflow_uri, "tailing") and time.monotonic() < deadline:
        time.sleep(0.1)

    assert _statuses(mlflow_uri, "tailing") == {"run": "RUNNING"}
    tail.close(20.0)


def test_an_outage_is_counted_said_once_and_caught_up_with(
    tmp_path: Path,
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(tmp_path)
    tail = Tail(store.uri, mlflow_uri, "outage", PREFIX, poll=0.02)
    assert tail.initialise() == ""

    def down(*_: object) -> int:
        raise ConnectionError("no route to http://me:secret@host")

    journal = Journal(store, prefix=PREFIX, key="one")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Writer, "replay_journals", down)
        journal.start("run")
        journal.flush()
        journal.end()
        assert tail.flush(0.2) == 2
        assert "no route to http://***@host" in tail.problem()
    assert caplog.text.count("MLflow has to wait, training goes on") == 1

    assert tail.close(20.0) == 0
    assert tail.problem() == ""
    assert _statuses(mlflow_uri, "outage") == {"run": "FINISHED"}


def test_a_database_that_cannot_be_made_is_said_at_the_start_and_tried_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").write_text("in the way")
    tail = Tail(str(tmp_path), f"sqlite:///{tmp_path}/folder/runs.db", "demo", PREFIX, poll=0.05)

    said = tail.initialise()
    _started(Store(tmp_path), "one", "run")

    assert "it cannot be opened or made; check that its folder can be written" in said
    assert tail.flush(0.0) == 1
    assert tail.close(0.0) == 1
    assert tail.problem() == said


def test_who_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(Writer, "initialise", lambda _: answered.wait())
    tail = Tail(str(tmp_path), "http://me:secret@127.0.0.1:9", "demo", PREFIX)

    said = tail.initialise(0.05)

    assert "'http://***@127.0.0.1:9' has not answered in 0.05 seconds" in said
    tail.stop()
    answered.set()


def test_looks_grow_apart_where_a_look_takes_long(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = Tail(str(tmp_path), mlflow_uri, "looks", PREFIX, poll=0.01)

    def slow(*_: object) -> dict[str, list[str]]:
        time.sleep(0.05)
        return {}

    monkeypatch.setattr("orchestrator.tracking.service.journals", slow)
    assert tail.pause() == 0.01
    assert tail._step()
    assert tail.pause() >= 9 * 0.05


def test_one_file_that_waits_leaves_no_other_run_running(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _started(store, "one", "cut short")
    waits = Journal(store, prefix=PREFIX, key="two")
    waits.start("waits")
    waits.artifact("a.txt", b"file")
    waits.flush()

    def away(*_: object) -> None:
        raise OSError("no route to the bucket")

    monkeypatch.setattr(MlflowClient, "log_artifact", away)
    tail = Tail(store.uri, mlflow_uri, "a file waits", PREFIX, poll=0.02)

    assert tail.close(0.0) > 0
    assert _statuses(mlflow_uri, "a file waits") == {"cut short": "KILLED", "waits": "RUNNING"}


def test_what_can_never_be_sent_is_counted_with_the_first_reason(
    tmp_path: Path, mlflow_uri: str
) -> None:
    store = Store(tmp_path)
    tail = Tail(store.uri, mlflow_uri, "refused", PREFIX, poll=0.02)
    assert tail.refused() == ""
    name = f"{PREFIX}/one/000001-00000000.jsonl"
    store.write_bytes(name, b"not json\n")
    store.write_bytes(f"{PREFIX}/two/000001-00000000.jsonl", b"neither\n")

    assert tail.close(20.0) == 0
    assert tail.refused().startswith(
        f"2 journal segments or files can never be sent to MLflow; the first: {name}: Expecting"
    )


def test_how_far_a_tail_is_that_hangs_in_a_request_is_known(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _started(store, "one", "run")
    tail = Tail(store.uri, mlflow_uri, "hangs", PREFIX, poll=0.02)
    assert tail.behind() is None
    assert tail.flush(20.0) == 0
    assert tail.behind() == 0
    _started(store, "two", "another")
    hung, answered = threading.Event(), threading.Event()

    def hang(*_: object) -> int:
        hung.set()
        answered.wait()
        return 0

    monkeypatch.setattr(Writer, "replay_journals", hang)
    tail.begin()
    assert hung.wait(20)
    assert tail.behind() == 1
    tail.stop()
    answered.set()


def test_an_actor_and_a_store_that_do_not_answer_raise_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def __getattr__(self, name: str) -> Gone:
            return self

        def remote(self, *_: object) -> None:
            raise ray.exceptions.RayActorError

    def away(*_: object) -> dict[str, list[str]]:
        raise StoreError("no route to the bucket")

    tracking = Tracking(Gone(), store_uri=str(tmp_path), prefix=PREFIX)
    assert tracking.flush(0.0) == 0
    monkeypatch.setattr("orchestrator.tracking.service.journals", away)
    assert tracking.flush(0.0) == 1


def test_the_actor_gets_what_opens_databases_and_buckets_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in os.environ.copy():
        monkeypatch.delenv(name)
    theirs = {
        "MLFLOW_TRACKING_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "k",
        "GOOGLE_APPLICATION_CREDENTIALS": "key.json",
        "PGPASSWORD": "p",
    }
    for name, value in {**theirs, "PATH": "/bin", "EMODB_ROOT": "/corpora"}.items():
        monkeypatch.setenv(name, value)

    assert _environment() == theirs


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This session's Ray, or a small one of our own."""
    if ray.is_initialized():
        yield
        return
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    here = os.path.abspath(os.curdir)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_actor_replays_survives_its_own_death_and_closes(
    tmp_path: Path, tracking_database: Path
) -> None:
    store = Store(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="is a folder"):
        start_tracking(store.uri, str(tmp_path), "actor", PREFIX)
    uri = f"sqlite:///{tmp_path}/file/runs.db"
    tracking = start_tracking(store.uri, uri, "actor", PREFIX, poll=0.1)
    store.write_bytes(f"{PREFIX}/bad/000001-00000000.jsonl", b"not json\n")
    assert "it cannot be opened or made" in tracking.problem
    _started(store, "one", "before")

    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()
    shutil.copy(tracking_database, tmp_path / "file" / "runs.db")
    assert tracking.flush(20.0) == 0
    assert tracking.problem == ""

    ray.kill(tracking._actor, no_restart=False)
    journal = Journal(store, prefix=PREFIX, key="two")
    journal.start("after", "one")
    journal.end()
    deadline = time.monotonic() + 60
    while len(_statuses(uri, "actor")) < 2 and time.monotonic() < deadline:
        time.sleep(0.3)

    # Without a word from the driver, the restarted actor went on.
    assert _statuses(uri, "actor") == {"before": "RUNNING", "after": "FINISHED"}
    assert tracking.close(30.0) == 0
    assert "1 journal segments or files can never be sent" in tracking.refused
    assert _statuses(uri, "actor") == {"before": "KILLED", "after": "FINISHED"}
    # The actor is gone: asking it again is answered from the store, and raises nothing.
    assert tracking.flush(1.0) == 4

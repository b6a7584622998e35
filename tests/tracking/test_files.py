"""Files in a journal: kept beside it, named safely, and given to MLflow once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking.files import UnsentFileError, fingerprint, kept_as
from orchestrator.tracking.journal import Event, Journal, read_segment
from orchestrator.tracking.service import Tail
from orchestrator.tracking.writer import Writer, journals

PREFIX = "journal/demo/sweep"
NAME = "attention/utt 1.png"
FILE = f"{PREFIX}/fold1/files/{fingerprint(b'picture')[:16]}-utt 1.png"


@pytest.fixture
def writer(mlflow_uri: str, request: pytest.FixtureRequest) -> Callable[[], Writer]:
    """Makes writers of this test's own experiment."""

    def make() -> Writer:
        made = Writer(mlflow_uri, request.node.name)
        made.initialise()
        return made

    return make


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The folders of the files that are given to MLflow, in order."""
    folders: list[str | None] = []
    log_artifact = MlflowClient.log_artifact

    def spied(self: MlflowClient, run: str, local: str, artifact_path: str | None = None) -> None:
        folders.append(artifact_path)
        log_artifact(self, run, local, artifact_path)

    monkeypatch.setattr(MlflowClient, "log_artifact", spied)
    return folders


def _run(writer: Writer) -> Any:
    (run,) = writer._mlflow.search_runs([writer._experiment_id])
    return run


def _held(writer: Writer) -> dict[str, bytes]:
    """The files of the run in MLflow, by the name that the dashboard shows."""
    root = Path(_run(writer).info.artifact_uri)
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def _segments(store: Store) -> list[Event]:
    return [
        event
        for name in store.list(PREFIX)
        if "/files/" not in name
        for event in read_segment(store.read_bytes(name))
    ]


def _fold(store: Store) -> Journal:
    return Journal(store, prefix=PREFIX, key="fold1", interval=0.0)


def _keep(store: Store, name: str, data: bytes) -> None:
    """A file of the run, in the store."""
    journal = _fold(store)
    journal.artifact(name, data)
    journal.flush()


def _write_run(store: Store) -> None:
    journal = _fold(store)
    journal.start("fold")
    journal.metrics({"loss": 0.5}, step=1)
    journal.artifact(NAME, b"picture")
    journal.metrics({"loss": 0.4}, step=2)
    journal.end()


def test_a_file_is_kept_beside_the_segment_that_names_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix=PREFIX, key="fold1", interval=60)
    journal.artifact(NAME, b"picture")
    assert store.list(PREFIX) == ()
    journal.end()

    artifact, end = _segments(store)

    assert store.read_bytes(FILE) == b"picture"
    assert (artifact["event"], artifact["name"]) == ("artifact", NAME)
    assert (artifact["key"], artifact["sha256"]) == ("fold1", fingerprint(b"picture"))
    assert artifact["time"] <= end["time"]


def test_a_file_does_not_wait_longer_than_measurements_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _keep(store, NAME, b"picture")

    assert len(_segments(store)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../up.png",
        "a/../../up.png",
        "a/..",
        "/root.png",
        "a//b.png",
        "a/",
        "./a.png",
        ".hidden",
        "a\\..\\b.png",
        "%2e%2e/up.png",
        "a#b.png",
        "a\n.png",
        "a\0.png",
        "ä" * 76,
    ],
)
def test_a_name_that_leaves_its_folder_or_is_no_file_name_is_refused(
    tmp_path: Path, name: str
) -> None:
    store = Store(tmp_path)
    journal = _fold(store)

    with pytest.raises(ValueError, match="a file's name is words of letters"):
        journal.artifact(name, b"picture")

    assert journal.flush()
    assert store.list(PREFIX) == ()


def test_a_name_is_at_most_as_long_as_its_bytes_allow() -> None:
    assert kept_as("ä" * 75, "0" * 64) == f"files/{'0' * 16}-{'ä' * 75}"


@pytest.mark.parametrize(
    "said",
    [
        {"name": "../../up.png", "sha256": "0" * 64},
        {"name": "a.png", "sha256": "../" * 20 + "0000"},
        {"name": "a.png"},
        {"sha256": "0" * 64},
        {"name": 5, "sha256": "0" * 64},
    ],
)
def test_a_segment_whose_file_lies_elsewhere_is_no_segment(said: dict[str, Any]) -> None:
    event = {"event": "artifact", "key": "fold1", "time": 1, **said}

    with pytest.raises(ValueError, match="a file's"):
        read_segment(json.dumps(event).encode())


def test_a_file_that_is_named_like_a_segment_is_none(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    journal = _fold(store)
    journal.artifact("000009-0123abcd.jsonl", b"not json")
    journal.artifact("deep/000009-0123abcd.jsonl", b"nor is this")
    _fold(store).end()
    made = writer()
    made.replay(store, PREFIX)

    numbers = [name.split("/")[-1][:6] for name in store.list(PREFIX) if "/files/" not in name]
    assert numbers == ["000001", "000002", "000003"]
    assert set(journals(store, PREFIX)) == {"fold1"}
    assert made.refused == {}
    assert len(_held(made)) == 2


def test_a_file_reaches_mlflow_once_however_often_and_by_whomever_it_is_replayed(
    tmp_path: Path, writer: Callable[[], Writer], sent: list[str | None]
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    first = writer()

    assert first.replay(store, PREFIX) == 5
    assert _held(first) == {NAME: b"picture"}
    assert first.replay(store, PREFIX) == 0
    again = writer()
    assert again.replay(store, PREFIX) == 5

    assert sent == ["attention"]
    assert _held(again) == {NAME: b"picture"}
    assert _run(again).info.status == "FINISHED"
    history = again._mlflow.get_metric_history(_run(again).info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.4)]


def test_files_lie_beside_the_database_wherever_the_writer_runs(
    tmp_path: Path,
    writer: Callable[[], Writer],
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = Store(tmp_path / "store")
    _write_run(store)
    made = writer()
    made.replay(store, PREFIX)

    database = Path(mlflow_uri.removeprefix("sqlite:///"))
    home = database.with_name("runs-artifacts") / request.node.name
    assert Path(_run(made).info.artifact_uri).is_relative_to(home)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_same_name_again_replaces_the_file_and_equal_bytes_are_not_sent_again(
    tmp_path: Path, writer: Callable[[], Writer], sent: list[str | None]
) -> None:
    store = Store(tmp_path)
    made = writer()
    for data in (b"first", b"second", b"second"):
        _keep(store, "a.png", data)
        made.replay(store, PREFIX)

    assert _held(made) == {"a.png": b"second"}
    assert sent == [None, None]


def test_of_several_versions_that_wait_the_last_one_is_sent(
    tmp_path: Path, writer: Callable[[], Writer], sent: list[str | None]
) -> None:
    store = Store(tmp_path)
    for data in (b"first", b"second"):
        _keep(store, "a.png", data)
    made = writer()
    made.replay(store, PREFIX)

    assert _held(made) == {"a.png": b"second"}
    assert sent == [None]


def test_a_writer_killed_before_its_last_tag_is_followed_by_one_that_sends_the_file_again(
    tmp_path: Path,
    writer: Callable[[], Writer],
    sent: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.writer.SEGMENT_TAG", "elsewhere")
        dead = writer()
        dead.replay(store, PREFIX)

    alive = writer()
    alive.replay(store, PREFIX)

    assert sent == ["attention", "attention"]
    assert _held(alive) == {NAME: b"picture"}


def test_a_writer_killed_before_the_file_is_followed_by_one_that_sends_it(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    dead = writer()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", killed)
        with pytest.raises(KeyboardInterrupt):
            dead.replay(store, PREFIX)
    assert _held(dead) == {}

    alive = writer()
    alive.replay(store, PREFIX)

    assert _held(alive) == {NAME: b"picture"}
    history = alive._mlflow.get_metric_history(_run(alive).info.run_id, "loss")
    assert {(point.step, point.value) for point in history} == {(1, 0.5), (2, 0.4)}


@pytest.mark.parametrize(
    ("harm", "reason"), [("lost", "is missing: the store has no"), ("shortened", "is damaged")]
)
def test_a_file_that_is_gone_is_set_aside_with_the_reason_and_the_rest_is_sent(
    tmp_path: Path,
    writer: Callable[[], Writer],
    caplog: pytest.LogCaptureFixture,
    harm: str,
    reason: str,
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    _keep(store, "b.png", b"another")
    if harm == "lost":
        (tmp_path / FILE).unlink()
    else:
        (tmp_path / FILE).write_bytes(b"pict")
    made = writer()

    with caplog.at_level(logging.WARNING):
        assert made.replay(store, PREFIX) == 6
        assert made.replay(store, PREFIX) == 0

    assert list(made.refused) == [FILE]
    assert reason in made.refused[FILE]
    assert caplog.text.count("cannot be replayed") == 1
    assert made.pending(store, PREFIX) == 0
    assert _held(made) == {"b.png": b"another"}
    assert _run(made).info.status == "FINISHED"
    assert _run(made).data.metrics == {"loss": 0.4}


def test_a_store_that_cannot_be_read_is_an_outage_and_not_a_missing_file(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    made = writer()
    read_bytes = store.read_bytes

    def away(name: str) -> bytes:
        if "/files/" in name:
            raise StoreError("the network is away")
        return read_bytes(name)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_bytes", away)
        with pytest.raises(StoreError, match="the network is away"):
            made.replay(store, PREFIX)
    assert made.refused == {}

    made.replay(store, PREFIX)
    assert _held(made) == {NAME: b"picture"}


def test_a_place_for_files_that_is_out_of_reach_keeps_no_measurement_waiting(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    other = Journal(store, prefix=PREFIX, key="fold2")
    other.start("later")
    other.flush()
    made = writer()

    def away(*_: object) -> None:
        raise OSError("no route to the bucket")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", away)
        for _ in range(2):
            with pytest.raises(UnsentFileError, match=r"utt 1\.png.*no route to the bucket"):
                made.replay(store, PREFIX)
        fold, later = sorted(
            made._mlflow.search_runs([made._experiment_id]), key=lambda run: run.info.run_name
        )
        assert (fold.info.status, later.info.status) == ("FINISHED", "RUNNING")
        assert fold.data.metrics == {"loss": 0.4}
        assert made.pending(store, PREFIX) == 5
        made._mlflow.delete_run(later.info.run_id)

    assert made.replay(store, PREFIX) == 5
    assert _held(made) == {NAME: b"picture"}
    history = made._mlflow.get_metric_history(fold.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.4)]


def test_a_full_disk_here_keeps_only_the_file_waiting(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    made = writer()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.files.tempfile.mkdtemp", full)
        with pytest.raises(UnsentFileError, match="No space left"):
            made.replay(store, PREFIX)
    assert _run(made).data.metrics == {"loss": 0.4}

    made.replay(store, PREFIX)
    assert _held(made) == {NAME: b"picture"}


def test_a_lost_file_is_said_once_though_another_is_tried_again_and_again(
    tmp_path: Path,
    writer: Callable[[], Writer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    _keep(store, "b.png", b"another")
    (tmp_path / FILE).unlink()
    made = writer()

    def away(*_: object) -> None:
        raise OSError("no route to the bucket")

    monkeypatch.setattr(MlflowClient, "log_artifact", away)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(UnsentFileError, match=r"b\.png"):
                made.replay(store, PREFIX)

    assert caplog.text.count("is missing") == 1


def test_a_file_that_mlflow_will_never_take_is_set_aside(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    made = writer()

    def never(*_: object) -> None:
        raise MlflowException.invalid_parameter_value("an mlflow-artifacts URI needs a server")

    monkeypatch.setattr(MlflowClient, "log_artifact", never)
    assert made.replay(store, PREFIX) == 5

    assert "will not have 'attention/utt 1.png'" in made.refused[FILE]
    assert made.pending(store, PREFIX) == 0


def test_a_service_says_that_files_wait_and_catches_up(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_run(store)
    # Not begun: no thread of its own, so that the patch is undone before anything else is sent.
    tail = Tail(store.uri, mlflow_uri, "files wait", PREFIX, poll=0.02)

    def away(*_: object) -> None:
        raise OSError("no route to http://me:secret@bucket")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", away)
        assert tail.flush(0.1) == 5
        assert "cannot keep the file" in tail.problem()
        assert "secret" not in tail.problem()

    assert tail.close(20.0) == 0
    assert tail.problem() == ""
    assert _held(tail._writer) == {NAME: b"picture"}


def test_the_file_of_a_run_deleted_in_the_dashboard_is_not_sent(
    tmp_path: Path, writer: Callable[[], Writer], sent: list[str | None]
) -> None:
    store = Store(tmp_path)
    journal = _fold(store)
    journal.start("fold")
    journal.flush()
    first = writer()
    first.replay(store, PREFIX)
    first._mlflow.delete_run(_run(first).info.run_id)

    journal.artifact(NAME, b"picture")
    journal.flush()
    writer().replay(store, PREFIX)

    assert sent == []

"""A run's model in MLflow: once, whatever was cut short, and with its alias."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking.files import RefusedFileError, UnsentFileError, fingerprint, kept_as
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.model import send_model
from orchestrator.tracking.segment import Event
from orchestrator.tracking.spool import SPOOL_VARIABLE
from orchestrator.tracking.writer import Writer

RUN = "journal/demo/sweep/trial7"
PAGE = {
    "emotions": ["anger", "boredom"],
    "features": {"sample_rate": 8000},
    "protocol": "leave one speaker out",
}
FILES = {"student.safetensors": b"weights", "student.json": json.dumps(PAGE).encode()}
OTHERS = FILES | {"student.safetensors": b"other weights"}


def told(
    store: Store,
    name: str,
    *,
    files: Mapping[str, bytes] = FILES,
    time: int = 1000,
    alias: str = "best",
) -> Event:
    """A model event, its files kept in the store."""
    event: Event = {"event": "model", "key": "trial7", "time": time, "name": name, "alias": alias}
    event |= {"tags": {"score": "0.5"}, "segment": f"{RUN}/000001-0a1b2c3d.jsonl"}
    event["files"] = {name: fingerprint(data) for name, data in files.items()}
    for file, data in files.items():
        store.write_bytes(f"{RUN}/{kept_as(file, fingerprint(data))}", data)
    return event


class Desk:
    """An experiment of MLflow's, and what there is in it."""

    def __init__(self, uri: str, name: str, folder: Path) -> None:
        self.client = MlflowClient(uri, uri)
        self.name = name
        self.experiment = self.client.create_experiment(name, str(folder))

    def run(self) -> str:
        """A new run."""
        run: Run = self.client.create_run(self.experiment)
        return run.info.run_id

    def send(self, event: Event, store: Store, run: str) -> None:
        """What the writer does with a model event."""
        send_model(self.client, experiment_id=self.experiment, run_id=run, event=event, store=store)

    @property
    def models(self) -> list[LoggedModel]:
        """The models of all runs, oldest first."""
        found = self.client.search_logged_models([self.experiment])
        return sorted(found, key=lambda model: model.creation_timestamp)

    def versions(self, name: str) -> dict[str, ModelVersion]:
        """The versions of the registered model."""
        return {
            str(one.version): one for one in self.client.search_model_versions(f"name='{name}'")
        }

    def holder(self, name: str, alias: str = "best") -> str:
        """Which version has the alias."""
        return str(self.client.get_model_version_by_alias(name, alias).version)


@pytest.fixture
def desk(
    mlflow_uri: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """This test's own experiment; what MLflow drops into the working directory is seen."""
    monkeypatch.chdir(tmp_path)
    name = request.node.name.translate(str.maketrans("[", ".", "]"))
    return Desk(mlflow_uri, name, tmp_path / "mlflow")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_run_gets_a_model_and_the_registry_a_version_with_the_alias(
    desk: Desk, store: Store, tmp_path: Path
) -> None:
    run = desk.run()

    desk.send(told(store, "emodb-kim2024.v1"), store, run)

    (model,) = desk.models
    assert (str(model.status), model.source_run_id) == ("READY", run)
    assert model.name == "emodb-kim2024-v1"  # a model of a run may have no dot
    assert model.tags["score"] == "0.5"
    (output,) = desk.client.get_run(run).outputs.model_outputs
    assert output.model_id == model.model_id
    ((number, version),) = desk.versions("emodb-kim2024.v1").items()
    assert (version.run_id, version.source) == (run, model.artifact_location)
    assert version.description == "leave one speaker out"
    assert desk.holder("emodb-kim2024.v1") == number
    assert json.loads(model.tags["mlflow.modelVersions"]) == [
        {"name": "emodb-kim2024.v1", "version": "1"}
    ]
    kept = Path(model.artifact_location) / "data" / "student"
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow", "store"]


def test_the_same_event_again_changes_nothing(desk: Desk, store: Store) -> None:
    run, event = desk.run(), told(store, desk.name)
    desk.send(event, store, run)
    before = [(str(it), it.last_updated_timestamp) for it in desk.models]

    desk.send(event, store, run)

    assert [(str(it), it.last_updated_timestamp) for it in desk.models] == before
    assert desk.versions(desk.name).keys() == {"1"}
    assert len(desk.client.get_run(run).outputs.model_outputs) == 1


STEPS = [
    "create_logged_model",
    "log_model_artifacts",
    "log_outputs",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_logged_model_tags",
    "set_registered_model_alias",
    "set_model_version_tag",
]
"""All that changes something in MLflow, in the order in which it happens."""


@pytest.mark.parametrize("heard", [True, False], ids=["answer lost", "never arrived"])
def test_a_crash_at_any_step_leaves_one_model_and_one_version(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    run, event = desk.run(), told(store, desk.name)
    broken: list[str] = []

    def failing(step: str) -> Callable[..., Any]:
        real = getattr(MlflowClient, step)

        def call(*args: Any, **kwargs: Any) -> Any:
            if step in broken:
                return real(*args, **kwargs)
            broken.append(step)
            if heard:
                real(*args, **kwargs)
            raise MlflowException("connection lost")

        return call

    for step in STEPS:
        monkeypatch.setattr(MlflowClient, step, failing(step))
    for step in STEPS:
        with pytest.raises(UnsentFileError, match="connection lost"):
            desk.send(event, store, run)
        assert broken[-1] == step
    desk.send(event, store, run)

    assert broken == STEPS
    (model,) = desk.models
    assert str(model.status) == "READY"
    assert desk.versions(desk.name).keys() == {"1"}
    assert desk.holder(desk.name) == "1"
    assert len(desk.client.get_run(run).outputs.model_outputs) == 1


def test_what_mlflow_made_twice_is_one_again(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            real(*args, **kwargs)
            return real(*args, **kwargs)

        return call

    for step in ("create_logged_model", "create_model_version"):
        monkeypatch.setattr(MlflowClient, step, twice(getattr(MlflowClient, step)))

    desk.send(told(store, desk.name), store, desk.run())

    (model,) = desk.models
    ((number, version),) = desk.versions(desk.name).items()
    assert (number, version.source) == ("1", model.artifact_location)


def test_an_equal_student_of_another_run_is_the_same_version(desk: Desk, store: Store) -> None:
    event = told(store, desk.name)
    desk.send(event, store, desk.run())

    desk.send(event | {"time": 2000}, store, desk.run())

    assert len(desk.models) == 2
    assert desk.versions(desk.name).keys() == {"1"}


def test_an_alias_goes_to_whoever_was_last_said_to_have_it(desk: Desk, store: Store) -> None:
    first = told(store, desk.name, time=1000)
    second = told(store, desk.name, files=OTHERS, time=2000)
    third = first | {"time": 3000}
    run = desk.run()

    desk.send(first, store, run)
    desk.send(second, store, run)
    assert desk.holder(desk.name) == "2"

    desk.send(third, store, run)
    assert desk.holder(desk.name) == "1"
    assert desk.versions(desk.name).keys() == {"1", "2"}


def test_journals_replayed_out_of_order_leave_the_alias_where_it_belongs(
    desk: Desk, store: Store
) -> None:
    desk.send(told(store, desk.name, files=OTHERS, time=2000), store, desk.run())

    desk.send(told(store, desk.name, time=1000), store, desk.run())

    assert desk.versions(desk.name).keys() == {"1", "2"}
    assert desk.holder(desk.name) == "1"


def test_an_alias_moved_by_hand_stays_until_a_run_says_something_new(
    desk: Desk, store: Store
) -> None:
    run, event = desk.run(), told(store, desk.name, files=OTHERS, time=2000)
    desk.send(told(store, desk.name, time=1000), store, run)
    desk.send(event, store, run)
    desk.client.set_registered_model_alias(desk.name, "best", "1")

    desk.send(event, store, run)
    assert desk.holder(desk.name) == "1"

    desk.send(event | {"time": 4000}, store, run)
    assert desk.holder(desk.name) == "2"


def test_a_model_without_an_alias_is_registered_all_the_same(desk: Desk, store: Store) -> None:
    desk.send(told(store, desk.name, alias=""), store, desk.run())

    assert desk.versions(desk.name).keys() == {"1"}
    assert desk.client.get_registered_model(desk.name).aliases == {}


def test_missing_damaged_and_foreign_files_are_refused_and_leave_no_version(
    desk: Desk, store: Store
) -> None:
    run, event = desk.run(), told(store, desk.name)
    gone = event["files"] | {"student.json": "0" * 64}
    with pytest.raises(RefusedFileError, match=r"'student\.json' is missing: the store has no"):
        desk.send(event | {"files": gone}, store, run)

    foreign = told(store, desk.name, files={"model.pkl": b"?"})
    with pytest.raises(RefusedFileError, match=r"no student: it has no student\.json, student"):
        desk.send(foreign, store, run)

    sha256 = event["files"]["student.json"]
    store.write_bytes(f"{RUN}/{kept_as('student.json', sha256)}", b"{}")
    with pytest.raises(RefusedFileError, match="is damaged"):
        desk.send(event, store, run)

    assert desk.client.search_registered_models(f"name='{desk.name}'") == []


def test_what_mlflow_never_takes_is_refused_and_not_tried_again(desk: Desk, store: Store) -> None:
    event = told(store, "a/b")

    with pytest.raises(RefusedFileError, match="MLflow will not have the model 'a/b'"):
        desk.send(event, store, desk.run())


@pytest.mark.parametrize("page", [b"not json", b'{"emotions": ["anger"]}', b"[]"])
def test_a_student_that_no_model_can_be_made_of_is_refused(
    desk: Desk, store: Store, page: bytes
) -> None:
    event = told(store, desk.name, files=FILES | {"student.json": page})

    with pytest.raises(RefusedFileError, match="the model is no student"):
        desk.send(event, store, desk.run())


def test_a_tag_of_ours_that_somebody_rewrote_says_nothing(desk: Desk, store: Store) -> None:
    first, second = told(store, desk.name), told(store, desk.name, files=OTHERS, time=2000)
    run = desk.run()
    desk.send(first, store, run)
    desk.client.set_model_version_tag(desk.name, "1", "understudy.alias.best", "mine")

    desk.send(second, store, run)
    assert desk.holder(desk.name) == "2"

    desk.send(first | {"time": 3000}, store, run)
    assert desk.holder(desk.name) == "1"


def test_a_store_out_of_reach_is_the_stores_own_error(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> bytes:
        raise StoreError("no network")

    event = told(store, desk.name)
    monkeypatch.setattr(store, "read_bytes", unreachable)

    with pytest.raises(StoreError, match="no network"):
        desk.send(event, store, desk.run())


def test_a_long_tag_is_cut_and_not_refused(desk: Desk, store: Store) -> None:
    event = told(store, desk.name) | {"tags": {"told": "x" * 9000}}

    desk.send(event, store, desk.run())

    (version,) = desk.versions(desk.name).values()
    assert version.tags["told"] == "x" * 5000


def test_a_journals_model_reaches_the_registry(
    mlflow_uri: str,
    store: Store,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SPOOL_VARIABLE, str(tmp_path / "spool"))
    name = request.node.name
    journal = Journal(store, prefix="journal/demo/sweep", key="trial7")
    journal.start("trial 7")
    journal.model(name, FILES, alias="best", tags={"trial": 7})
    journal.end()
    writer = Writer(mlflow_uri, name)
    writer.initialise()

    writer.replay(store, "journal/demo/sweep")

    assert writer.refused == {}
    version = MlflowClient(mlflow_uri, mlflow_uri).get_model_version_by_alias(name, "best")
    assert version.tags["trial"] == "7"

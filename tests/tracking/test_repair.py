"""MLflow brought back to what the journals say, on a real database."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from orchestrator.errors import InputError, StoreError
from orchestrator.store import Store
from orchestrator.store.use import using
from orchestrator.tracking.repair import Repaired, experiments_of, repair
from orchestrator.tracking.writer import Writer
from tests.store.stores import far, made_ago, near
from tests.tracking.journals import Written

MINUTE = 60.0


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """This test's own experiment."""
    return str(request.node.name).removeprefix("test_")[:60]


@pytest.fixture
def runs(mlflow_uri: str, name: str) -> dict[str, Run]:
    """What MLflow has of the test's experiment, by key; looked up anew at each use."""

    class Looked(dict[str, Run]):
        def __missing__(self, key: str) -> Run:
            client = MlflowClient(mlflow_uri)
            found = client.get_experiment_by_name(name)
            assert found is not None
            for run in client.search_runs([found.experiment_id], run_view_type=ViewType.ALL):
                if run.data.tags["understudy.key"] == key:
                    return run
            raise KeyError(key)

    return Looked()


def killed_sweep(store: Store, name: str, *, root: str = "sweep") -> None:
    """Four runs of a sweep that was killed: the top, a trial, a fold run that ended and one not."""
    Written(store, f"{name}/{root}/top-{root}").start(f"{root} {name}")
    Written(store, f"{name}/{root}/trial-{root}").start("trial 0", parent=f"top-{root}")
    for key in ("ended", "cut"):
        run = Written(store, f"{name}/{root}/{key}-{root}")
        run.start(key, parent=f"trial-{root}")
        run.metrics(1, loss=0.5)
        run.metrics(2, loss=0.25)
        if key == "ended":
            run.end()


def sent_as_far(store: Store, uri: str, name: str, *, but: str) -> None:
    """MLflow has heard all but the last segment of one run."""
    writer = Writer(uri, name)
    writer.initialise()
    last = max(one for one in store.list("journal") if f"/{but}/" in one)
    text = store.read_bytes(last)
    (store.folder / last).unlink()
    writer.replay(store, f"journal/{name}/sweep")
    store.write_bytes(last, text)


def test_what_a_killed_sweep_left_is_sent_and_ended_once(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)
    sent_as_far(store, mlflow_uri, name, but="ended-sweep")
    assert runs["ended-sweep"].info.status == "RUNNING"

    first = repair(store, mlflow_uri, name)
    again = repair(store, mlflow_uri, name)

    assert first == Repaired(name, missing=1, sent=1, closed=3)
    assert again == Repaired(name)
    assert runs["ended-sweep"].info.status == "FINISHED"
    for key in ("top-sweep", "trial-sweep", "cut-sweep"):
        assert runs[key].info.status == "KILLED"
        assert "without a word" in runs[key].data.tags["understudy.reason"]
    assert runs["cut-sweep"].data.metrics == {"loss": 0.25}
    assert runs["trial-sweep"].data.tags["mlflow.parentRunId"] == runs["top-sweep"].info.run_id


def test_a_dry_run_says_the_same_and_does_nothing(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)
    sent_as_far(store, mlflow_uri, name, but="ended-sweep")

    would = repair(store, mlflow_uri, name, dry_run=True)

    assert would == Repaired(name, missing=1, closed=3)
    assert runs["ended-sweep"].info.status == runs["top-sweep"].info.status == "RUNNING"


def test_a_dry_run_makes_no_database_and_knows_what_one_would_get(tmp_path: Path) -> None:
    store = near(tmp_path)
    killed_sweep(store, "demo")

    would = repair(store, f"sqlite:///{tmp_path}/runs.db", "demo", dry_run=True)

    assert would == Repaired("demo", missing=9, closed=3)
    assert not (tmp_path / "runs.db").exists()


def test_every_command_of_the_experiment_is_mended_but_those_at_work(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    store = near(tmp_path)
    for root in ("sweep", "evaluation-0a", "evaluation-0b"):
        killed_sweep(store, name, root=root)

    with (
        using(store, command=f"the evaluation {name!r}"),
        using(store, command="the sweep 'another'", alone_as="sweep-another"),
    ):
        found = repair(store, mlflow_uri, name)

    assert (found.sent, found.closed) == (9, 3)
    assert list(found.at_work) == ["evaluation-0a", "evaluation-0b"]
    assert f"the evaluation {name!r} (process " in found.at_work["evaluation-0a"]
    assert runs["top-sweep"].info.status == "KILLED"
    with pytest.raises(KeyError):
        runs["top-evaluation-0a"]
    assert repair(store, mlflow_uri, name).closed == 6


def test_a_command_that_begins_meanwhile_keeps_its_runs(
    tmp_path: Path, mlflow_uri: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)
    asked: list[Store] = []

    def running(store: Store) -> tuple[str, ...]:
        asked.append(store)
        return () if len(asked) == 1 else (f"the sweep {name!r} (process 7 on here)",)

    monkeypatch.setattr("orchestrator.tracking.repair.running", running)

    found = repair(store, mlflow_uri, name)

    assert (found.sent, found.closed) == (9, 0)
    assert list(found.at_work) == ["sweep"]


def test_where_no_lock_tells_a_command_counts_as_ended_when_it_has_been_silent(
    tmp_path: Path, mlflow_uri: str, name: str
) -> None:
    store = far(tmp_path)
    killed_sweep(store, name)

    made_ago(tmp_path / "bucket", 29 * MINUTE)
    young = repair(store, mlflow_uri, name)
    shorter = repair(store, mlflow_uri, name, minutes=40.0, dry_run=True)
    made_ago(tmp_path / "bucket", 31 * MINUTE)
    old = repair(store, mlflow_uri, name)

    assert (young.missing, young.closed) == (0, 0)
    assert young.at_work["sweep"].startswith("said something 29 min ago")
    assert list(shorter.at_work) == ["sweep"]
    assert (old.sent, old.closed, old.at_work) == (9, 3, {})


def test_a_folder_s_locks_tell_so_that_no_silence_is_needed_unless_asked_for(
    tmp_path: Path, mlflow_uri: str, name: str
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)

    asked = repair(store, mlflow_uri, name, minutes=5.0, dry_run=True)
    found = repair(store, mlflow_uri, name, dry_run=True)

    assert (list(asked.at_work), asked.closed) == (["sweep"], 0)
    assert (list(found.at_work), found.closed) == ([], 3)


def test_runs_of_another_store_are_counted_and_ended_only_when_asked(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    theirs, ours = Store(tmp_path / "theirs"), near(tmp_path)
    killed_sweep(theirs, name, root="evaluation-0a")
    writer = Writer(mlflow_uri, name)
    writer.initialise()
    writer.replay(theirs, f"journal/{name}/evaluation-0a")
    ended = Written(ours, f"{name}/sweep/mine")
    ended.start("mine")
    ended.end()

    found = repair(ours, mlflow_uri, name)
    would = repair(ours, mlflow_uri, name, unknown=True, dry_run=True)

    assert (found.sent, found.closed, found.unknown) == (2, 0, 3)
    assert (would.closed, would.unknown) == (3, 0)
    assert runs["top-evaluation-0a"].info.status == "RUNNING"
    assert repair(ours, mlflow_uri, name, unknown=True).closed == 3
    assert runs["top-evaluation-0a"].info.status == "KILLED"


def test_a_run_deleted_in_the_dashboard_stays_so(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    store = near(tmp_path)
    run = Written(store, f"{name}/sweep/gone")
    run.start("gone")
    repair(store, mlflow_uri, name)
    MlflowClient(mlflow_uri).delete_run(runs["gone"].info.run_id)
    run.metrics(1, loss=0.5)

    found = repair(store, mlflow_uri, name)

    assert found == Repaired(name)
    assert runs["gone"].info.lifecycle_stage == "deleted"


def test_a_segment_that_is_damaged_is_named_and_the_others_are_sent(
    tmp_path: Path, mlflow_uri: str, name: str, runs: dict[str, Run]
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)
    damaged = min(one for one in store.list("journal") if "/cut-sweep/000002" in one)
    store.write_bytes(damaged, b"{half a line")

    found = repair(store, mlflow_uri, name)

    assert list(found.refused) == [damaged]
    assert (found.missing, found.sent, found.waiting, found.closed) == (9, 8, 0, 3)
    assert runs["cut-sweep"].data.metrics == {"loss": 0.25}


def test_an_outage_on_the_way_is_said_and_ends_no_run(
    tmp_path: Path, mlflow_uri: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)

    def fail(*_: object) -> int:
        raise ConnectionError("http://me:secret@host:5000 is gone")

    monkeypatch.setattr(Writer, "replay_journals", fail)

    found = repair(store, mlflow_uri, name)

    assert (found.missing, found.sent, found.waiting, found.closed) == (9, 0, 9, 0)
    assert "http://***@host:5000 is gone" in found.problem


def test_two_repairs_do_not_meet(tmp_path: Path, mlflow_uri: str, name: str) -> None:
    store = near(tmp_path)
    killed_sweep(store, name)

    with (
        using(store, command="a repair", alone_as=f"repair-{name}"),
        pytest.raises(StoreError, match="the repair of .* is already running on this store"),
    ):
        repair(store, mlflow_uri, name)


def test_an_experiment_without_journals_is_refused_with_the_nearest(tmp_path: Path) -> None:
    store = near(tmp_path)
    killed_sweep(store, "demo")

    with pytest.raises(InputError, match="no journal of an experiment 'dmo'; did you mean 'demo'"):
        repair(store, f"sqlite:///{tmp_path}/runs.db", "dmo")

    assert not (tmp_path / "runs.db").exists()
    assert experiments_of(store) == ("demo",)
    assert experiments_of(Store(tmp_path / "empty")) == ()

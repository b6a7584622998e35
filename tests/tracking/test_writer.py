"""Replay into a real MLflow database: the same tree, however often and by whomever."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.writer import Writer

PREFIX = "journal/demo/sweep"


@pytest.fixture
def writer(mlflow_uri: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], Writer]]:
    """Makes writers of this test's own experiment."""

    def make() -> Writer:
        made = Writer(mlflow_uri, request.node.name)
        made.initialise()
        return made

    return make


def _runs(writer: Writer) -> list[Any]:
    experiment = writer._mlflow.get_experiment_by_name(writer.experiment)
    assert experiment is not None
    return sorted(
        writer._mlflow.search_runs([experiment.experiment_id]), key=lambda run: run.info.run_name
    )


def _tree(writer: Writer) -> list[Any]:
    """Everything that MLflow holds of an experiment, run ids included."""
    return [
        (
            run.info.run_id,
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.tags,
            run.data.params,
            {
                name: [
                    (point.step, point.timestamp, point.value)
                    for point in writer._mlflow.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            },
        )
        for run in _runs(writer)
    ]


def _write_sweep(store: Store) -> None:
    """A sweep, a trial of it, and two fold runs of that."""
    sweep = Journal(store, prefix=PREFIX, key="sweep")
    sweep.start("a sweep", params={"search": {"trials": 1}})
    trial = Journal(store, prefix=PREFIX, key="trial")
    trial.start("b trial", "sweep", params={"lr": 0.1})
    for fold in (1, 2):
        run = Journal(store, prefix=PREFIX, key=f"fold{fold}", interval=0.0)
        run.start(f"c fold {fold}", "trial", tags={"kind": "fold run"})
        for epoch in (1, 2, 3):
            run.metrics({"validation/macro_recall": epoch / 10 + fold}, step=epoch)
        run.end()
    trial.metrics({"validation/macro_recall": 1.8}, step=2)
    trial.end()
    sweep.end()


def test_a_sweep_replayed_twice_and_by_a_new_writer_is_one_tree(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    _write_sweep(store)
    first = writer()

    assert first.pending(store, PREFIX) == 14
    assert first.replay(store, PREFIX) == 14
    tree = _tree(first)

    assert first.pending(store, PREFIX) == 0
    assert first.replay(store, PREFIX) == 0
    assert _tree(first) == tree
    again = writer()
    assert again.replay(store, PREFIX) == 14
    assert _tree(again) == tree

    sweep, trial, one, two = _runs(first)
    assert "mlflow.parentRunId" not in sweep.data.tags
    assert trial.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    assert one.data.tags["mlflow.parentRunId"] == trial.info.run_id
    assert two.data.tags["mlflow.parentRunId"] == trial.info.run_id
    assert sweep.data.params == {"search.trials": "1"}
    assert one.data.tags["kind"] == "fold run"
    assert {run.info.status for run in (sweep, trial, one, two)} == {"FINISHED"}
    history = first._mlflow.get_metric_history(one.info.run_id, "validation/macro_recall")
    assert [(point.step, point.value) for point in history] == [(1, 1.1), (2, 1.2), (3, 1.3)]


def test_a_writer_that_died_before_its_last_tag_duplicates_nothing(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _write_sweep(store)
    # As if every run had died between its points and the tag that says they are held.
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.record.SEGMENT_TAG", "elsewhere")
        dead = writer()
        dead.replay(store, PREFIX)
    tree = _tree(dead)

    alive = writer()
    alive.replay(store, PREFIX)

    def without_marks(tree: list[Any]) -> list[Any]:
        marks = {"elsewhere", "understudy.segment"}
        return [
            (*run[:5], {k: v for k, v in run[5].items() if k not in marks}, *run[6:])
            for run in tree
        ]

    assert without_marks(_tree(alive)) == without_marks(tree)


def test_a_run_taken_up_again_goes_on_in_its_record(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    cut_short = Journal(store, prefix=PREFIX, key="fold1", interval=0.0)
    cut_short.start("fold", params={"lr": 0.1})
    cut_short.metrics({"loss": 0.9, "nan": math.nan}, step=1)
    first = writer()
    first.replay(store, PREFIX)
    assert first.close_open_runs({"another"}) == 0
    assert first.close_open_runs({"fold1"}) == 1
    (run,) = _runs(first)
    assert run.info.status == "KILLED"
    assert "without a word" in run.data.tags["understudy.reason"]

    again = Journal(store, prefix=PREFIX, key="fold1", interval=0.0)
    again.start("fold", params={"lr": 0.1, "epochs": 2})
    second = writer()
    second.replay(store, PREFIX)
    (run,) = _runs(second)
    assert run.info.status == "RUNNING"

    again.metrics({"loss": 0.9, "nan": math.nan}, step=1)
    again.metrics({"loss": 0.8}, step=2)
    again.end()
    second.replay(store, PREFIX)
    (run,) = _runs(second)
    assert run.info.status == "FINISHED"
    assert run.data.tags["understudy.reason"] == ""
    assert run.data.params == {"lr": "0.1", "epochs": "2"}
    history = second._mlflow.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.9), (2, 0.8)]
    assert len(second._mlflow.get_metric_history(run.info.run_id, "nan")) == 1


def test_a_new_writer_does_not_reopen_what_was_closed(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    Journal(store, prefix=PREFIX, key="fold1").start("fold")
    first = writer()
    first.replay(store, PREFIX)
    first.close_open_runs()

    second = writer()
    second.replay(store, PREFIX)

    assert [run.info.status for run in _runs(second)] == ["KILLED"]


def test_children_seen_before_their_parent_are_put_under_it(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    Journal(store, prefix=PREFIX, key="child1").start("b", "parent")
    Journal(store, prefix=PREFIX, key="child2").start("c", "parent")
    first = writer()
    first.replay(store, PREFIX)
    assert "mlflow.parentRunId" not in _runs(first)[0].data.tags

    # The writer is restarted before the parent is heard of.
    Journal(store, prefix=PREFIX, key="parent").start("a")
    second = writer()
    second.replay(store, PREFIX)

    parent, *children = _runs(second)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


def test_what_cannot_be_replayed_is_set_aside_by_name_and_the_rest_goes_on(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix=PREFIX, key="fold1")
    journal.start("fold")
    broken = f"{PREFIX}/fold1/000002-00000000.jsonl"
    store.write_bytes(broken, b"not json\n")
    store.write_bytes(f"{PREFIX}/fold1/notes.txt", b"not a segment")
    journal._next = 3
    journal.end()
    made = writer()
    made.replay(store, PREFIX)

    assert list(made.refused) == [broken]
    assert made.pending(store, PREFIX) == 0
    assert [run.info.status for run in _runs(made)] == ["FINISHED"]


def test_a_run_deleted_in_the_dashboard_stays_deleted(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix=PREFIX, key="fold1")
    journal.start("fold")
    first = writer()
    first.replay(store, PREFIX)
    first._mlflow.delete_run(_runs(first)[0].info.run_id)

    journal.end()
    second = writer()
    second.replay(store, PREFIX)

    assert _runs(second) == []
    assert second.refused == {}


def test_a_database_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = Writer(f"sqlite:///{tmp_path / 'file' / 'runs.db'}", "demo")

    with pytest.raises(UnderstudyError, match=r"tracking\.uri: MLflow cannot use .*file/runs\.db"):
        writer.initialise()


def test_a_server_that_is_not_there_is_an_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    writer = Writer("http://me:secret@127.0.0.1:9", "demo")

    with pytest.raises(UnderstudyError, match="check that the server runs") as caught:
        writer.initialise()

    assert "secret" not in str(caught.value)


def test_a_writer_that_was_not_initialised_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    Journal(store, prefix=PREFIX, key="fold1").start("fold")

    with pytest.raises(UnderstudyError, match="was not initialised"):
        Writer("sqlite:///never.db", "demo").replay(store, PREFIX)

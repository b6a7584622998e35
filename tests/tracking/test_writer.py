"""Replay into a real MLflow database: the same tree, however often and by whomever."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.errors import StoreError, UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking import runs
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.record import CHANGED_TAG, REASON_TAG, SEGMENT_TAG
from orchestrator.tracking.writer import Writer, journals
from tests.tracking.journals import Written

PREFIX = "journal/demo/sweep"


@pytest.fixture
def writer(mlflow_uri: str, request: pytest.FixtureRequest) -> Callable[[], Writer]:
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


def _started(store: Store, key: str, name: str, parent: str | None = None) -> Journal:
    """A journal that the store has the beginning of."""
    journal = Journal(store, prefix=PREFIX, key=key, interval=0.0)
    journal.start(name, parent)
    journal.flush()
    return journal


def _write_sweep(store: Store) -> None:
    """A sweep, a trial of it, and two fold runs of that."""
    sweep = Journal(store, prefix=PREFIX, key="sweep")
    sweep.start("a sweep", params={"search": {"trials": 1}})
    trial = Journal(store, prefix=PREFIX, key="trial")
    trial.start("b trial", "sweep", params={"lr": 0.1})
    trial.flush()
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
        patch.setattr("orchestrator.tracking.writer.SEGMENT_TAG", "elsewhere")
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
    cut_short.flush()
    first = writer()
    first.replay(store, PREFIX)
    assert first.close_open_runs({"another"}) == 0
    assert first.close_open_runs({"fold1"}) == 1
    (run,) = _runs(first)
    assert run.info.status == "KILLED"
    assert "without a word" in run.data.tags["understudy.reason"]

    again = Journal(store, prefix=PREFIX, key="fold1", interval=0.0)
    again.start("fold", params={"lr": 0.1, "epochs": 2})
    again.flush()
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
    _started(store, "fold1", "fold")
    first = writer()
    first.replay(store, PREFIX)
    first.close_open_runs()

    second = writer()
    second.replay(store, PREFIX)

    assert [run.info.status for run in _runs(second)] == ["KILLED"]


def test_the_end_of_a_closed_run_that_reaches_the_store_late_counts(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    run = Written(store, "demo/sweep/fold1")
    run.start("fold")
    made = writer()
    made.replay(store, PREFIX)
    assert made.close_open_runs({"fold1"}) == 1
    store.write_bytes(f"{PREFIX}/fold1/000000-00000000.jsonl", b"")
    made.replay(store, PREFIX)
    assert [run.info.status for run in _runs(made)] == ["KILLED"]

    # before it was closed, by its time, on a machine that nobody heard of
    run.end()
    made.replay(store, PREFIX)
    (held,) = _runs(made)
    assert (held.info.status, held.data.tags[REASON_TAG]) == ("FINISHED", "")


def test_children_seen_before_their_parent_are_put_under_it(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    _started(store, "child1", "b", "parent")
    _started(store, "child2", "c", "parent")
    first = writer()
    first.replay(store, PREFIX)
    assert "mlflow.parentRunId" not in _runs(first)[0].data.tags

    # The writer is restarted before the parent is heard of.
    _started(store, "parent", "a")
    second = writer()
    second.replay(store, PREFIX)

    parent, *children = _runs(second)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


def test_what_cannot_be_replayed_is_set_aside_by_name_and_the_rest_goes_on(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    _started(store, "fold1", "fold")
    broken = f"{PREFIX}/fold1/000002-00000000.jsonl"
    store.write_bytes(broken, b"not json\n")
    store.write_bytes(f"{PREFIX}/fold1/notes.txt", b"not a segment")
    Journal(store, prefix=PREFIX, key="fold1").end()
    made = writer()
    made.replay(store, PREFIX)

    assert list(made.refused) == [broken]
    assert made.pending(store, PREFIX) == 0
    assert [run.info.status for run in _runs(made)] == ["FINISHED"]


def test_a_run_deleted_in_the_dashboard_stays_deleted(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    journal = _started(store, "fold1", "fold")
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


def test_a_writer_that_was_not_initialised_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _started(store, "fold1", "fold")

    with pytest.raises(UnderstudyError, match="was not initialised"):
        Writer("sqlite:///never.db", "demo").replay(store, PREFIX)


def test_a_segment_that_comes_late_with_a_lower_number_is_replayed_and_doubles_nothing(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    """A machine that was thought dead ships what it had when another has gone on with its run."""
    store = Store(tmp_path)
    key = {"key": "fold1", "time": 5}
    late = [
        {**key, "event": "start", "name": "fold", "parent": None, "params": {}, "tags": {}},
        {**key, "event": "metrics", "step": 1, "values": {"loss": 0.9, "only": 7.0}},
    ]
    again = [{**one, "time": 9} for one in late[:1]] + [
        {**key, "event": "metrics", "time": 9, "step": 1, "values": {"loss": 0.9}},
        {**key, "event": "end", "time": 9, "status": "FINISHED", "reason": ""},
    ]

    def write(name: str, events: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(event) + "\n" for event in events)
        store.write_bytes(f"{PREFIX}/fold1/{name}.jsonl", text.encode())

    write("000002-bbbbbbbb", again)
    first = writer()
    assert first.replay(store, PREFIX) == 1
    write("000001-aaaaaaaa", late)
    for made in (first, writer()):
        made.replay(store, PREFIX)

        (run,) = _runs(made)
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"loss": 0.9, "only": 7.0}
        assert len(made._mlflow.get_metric_history(run.info.run_id, "loss")) == 1


def test_a_beginning_that_reaches_the_store_after_the_end_of_another_attempt_changes_nothing(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    run = Written(store, "demo/sweep/fold1")
    killed = {"event": "start", "time": 5, "name": "fold", "parent": None, "tags": {}}
    run.segment(killed | {"time": 6, "params": {"lr": "0.1"}})
    run.segment({"event": "end", "time": 9, "status": "FINISHED", "reason": ""})
    first = writer()
    first.replay(store, PREFIX)
    run.segment(killed | {"params": {"lr": "0.2"}})
    run.segment({"event": "end", "time": 8, "status": "FAILED", "reason": "no memory"})

    # before and after, by who knows the run and by who does not
    for made in (first, writer()):
        made.replay(store, PREFIX)
        assert made.close_open_runs({"fold1"}) == 0
        (held,) = _runs(made)
        assert (held.info.status, held.info.end_time) == ("FINISHED", 9)
        assert held.data.params == {"lr": "0.1"}
        assert not {REASON_TAG, CHANGED_TAG} & held.data.tags.keys()

    run.segment(killed | {"time": 10, "params": {"lr": "0.1"}})
    first.replay(store, PREFIX)
    assert [run.info.status for run in _runs(first)] == ["RUNNING"]


def test_one_segment_that_is_refused_takes_none_with_it_that_were_read_together(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    run = Written(store, "demo/sweep/fold1")
    run.start("fold")
    run.metrics(1, loss=0.5)
    bad = run.metrics(2, loss="much")  # type: ignore[arg-type]
    run.metrics(3, loss=0.25)
    run.end()
    made = writer()
    made.replay(store, PREFIX)

    assert list(made.refused) == [bad]
    (held,) = _runs(made)
    history = made._mlflow.get_metric_history(held.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (3, 0.25)]
    assert held.info.status == "FINISHED"
    assert held.data.tags[SEGMENT_TAG].endswith(" #5")


def test_what_mlflow_took_of_a_refused_batch_is_not_doubled(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    run = Written(store, "demo/sweep/fold1")
    run.start("fold")
    run.metrics(1, loss=0.5)
    run.metrics(2, loss=0.25)
    log_batch = MlflowClient.log_batch

    def picky(self: MlflowClient, run_id: str, metrics: Any = (), *rest: Any, **more: Any) -> None:
        log_batch(self, run_id, metrics, *rest, **more)
        if any(metric.step == 2 for metric in metrics):
            raise MlflowException.invalid_parameter_value("something that came after the points")

    made = writer()
    monkeypatch.setattr(MlflowClient, "log_batch", picky)
    made.replay(store, PREFIX)

    assert made.refused == {}
    history = made._mlflow.get_metric_history(_runs(made)[0].info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]


def test_a_refused_last_segment_is_not_read_by_every_new_writer(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    run = Written(store, "demo/sweep/fold1")
    run.start("fold")
    made = writer()
    made.replay(store, PREFIX)
    for content in ({"event": "start"}, {"event": "artifact"}):
        bad = run.segment(content)  # the one without tags, the other without a file
        made.replay(store, PREFIX)
        assert list(made.refused)[-1] == bad

        assert _runs(made)[0].data.tags[SEGMENT_TAG].startswith(bad.rpartition("/")[2])


def test_an_experiment_that_is_deleted_meanwhile_gets_all_once_it_is_restored(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    Written(store, "demo/sweep/a").start("a")
    made = writer()
    made.replay(store, PREFIX)
    made._mlflow.delete_experiment(made._experiment_id)
    Written(store, "demo/sweep/b").start("b")
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        made.replay(store, PREFIX)
    with pytest.raises(UnderstudyError, match="was deleted; restore it"):
        made.initialise()
    assert (made.pending(store, PREFIX), made.refused) == (1, {})

    made._mlflow.restore_experiment(made._experiment_id)
    made.initialise()
    made.replay(store, PREFIX)
    assert [run.info.run_name for run in _runs(made)] == ["a", "b"]


def test_a_journal_that_cannot_be_read_keeps_no_other_waiting(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    Written(store, "demo/sweep/parent").start("parent")
    for key in ("a", "b"):
        Written(store, f"demo/sweep/{key}").start(key, parent="parent")
    made = writer()
    read_bytes = store.read_bytes

    def damaged(name: str) -> bytes:
        if "/a/" in name:
            raise StoreError("input/output error")
        return read_bytes(name)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_bytes", damaged)
        with pytest.raises(StoreError, match="input/output error"):
            made.replay(store, PREFIX)
    child, parent = _runs(made)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert made.waiting(journals(store, PREFIX)) == {"a": 1}

    made.replay(store, PREFIX)
    assert len(_runs(made)) == 3


def test_another_store_with_a_run_of_the_same_key_is_not_held_to_be_replayed(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    for folder, value in (("first", 0.5), ("second", 0.25)):
        store = Store(tmp_path / folder)
        journal = Journal(store, prefix=PREFIX, key="fold1")
        journal.metrics({"loss": value}, step=1)
        journal.end()
        made = writer()
        made.replay(store, PREFIX)

    (run,) = _runs(made)
    assert run.data.metrics == {"loss": 0.25}


def test_steps_that_are_told_twice_reach_mlflow_once_also_after_the_run_was_let_go(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    made = writer()
    for _ in range(2):
        journal = _started(store, "fold1", "fold")
        for step in (1, 2):
            journal.metrics({"loss": 1.0 / step, "big": math.inf}, step=step)
        journal.end()
        made.replay(store, PREFIX)

    (run,) = _runs(made)
    for name in ("loss", "big"):
        history = made._mlflow.get_metric_history(run.info.run_id, name)
        assert [point.step for point in history] == [1, 2]
    assert made._runs._records == {}


def test_one_run_that_mlflow_fails_at_keeps_no_other_waiting(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for key in ("a", "b", "c"):
        _started(store, key, key)
    made = writer()
    made.replay(store, PREFIX)
    poisoned = next(run.info.run_id for run in _runs(made) if run.info.run_name == "b")
    for key in ("a", "b", "c"):
        Journal(store, prefix=PREFIX, key=key).end()
    log_batch = MlflowClient.log_batch

    def fails(self: MlflowClient, run_id: str, *rest: Any, **more: Any) -> None:
        if run_id == poisoned:
            raise MlflowException("a bug of MLflow's")
        log_batch(self, run_id, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fails)
        with pytest.raises(MlflowException, match="a bug of MLflow's"):
            made.replay(store, PREFIX)
    assert made.pending(store, PREFIX) == 1
    assert [run.info.run_name for run in _runs(made) if run.info.status == "FINISHED"] == [
        "a",
        "b",  # its last points wait, its end was told before
        "c",
    ]
    made.initialise()
    made.replay(store, PREFIX)
    assert made.pending(store, PREFIX) == 0


def test_a_run_that_was_made_though_the_answer_was_lost_is_not_made_again(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    _started(store, "fold1", "fold")
    create_run = MlflowClient.create_run

    def lost(self: MlflowClient, *rest: Any, **more: Any) -> None:
        create_run(self, *rest, **more)
        raise MlflowException("API request failed: connection reset")

    made = writer()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lost)
        with pytest.raises(MlflowException, match="connection reset"):
            made.replay(store, PREFIX)
    made.initialise()
    made.replay(store, PREFIX)

    assert len(_runs(made)) == 1


def test_a_run_that_was_made_twice_is_deleted_once_at_the_end(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server carries out a request that was given up after the writer has looked again."""
    store = Store(tmp_path)
    _started(store, "fold1", "fold")
    create_run = MlflowClient.create_run
    given_up: list[Any] = []

    def late(self: MlflowClient, *rest: Any, **more: Any) -> None:
        given_up.append(lambda: create_run(self, *rest, **more))
        raise MlflowException("API request failed: timed out")

    made = writer()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", late)
        with pytest.raises(MlflowException, match="timed out"):
            made.replay(store, PREFIX)
    made.initialise()
    made.replay(store, PREFIX)
    (kept,) = _runs(made)
    given_up[0]()
    assert len(_runs(made)) == 2

    assert made.close_open_runs({"fold1"}) == 1
    assert [(run.info.run_id, run.info.status) for run in _runs(made)] == [
        (kept.info.run_id, "KILLED")
    ]


def test_runs_are_looked_up_page_by_page_and_a_run_on_two_pages_is_no_double(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for key in ("a", "b", "c"):
        _started(store, key, key)
    writer().replay(store, PREFIX)
    monkeypatch.setattr("orchestrator.tracking.runs._PAGE", 2)
    pages = runs.read_pages
    monkeypatch.setattr(runs, "read_pages", lambda *told: 2 * list(pages(*told)))

    made = writer()
    made.replay(store, PREFIX)

    assert {key for key in "abc" if made._runs.find(key)} == {"a", "b", "c"}
    assert len(_runs(made)) == 3


def test_what_a_run_used_is_led_to_also_when_it_comes_later_or_is_another_commands(
    tmp_path: Path, writer: Callable[[], Writer]
) -> None:
    store = Store(tmp_path)
    student = _started(store, "a-student", "student")
    student.link("teacher", "b-teacher")
    student.link("teacher", "elsewhere")
    student.end()
    first = writer()
    first.replay(store, PREFIX)
    assert "understudy.teacher" not in _runs(first)[0].data.tags

    _started(store, "b-teacher", "teacher [1]").end()
    second = writer()
    second.replay(store, PREFIX)
    run, teacher = _runs(second)
    assert run.data.tags["understudy.teacher"] == teacher.info.run_id
    place = f"#/experiments/{run.info.experiment_id}/runs"
    link = f"Teacher: [teacher 1]({place}/{teacher.info.run_id})"
    assert run.data.tags["mlflow.note.content"] == link

    Journal(store, prefix="journal/demo/other", key="elsewhere").end()
    another = writer()
    another.replay(store, "journal/demo/other")
    second.close_open_runs(set())

    other, run, teacher = _runs(second)
    assert run.data.tags["understudy.teacher"] == f"{teacher.info.run_id} {other.info.run_id}"
    assert run.data.tags["mlflow.note.content"] == (
        f"{link}, [elsewhere]({place}/{other.info.run_id})"
    )


def test_a_long_param_is_kept_whole_as_a_file_and_datasets_are_listed(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix=PREFIX, key="fold1")
    journal.start("fold", params={"space": "x" * 6001, "uri": "http://me:secret@host", "a": "b\0"})
    journal.tag({"lang": "de"})
    journal.dataset(name="emodb", digest="d" * 32, source="emodb", profile="{}", context="corpus")
    journal.end()
    made = writer()
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.writer.SEGMENT_TAG", "elsewhere")
        made.replay(store, PREFIX)
    made = writer()
    made.replay(store, PREFIX)

    (run,) = _runs(made)
    assert run.data.params == {"space": "x" * 6000, "uri": "http://***@host", "a": "b\ufffd"}
    assert run.data.tags["understudy.cut_params"] == "space"
    assert run.data.tags["lang"] == "de"
    (file,) = Path(run.info.artifact_uri).iterdir()
    assert (file.name, json.loads(file.read_text())) == (
        "long_parameters.json",
        {"space": "x" * 6001},
    )
    inputs = made._mlflow.get_run(run.info.run_id).inputs
    assert inputs is not None
    (used,) = inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("emodb", "d" * 32)
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "corpus")]


def test_a_long_journal_is_read_piece_by_piece(
    tmp_path: Path, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    journal = Journal(store, prefix=PREFIX, key="fold1", interval=0.0)
    journal.start("fold")
    for step in range(1, 6):
        journal.metrics({"loss": 1.0 / step}, step=step)
    journal.end()
    monkeypatch.setattr("orchestrator.tracking.writer._BYTES_AT_ONCE", 1)
    made = writer()
    made.replay(store, PREFIX)

    (run,) = _runs(made)
    history = made._mlflow.get_metric_history(run.info.run_id, "loss")
    assert [point.value for point in history] == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert run.data.tags["understudy.segment"].endswith(" #7")
    assert run.info.status == "FINISHED"

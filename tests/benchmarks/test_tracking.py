"""The benchmark of tracking counts what MLflow lacks and what it holds twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks.tracking import Point, Tailing, _compared, main
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.writer import Writer


def told(store: Store, key: str) -> dict[Point, str]:
    """Two measurements at each of three steps, and what they are."""
    journal = Journal(store, prefix="journal/tracking/first", key=key)
    journal.start(key)
    for step in range(3):
        journal.metrics({"a": step / 2, "b": float("nan") if step else 1.0}, step=step)
    journal.end()
    a = {(key, "a", step): value for step, value in enumerate(["0.0", "0.5", "1.0"])}
    b = {(key, "b", step): value for step, value in enumerate(["1.0", "nan", "nan"])}
    return {**a, **b}


def test_points_are_counted_that_are_lost_doubled_or_changed(
    tracking_database: Path, tmp_path: Path
) -> None:
    shutil.copy(tracking_database, tmp_path / "runs.db")
    store, uri = Store(tmp_path / "store"), f"sqlite:///{tmp_path / 'runs.db'}"
    points = told(store, "one")
    writer = Writer(uri, "demo")
    writer.initialise()
    writer.replay(store, "journal/tracking")
    tailed = Tailing(store.uri, uri, "demo", "journal/tracking", processes=0)
    assert _compared(points, tailed) == (0, 0)
    assert _compared({**points, ("one", "a", 2): "7.0"}, tailed) == (1, 0)
    assert _compared({**points, ("none", "a", 0): "0.0"}, tailed) == (1, 0)  # no journal has it

    points |= told(store, "two")  # which nobody has brought to MLflow
    assert _compared(points, tailed) == (6, 0)

    writer.replay(store, "journal/tracking")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    client.log_metric(run.info.run_id, "a", 0.5, timestamp=1, step=1)
    assert _compared(points, tailed) == (0, 1)


@pytest.mark.parametrize(
    "arguments", [["--points", "10"], ["--runs", "1"], ["--epoch-ms", "0"], ["--processes", "0"]]
)
def test_a_size_that_measures_nothing_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "give" in capsys.readouterr().err

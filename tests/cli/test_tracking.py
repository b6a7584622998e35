"""``understudy dashboard`` and ``understudy tracking``, as far as they are the command line's."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.store import Store
from orchestrator.tracking.repair import Repaired
from orchestrator.tracking.serving import WebServer
from tests import small
from tests.cli.said import Said
from tests.tracking.journals import Written

Understudy = Callable[..., Said]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the dashboard was asked to serve."""
    calls: list[dict[str, Any]] = []

    def run(uri: str, *, say: Callable[[str], None], **given: Any) -> int:
        calls.append({"uri": uri, **given})
        say("Dashboard: [it is there]")
        return 0

    monkeypatch.setattr("orchestrator.tracking.dashboard.run_dashboard", run)
    return calls


def test_the_dashboard_gets_the_tracking_uri_of_the_file(
    tmp_path: Path, understudy: Understudy, served: list[dict[str, Any]]
) -> None:
    said = understudy("dashboard", small.write(tmp_path), "--port", "5001")

    assert said == Said(0, "Dashboard: [it is there]\n", "")
    assert served == [
        {
            "uri": f"sqlite:///{tmp_path}/runs.db",
            "host": "127.0.0.1",
            "port": 5001,
            "experiment": "small",
            "beside": [],
        }
    ]


def test_the_dashboard_needs_no_corpus(
    tmp_path: Path, understudy: Understudy, served: list[dict[str, Any]]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ncorpora: [{kind: emodb, root: '${NOT_SET}'}]\n")

    said = understudy("dashboard", file)

    assert (said.code, served[0]["uri"]) == (0, "sqlite:///understudy.db")


def test_an_address_of_the_command_line_has_its_password_from_the_environment(
    understudy: Understudy, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNS_PASSWORD", "hidden")

    refused = understudy("dashboard", "--uri", "postgresql://me:hidden@db/runs")
    assert (refused.code, served) == (2, [])
    assert "--uri holds a password" in refused.err

    assert understudy("dashboard", "--uri", "postgresql://me:${RUNS_PASSWORD}@db/runs").code == 0
    assert (served[0]["uri"], served[0]["experiment"]) == ("postgresql://me:hidden@db/runs", None)


def test_the_study_is_served_one_port_up(
    tmp_path: Path,
    understudy: Understudy,
    served: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def server(experiment: object, *, host: str, port: int) -> WebServer:
        return WebServer("optuna-dashboard", [], {}, host, port)

    monkeypatch.setattr("orchestrator.sweep.study_server.study_server", server)

    said = understudy("dashboard", small.write(tmp_path), "--optuna", "--host", "gpu-box")

    assert said.code == 0
    assert [(one.host, one.port) for one in served[0]["beside"]] == [("gpu-box", 5001)]


def test_a_study_without_a_file_and_a_port_that_is_none_are_bad_input(
    understudy: Understudy, served: list[dict[str, Any]]
) -> None:
    assert "--optuna: give the experiment file" in understudy("dashboard", "--optuna").err
    assert understudy("dashboard", "--port", "65536").code == 2
    assert served == []


def database_of_mlflow(file: Path) -> None:
    """As much of one as is looked at before anything is done."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT)")


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked to be repaired; of ``small`` one segment has to wait."""
    calls: list[tuple[Any, ...]] = []

    def mend(store: Store, uri: str, name: str, **given: Any) -> Repaired:
        calls.append((store.uri, uri, name, given))
        if name != "small":
            return Repaired(name, missing=2, sent=2, closed=1)
        return Repaired(
            name,
            missing=3,
            sent=2,
            closed=4,
            at_work={"sweep": "the sweep 'small' (process 7 on here)"},
            unknown=5,
            refused={"a/segment": "half a line"},
            waiting=1,
            problem="the server is gone",
        )

    monkeypatch.setattr("orchestrator.tracking.repair.repair", mend)
    monkeypatch.setattr("orchestrator.tracking.repair.ship", lambda store: 6)
    return calls


def test_a_repair_says_what_it_did_and_ends_with_1_if_something_has_to_wait(
    tmp_path: Path, understudy: Understudy, mended: list[tuple[Any, ...]]
) -> None:
    file = small.write(tmp_path)
    Written(Store(tmp_path / "store"), "small/sweep/top").start("top")

    said = understudy("tracking", "repair", file, "--minutes", "5", "--unknown")

    given = {"minutes": 5.0, "unknown": True, "dry_run": False}
    assert mended == [(f"{tmp_path}/store", f"sqlite:///{tmp_path}/runs.db", "small", given)]
    assert said.code == 1
    assert said.out.splitlines() == [
        "6 journal segments of processes that were killed, shipped",
        "small: 2 journal segments sent to MLflow, 4 runs ended",
        "  left alone: sweep: the sweep 'small' (process 7 on here)",
        "  5 runs are RUNNING and have no journal in this store; if they are nobody's, end them "
        "with --unknown",
        "  refused: a/segment: half a line",
        "  1 segments have to wait: the server is gone; the same command goes on from here",
    ]


def test_a_repair_of_which_something_was_refused_ends_with_1(
    tmp_path: Path, understudy: Understudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = small.write(tmp_path)
    Written(Store(tmp_path / "store"), "small/sweep/top").start("top")
    refused = Repaired("small", missing=2, sent=1, refused={"a/segment": "half a line"})
    monkeypatch.setattr("orchestrator.tracking.repair.repair", lambda *_, **__: refused)

    said = understudy("tracking", "repair", file)

    assert said.code == 1
    assert "refused: a/segment: half a line" in said.out
    assert "have to wait" not in said.out


def test_what_was_done_is_there_for_a_program_too(
    tmp_path: Path, understudy: Understudy, mended: list[tuple[Any, ...]]
) -> None:
    file = small.write(tmp_path)
    Written(Store(tmp_path / "store"), "small/sweep/top").start("top")

    said = understudy("tracking", "repair", file, "--json")

    facts = json.loads(said.out)
    assert (facts["shipped"], facts["dry_run"]) == (6, False)
    assert (facts["experiment"], facts["closed"]) == ("small", 4)


def test_a_dry_run_ships_nothing_and_says_what_would_be(
    tmp_path: Path, understudy: Understudy, mended: list[tuple[Any, ...]]
) -> None:
    file = small.write(tmp_path)
    Written(Store(tmp_path / "store"), "small/sweep/top").start("top")

    said = understudy("tracking", "repair", file, "--dry-run")

    assert mended[0][3]["dry_run"]
    assert "shipped" not in said.out
    assert "small: 3 journal segments would be sent to MLflow, 4 runs would be ended" in said.out


def test_there_is_nothing_to_repair_without_a_store(tmp_path: Path, understudy: Understudy) -> None:
    said = understudy("tracking", "repair", small.write(tmp_path))

    assert said.code == 2
    assert f"the store {tmp_path}/store does not exist" in said.err


def test_an_export_says_how_many_rows_it_wrote(
    tmp_path: Path, understudy: Understudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def export(uri: str, name: str) -> pd.DataFrame:
        asked.append((uri, name))
        return pd.DataFrame({"fold": ["session=1", "session=2"]})

    monkeypatch.setattr("orchestrator.tracking.export.export_runs", export)
    file, target = small.write(tmp_path), tmp_path / "folds.csv"

    plain = understudy("tracking", "export", file, "tracking.uri=http://host:5000", "--to", target)
    as_json = understudy("tracking", "export", file, "--to", target, "--json")

    assert plain == Said(0, f"wrote {target}: 2 fold results\n", "")
    assert asked[0] == ("http://host:5000", "small")
    assert json.loads(as_json.out) == {"file": str(target), "rows": 2, "columns": ["fold"]}
    assert target.read_text() == "fold\nsession=1\nsession=2\n"


def test_an_export_of_nothing_writes_nothing(
    tmp_path: Path, understudy: Understudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.export.export_runs", lambda *_: pd.DataFrame())
    file, target = small.write(tmp_path), tmp_path / "folds.csv"

    said = understudy("tracking", "export", file, "--to", target)

    assert said.code == 2
    assert "small: MLflow has no fold results of it yet" in said.err
    assert not target.exists()
    wrong = understudy("tracking", "export", file, "--to", tmp_path / "folds.xlsx")
    assert (wrong.code, "end its name in .csv or .parquet" in wrong.err) == (2, True)

"""The dashboard's command, and what is looked at before it starts."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.tracking import dashboard
from orchestrator.tracking.dashboard import dashboard_command, dashboard_server, run_dashboard
from orchestrator.tracking.reading import NoRunsError
from orchestrator.tracking.serving import WebServer
from tests.tracking.ports import free_port


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database that looks like one of MLflow's, as far as the dashboard looks at it."""
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    return path


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture(autouse=True)
def _no_names_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"):
        monkeypatch.delenv(name, raising=False)


def test_the_dashboard_listens_on_this_machine_only_unless_told_otherwise() -> None:
    command = dashboard_command("sqlite:////data/runs.db")

    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert option(command, "--backend-store-uri") == "sqlite:////data/runs.db"
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--port") == "5000"
    assert "--allowed-hosts" not in command


def test_another_host_gets_through_the_host_check_with_its_port_and_without() -> None:
    command = dashboard_command("sqlite:////data/runs.db", host="gpu-box", port=8080)

    assert option(command, "--host") == "gpu-box"
    assert option(command, "--allowed-hosts") == "gpu-box,gpu-box:8080"
    # else the page's own requests, which are POSTs, would be refused
    assert option(command, "--cors-allowed-origins") == "http://gpu-box:8080"


def test_every_address_of_this_machine_lets_all_its_names_in() -> None:
    command = dashboard_command("sqlite:////data/runs.db", host="0.0.0.0", port=8080)

    allowed = option(command, "--allowed-hosts").split(",")
    assert {"localhost", "127.0.0.1:8080", "[::1]:8080"} <= set(allowed)
    assert {socket.gethostname(), f"{socket.gethostname()}:8080"} <= set(allowed)
    assert "0.0.0.0" not in allowed
    assert not any("*" in name for name in allowed)


def test_names_that_the_environment_gives_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "lab.example.org")
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "https://lab.example.org")

    command = dashboard_command("sqlite:////data/runs.db", host="0.0.0.0")

    assert "--allowed-hosts" not in command
    assert "--cors-allowed-origins" not in command


def test_a_password_is_not_on_the_command_line_but_in_the_environment() -> None:
    uri = "postgresql+psycopg://me:secret@db/runs"

    server = dashboard_server(uri)

    assert not any("secret" in word for word in server.command)
    assert server.environment["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_server_is_its_own_dashboard() -> None:
    with pytest.raises(InputError, match=r"http://\*\*\*@host:5000 is an MLflow server; open it"):
        dashboard_command("http://me:secret@host:5000")


def test_a_database_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NoRunsError, match="there is no database .* yet; run the sweep"):
        run_dashboard(f"sqlite:///{tmp_path / 'runs.db'}")

    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE studies (id INTEGER)")
    before = path.read_bytes()

    with pytest.raises(NoRunsError, match="study.db holds no runs of MLflow's"):
        run_dashboard(f"sqlite:///{path}")

    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("epoch,loss\n" * 200)

    with pytest.raises(UnderstudyError, match="no sqlite database"):
        run_dashboard(f"sqlite:///{path}")


def test_a_database_server_that_is_gone_is_said_to_be_gone_without_the_password() -> None:
    with pytest.raises(UnderstudyError, match="connection refused") as said:
        run_dashboard("postgresql+psycopg://me:secret@127.0.0.1:9/runs")

    assert "secret" not in str(said.value)


def test_a_taken_port_is_an_error_that_says_what_to_do(database: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(UnderstudyError, match=f"127.0.0.1:{port} .* another port with --port"):
            run_dashboard(f"sqlite:///{database}", port=port)


def test_the_address_is_said_when_it_answers_and_who_may_write_before(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    served: list[list[str]] = []

    def run(servers: list[WebServer], *, ready: object) -> int:
        served.append([server.name for server in servers])
        assert len(said) == 1  # the warning, and no address yet
        assert callable(ready)
        ready()
        return 3

    monkeypatch.setattr(dashboard, "run_servers", run)
    study = WebServer("optuna-dashboard", [], {}, "0.0.0.0", 8081)

    code = run_dashboard(
        f"sqlite:///{database}", host="0.0.0.0", port=8080, beside=[study], say=said.append
    )

    assert (code, served) == (3, [["MLflow", "optuna-dashboard"]])
    assert "whoever reaches 0.0.0.0" in said[0]
    assert "may change" in said[0]
    assert said[1:] == [
        "Dashboard: http://127.0.0.1:8080 (Ctrl-C ends it)",
        "optuna-dashboard: http://127.0.0.1:8081",
    ]


def status(port: int, host: str) -> int:
    """What MLflow answers a page of its own that asks for experiments under a name."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 5}',
        headers={"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_real_dashboard_answers_by_its_names_only_and_ends_with_its_command(
    mlflow_uri: str,
) -> None:
    from mlflow import MlflowClient

    MlflowClient(mlflow_uri).search_experiments()  # makes the database unless a test has
    port, name = free_port(), socket.gethostname()
    code = f"""if True:
        import functools, sys
        from orchestrator.tracking.dashboard import run_dashboard
        say = functools.partial(print, flush=True)
        sys.exit(run_dashboard({mlflow_uri!r}, host="0.0.0.0", port={port}, say=say))"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("Dashboard:"):
            lines.append(process.stdout.readline())

        assert lines[-1] == f"Dashboard: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
        answers = {
            host: status(port, f"{host}:{port}") for host in ("localhost", name, "other.org")
        }
        assert answers == {"localhost": 200, name: 200, "other.org": 403}
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode == 0
    deadline = time.monotonic() + 10
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)) == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert probe.connect_ex(("127.0.0.1", port)) != 0

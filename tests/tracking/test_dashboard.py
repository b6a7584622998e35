"""The dashboard's command."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.tracking.dashboard import dashboard_command, run_dashboard


def test_the_dashboard_listens_on_this_machine_only_unless_told_otherwise(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    database.touch()

    command = dashboard_command(f"sqlite:///{database}")

    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{database}"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5000"
    other = dashboard_command(f"sqlite:///{database}", host="0.0.0.0", port=8080)
    assert {"0.0.0.0", "8080"} <= set(other)


def test_a_password_is_not_on_the_command_line_but_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = "postgresql://me:secret@db/runs"
    seen: dict[str, Any] = {}

    class Server:
        def __init__(self, command: list[str], **options: Any) -> None:
            seen.update(command=command, **options)

        def wait(self) -> int:
            return 3

    monkeypatch.setattr(subprocess, "Popen", Server)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert run_dashboard(uri, port=port) == 3
    assert not any("secret" in word for word in seen["command"])
    assert seen["env"]["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_database_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no database .* yet; run the sweep"):
        dashboard_command(f"sqlite:///{tmp_path / 'runs.db'}")

    assert list(tmp_path.iterdir()) == []


def test_a_server_is_its_own_dashboard() -> None:
    with pytest.raises(InputError, match=r"http://\*\*\*@host:5000 is an MLflow server; open it"):
        dashboard_command("http://me:secret@host:5000")


def test_a_taken_port_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    database.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(UnderstudyError, match=f"127.0.0.1:{port} .* another port with --port"):
            run_dashboard(f"sqlite:///{database}", port=port)

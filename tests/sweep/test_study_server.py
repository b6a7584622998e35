"""optuna-dashboard on a study: what it needs, and whom it answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import wsgi

from orchestrator.errors import InputError
from orchestrator.sweep.storage import open_storage
from orchestrator.sweep.study_server import guarded, study_server
from tests import small


def asked(app: Callable[..., Iterable[bytes]], host: str, path: str = "/api/studies") -> str:
    """What an application answers: its status and how its text begins."""
    statuses: list[str] = []
    environment = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_HOST": host}
    text = b"".join(app(environment, lambda status, headers, *_: statuses.append(status)))
    return f"{statuses[0]} {text.decode()}"


def test_the_study_of_a_sweep_is_served_and_no_secret_is_on_the_command_line(
    tmp_path: Path,
) -> None:
    experiment = small.load(tmp_path)
    address = f"sqlite:///{tmp_path}/store/studies/small.study.db"
    (tmp_path / "store" / "studies").mkdir(parents=True)
    optuna.create_study(storage=open_storage(address), study_name="small")

    server = study_server(experiment, host="127.0.0.1", port=5001)

    assert server.address == "http://127.0.0.1:5001"
    assert server.environment["UNDERSTUDY_STUDY"] == address
    assert not any(str(tmp_path) in word for word in server.command)
    app = guarded(wsgi(open_storage(address)), host="127.0.0.1", port=5001)
    assert asked(app, "localhost:5001").startswith("200 OK")
    assert '"study_name": "small"' in asked(app, "localhost:5001")


def test_a_sweep_that_has_not_run_has_no_study_to_serve(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="there is no study in .*small.study.db yet; run the sweep"
    ):
        study_server(small.load(tmp_path), host="127.0.0.1", port=5001)

    assert not (tmp_path / "store" / "studies").exists()


def test_without_optuna_dashboard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(InputError, match=r"pip install 'understudy\[dashboard\]'"):
        study_server(small.load(tmp_path), host="127.0.0.1", port=5001)


@pytest.mark.parametrize(
    ("listening", "called", "let_in"),
    [
        ("127.0.0.1", "127.0.0.1:5001", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "evil.example:5001", False),
        ("127.0.0.1", "", False),
        ("gpu-box", "gpu-box:5001", True),
        ("gpu-box", "gpu-box:5002", False),
        ("0.0.0.0", "localhost:5001", True),
    ],
)
def test_only_who_calls_it_by_its_name_is_answered(
    listening: str, called: str, let_in: bool
) -> None:
    def app(environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [])
        return [b"the study"]

    answer = asked(guarded(app, host=listening, port=5001), called)

    assert answer.startswith("200" if let_in else "403")
    assert ("the study" in answer) == let_in

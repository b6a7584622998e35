"""A real MLflow server: not there yet, hanging, refusing; nothing is lost or doubled."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.service import Tail
from orchestrator.tracking.writer import Writer

PREFIX = "journal/demo/sweep"


class _Server:
    """An MLflow server that lets in who calls it localhost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://localhost:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'runs.db'}"]
        command += ["--artifacts-destination", str(self.folder / "files")]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--allowed-hosts", f"localhost:{self.port}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.2)
            else:
                return

    def signal(self, number: signal.Signals) -> None:
        """To all processes of the server, if it was started."""
        if self._process is not None:
            os.killpg(self._process.pid, number)
            if number == signal.SIGKILL:
                self._process.wait()


@pytest.fixture
def server(tmp_path: Path, tracking_database: Path) -> Iterator[_Server]:
    """A server that is not started yet."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(tracking_database, folder / "runs.db")
    made = _Server(folder)
    yield made
    made.signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_server_that_comes_late_and_hangs_gets_everything_once(
    server: _Server, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    tail = Tail(store.uri, server.uri, "late", PREFIX)
    journal = Journal(store, prefix=PREFIX, key="one")
    journal.start("run", params={"lr": 0.1})
    journal.metrics({"loss": 0.5}, step=1)
    journal.artifact("a.txt", b"file")
    journal.flush()
    pending = tail.flush(0.0)
    assert pending > 0
    assert "nobody listens there (connection refused); start the server" in tail.problem()

    server.start()
    assert tail.flush(60.0) == 0
    assert tail.problem() == ""
    journal.metrics({"loss": 0.25}, step=2)
    journal.end()
    other = Journal(store, prefix=PREFIX, key="two")
    other.start("another", "one")
    other.flush()
    server.signal(signal.SIGSTOP)
    threading.Timer(1.0, server.signal, [signal.SIGCONT]).start()
    assert tail.close(60.0) == 0

    client = tail._writer._mlflow
    another, run = sorted(
        client.search_runs([tail._writer._experiment_id]), key=lambda run: run.info.run_name
    )
    assert (run.info.status, another.info.status) == ("FINISHED", "KILLED")
    assert another.data.tags["mlflow.parentRunId"] == run.info.run_id
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["a.txt"]

    # The same server, called by a name that it does not know.
    with pytest.raises(UnderstudyError, match="403, its host check") as caught:
        Writer(f"http://127.0.0.1:{server.port}", "refused").initialise()
    assert f"--allowed-hosts 127.0.0.1,127.0.0.1:{server.port}" in str(caught.value)

"""Servers of a benchmark's own: PostgreSQL, and MLflow's on top of it or of sqlite."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UnderstudyError

NOBODY = 65534
PATIENCE = 90.0


@contextlib.contextmanager
def postgresql(port: int) -> Iterator[str]:
    """A new PostgreSQL server on loopback, and the address of a database in it.

    Raises:
        UnderstudyError: its programs are not installed, or it does not start.
    """
    programs = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *os.get_exec_path()]
    initdb = next(filter(None, (shutil.which("initdb", path=str(at)) for at in programs)), None)
    if initdb is None:
        raise UnderstudyError("PostgreSQL's programs (initdb, postgres) are not installed")
    # which refuses to be root
    as_another = (
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if os.geteuid() == 0
        else []
    )
    password = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        (home / "password").write_text(password)
        (home / "password").chmod(0o644)
        home.chmod(0o755)
        if as_another:
            os.chown(home, NOBODY, NOBODY)
        data = ["-D", str(home / "data")]
        make = ["-U", "me", "-A", "scram-sha-256", f"--pwfile={home}/password", "-N"]
        subprocess.run([*as_another, initdb, *data, *make], check=True, capture_output=True)
        program = str(Path(initdb).resolve().with_name("postgres"))
        options = ["-p", str(port), "-k", str(home), "-h", "127.0.0.1"]
        with subprocess.Popen(
            [*as_another, program, *data, *options], stderr=subprocess.DEVNULL, cwd=home
        ) as process:
            try:
                ready = program.replace("bin/postgres", "bin/pg_isready")
                _until(
                    lambda: (
                        subprocess.run(
                            [ready, "-h", "127.0.0.1", "-p", str(port)], capture_output=True
                        ).returncode
                        == 0
                    ),
                    "PostgreSQL",
                )
                yield f"postgresql+psycopg://me:{password}@127.0.0.1:{port}/postgres"
            finally:
                process.send_signal(signal.SIGINT)


class MlflowServer:
    """An MLflow server that can be stopped, killed and started again on the same database.

    Args:
        database: URI of its backend.
        folder: of its artifacts.
        port: on loopback.
        cores: that it may use; default: all.
    """

    def __init__(
        self, database: str, folder: Path, *, port: int, cores: Sequence[int] = ()
    ) -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        self._command += ["--port", str(port), "--workers", "1"]
        self._command += ["--artifacts-destination", str(folder), "--serve-artifacts"]
        # other users of the machine can read command lines
        self._environment = {
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self._cores = tuple(cores)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            UnderstudyError: it does not.
        """
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._cores:
            os.sched_setaffinity(self._process.pid, self._cores)
        _until(self._answers, "the MLflow server")

    def kill(self) -> None:
        """SIGKILL to it and its workers."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: connections are taken by the kernel, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _until(ready: object, what: str) -> None:
    assert callable(ready)
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise UnderstudyError(f"{what} does not answer after {PATIENCE:g} seconds")
        time.sleep(0.2)

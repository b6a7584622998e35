"""The MLflow dashboard on an experiment's tracking store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.tracking.address import absolute_uri, has_secret, is_server, redacted, sqlite_path


def dashboard_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves the dashboard.

    A URI with credentials is not part of it, since other users of the machine can read command
    lines: give it as the environment variable ``MLFLOW_BACKEND_STORE_URI``, as
    :func:`run_dashboard` does.

    Args:
        uri: MLflow tracking URI of a database.
        host: Address to listen on, default this machine only.
        port: Port to listen on, default 5000.

    Raises:
        InputError: If ``uri`` is a server, which is its own dashboard, a folder, or an sqlite file
            that does not exist.
    """
    if is_server(uri):
        raise InputError(
            f"tracking.uri: {redacted(uri)} is an MLflow server; open it in a browser, there is "
            "nothing to start"
        )
    uri = absolute_uri(uri)
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise InputError(
            f"tracking.uri: there is no database {database} yet; run the sweep or the evaluation "
            "first, or start from the folder it was run in"
        )
    command = [sys.executable, "-m", "mlflow", "server"]
    if not has_secret(uri):
        command += ["--backend-store-uri", uri]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def run_dashboard(uri: str, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve the dashboard until interrupted.

    Args:
        uri: MLflow tracking URI of a database.
        host: Address to listen on, default this machine only.
        port: Port to listen on, default 5000.

    Returns:
        The server's exit code; 0 when interrupted from the keyboard.

    Raises:
        InputError: As :func:`dashboard_command`.
        UnderstudyError: If the port is taken.
    """
    command = dashboard_command(uri, host, port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UnderstudyError(
                f"dashboard: {host}:{port} cannot be listened on ({error.strerror}); "
                "give another port with --port"
            ) from error
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(uri),
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
    }
    server = subprocess.Popen(command, env=environment)
    # whoever ends this command ends the server with it
    before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)

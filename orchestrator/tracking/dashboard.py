"""The MLflow dashboard on an experiment's tracking store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from orchestrator.errors import InputError
from orchestrator.tracking.address import absolute_uri, has_secret, is_server, redacted
from orchestrator.tracking.reading import check_database
from orchestrator.tracking.serving import LOOPBACK, WebServer, names_of, run_servers
from orchestrator.tracking.trial_table import TAG, trials_page


def dashboard_command(uri: str, *, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves the dashboard.

    A URI with credentials is not part of it, since other users of the machine can read command
    lines: :func:`dashboard_server` gives it to the server's environment.

    MLflow answers only those who call it by a name it knows, and takes changes only from pages of a
    name it knows; for another address than this machine's own it is told the names.

    Args:
        uri: MLflow tracking URI of a database.
        host: Address to listen on, default this machine only.
        port: Port to listen on, default 5000.

    Raises:
        InputError: If ``uri`` is a server, which is its own dashboard, or a folder.
    """
    if is_server(uri):
        raise InputError(
            f"tracking.uri: {redacted(uri)} is an MLflow server; open it in a browser, there is "
            "nothing to start"
        )
    uri = absolute_uri(uri)
    command = [sys.executable, "-m", "mlflow", "server"]
    if not has_secret(uri):
        command += ["--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # a line a request would bury the address
    command += ["--uvicorn-opts", "--log-level=warning"]
    if host not in LOOPBACK:
        names = names_of(host)
        if "MLFLOW_SERVER_ALLOWED_HOSTS" not in os.environ:
            hosts = [form for name in names for form in (name, f"{name}:{port}")]
            command += ["--allowed-hosts", ",".join(hosts)]
        if "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS" not in os.environ:
            origins = [f"http://{name}:{port}" for name in names]
            command += ["--cors-allowed-origins", ",".join(origins)]
    return command


def dashboard_server(uri: str, *, host: str = "127.0.0.1", port: int = 5000) -> WebServer:
    """The server of the dashboard, ready to be run; arguments and errors of its command."""
    command = dashboard_command(uri, host=host, port=port)
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # for jobs that judge language models it would keep seven processes more
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(uri),
    }
    return WebServer("MLflow", command, environment, host, port, health="/health")


def run_dashboard(
    uri: str,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    experiment: str | None = None,
    beside: Sequence[WebServer] = (),
    say: Callable[[str], None] = print,
) -> int:
    """Serve the dashboard until interrupted, and say where it is once it answers.

    Args:
        uri: MLflow tracking URI of a database.
        host: Address to listen on, default this machine only.
        port: Port to listen on, default 5000.
        experiment: Whose trials to point to; default: nobody's.
        beside: Servers to run beside it, such as the study's.
        say: Is told, a line at a time, what people should know.

    Returns:
        The exit code of the server that ended first; 0 when interrupted from the keyboard.

    Raises:
        InputError: As :func:`dashboard_command`; or there is no database of MLflow's.
        UnderstudyError: If the database cannot be read, a port is taken, or a server does not
            start.
    """
    server = dashboard_server(uri, host=host, port=port)
    check_database(absolute_uri(uri))
    page = None if experiment is None else _trials_of(absolute_uri(uri), experiment)
    if host not in LOOPBACK:
        say(
            f"Warning: whoever reaches {host} at these ports reads everything here and may change "
            "and delete it; nobody is asked for a password."
        )

    def ready() -> None:
        say(f"Dashboard: {server.address} (Ctrl-C ends it)")
        if page is not None:
            say(f"Trials, best first: {server.address}{page}")
        for other in beside:
            say(f"{other.name}: {other.address}")

    return run_servers([server, *beside], ready=ready)


def _trials_of(uri: str, experiment: str) -> str | None:
    """The page of an experiment's trials, None where it has none."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    try:
        found = MlflowClient(tracking_uri=uri, registry_uri=uri).get_experiment_by_name(experiment)
    except Exception:  # the server, which comes next, says what is wrong with the database
        return None
    return None if found is None or TAG not in found.tags else trials_page(found.experiment_id)

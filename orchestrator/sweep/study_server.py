"""optuna-dashboard on the study of a sweep, as a process of its own beside MLflow's dashboard."""

from __future__ import annotations

import importlib.util
import os
import socket
import socketserver
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orchestrator.errors import InputError
from orchestrator.experiment import Experiment
from orchestrator.store import Store
from orchestrator.sweep.storage import open_storage, shown_address, study_address, study_names
from orchestrator.tracking.serving import LOOPBACK, WebServer, names_of

_ADDRESS = "UNDERSTUDY_STUDY"
"""Environment variable by which the process learns where the study lies, credentials and all."""

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def study_server(experiment: Experiment, *, host: str, port: int) -> WebServer:
    """The server of the experiment's study, ready to be run.

    Args:
        experiment: that has been swept.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        InputError: optuna-dashboard is not installed, or no sweep has run.
        StoreError: the study cannot be read, or its server does not answer.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InputError(
            "--optuna: optuna-dashboard is not installed; pip install 'understudy[dashboard]'"
        )
    address = study_address(experiment, Store(experiment.store))
    if not study_names(address):
        raise InputError(
            f"--optuna: there is no study in {shown_address(address)} yet; run the sweep first, or "
            "leave --optuna out"
        )
    command = [sys.executable, "-m", "orchestrator.sweep.study_server", host, str(port)]
    environment = {**os.environ, _ADDRESS: address}
    return WebServer("optuna-dashboard", command, environment, host, port)


def guarded(app: App, *, host: str, port: int) -> App:
    """The application for those only who call it by a name it has.

    Else any page that is open in a browser of this machine could have its own name lead here, and
    read and write the study.
    """
    names = names_of(host) + (names_of("0.0.0.0") if host in LOOPBACK else [])
    known = {form for name in names for form in (name, f"{name}:{port}")}

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment.get("HTTP_HOST", "") in known:
            return app(environment, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"this server has another name\n"]

    return answer


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread a request: a page asks for many things at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line a request would bury the address."""


def main(host: str, port: int) -> None:
    """Serve the study that the environment names, until ended."""
    from optuna_dashboard import wsgi

    app = guarded(wsgi(open_storage(os.environ[_ADDRESS])), host=host, port=port)
    if ":" in host:
        _Server.address_family = socket.AF_INET6
    with make_server(host, port, app, server_class=_Server, handler_class=_Silent) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

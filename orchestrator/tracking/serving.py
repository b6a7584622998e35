"""Web servers that run beside a command: their ports looked at first, waited for, ended with it."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import UnderstudyError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""
ANY = ("0.0.0.0", "::")
"""Addresses that mean every one of this machine."""
_PAUSE = 0.2
_GRACE = 10.0


@dataclass(frozen=True)
class WebServer:
    """A server to be run."""

    name: str
    """What messages call it."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """All of it, and the place for secrets: other users of the machine can read command lines."""
    host: str
    """Address to listen on."""
    port: int
    health: str = "/"
    """Path of a page that it answers once it is up."""

    @property
    def address(self) -> str:
        """Where a browser of this machine finds it."""
        return f"http://{_bracketed(_near(self.host))}:{self.port}"


def run_servers(
    servers: Sequence[WebServer], *, ready: Callable[[], None], timeout: float = 180.0
) -> int:
    """Run servers until one ends or the keyboard interrupts; none outlives this call.

    Args:
        servers: to be run; their ports are looked at before the first starts.
        ready: called once, when all of them answer.
        timeout: seconds that they have for that, default 180: a busy machine takes its time.

    Returns:
        The exit code of the server that ended first; 0 when interrupted or told to end.

    Raises:
        UnderstudyError: a port is taken, or a server ended, or said nothing, before it was up.
    """
    for server in servers:
        _check_port(server)
    processes: list[subprocess.Popen[bytes]] = []
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        for process in processes:
            process.terminate()

    # whoever ends this command ends the servers with it
    before = signal.signal(signal.SIGTERM, end)
    try:
        for server in servers:
            processes.append(subprocess.Popen(server.command, env=dict(server.environment)))
        deadline = time.monotonic() + timeout
        for server, process in zip(servers, processes, strict=True):
            while not ended and not _answers(server):
                _check_alive(server, process, late=time.monotonic() >= deadline)
                time.sleep(_PAUSE)
        if not ended:
            ready()
        while all(process.poll() is None for process in processes):
            time.sleep(_PAUSE)
        code = next(code for process in processes if (code := process.poll()) is not None)
        return 0 if ended else code
    except KeyboardInterrupt:
        return 0
    finally:
        _end_all(processes)
        signal.signal(signal.SIGTERM, before)


def _check_port(server: WebServer) -> None:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnderstudyError(
                f"dashboard: {server.name} cannot listen on {server.host}:{server.port} "
                f"({reason}); give another port with --port, or another address with --host"
            ) from None


def _check_alive(server: WebServer, process: subprocess.Popen[bytes], *, late: bool) -> None:
    code = process.poll()
    if code is not None:
        raise UnderstudyError(
            f"dashboard: {server.name} ended with code {code} before it was up; what it said "
            "stands above"
        )
    if late:
        raise UnderstudyError(
            f"dashboard: {server.name} does not answer at {server.address}; what it said stands "
            "above"
        )


def _answers(server: WebServer) -> bool:
    # not through urllib, which asks a proxy if the environment names one
    connection = http.client.HTTPConnection(_near(server.host), server.port, timeout=5.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", server.health)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False


def _end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _near(host: str) -> str:
    """The address by which this machine reaches a server of its own."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def names_of(host: str) -> list[str]:
    """What browsers may call a server that listens on ``host``, as they write it before a port.

    Of an address that means every one of this machine: its names and its address in the network.

    >>> names_of("10.0.0.5"), names_of("::1")
    (['10.0.0.5'], ['[::1]'])
    """
    names = [host]
    if host in ANY:
        names = [*LOOPBACK, socket.gethostname(), socket.getfqdn(), *_own_addresses()]
    return list(dict.fromkeys(_bracketed(name) for name in names))


def _own_addresses() -> list[str]:
    """The addresses from which this machine would speak to others; nothing is sent."""
    found = []
    for family, other in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))
            found.append(str(probe.getsockname()[0]))
    return found

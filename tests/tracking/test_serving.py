"""Web servers beside a command: real ones, of a few lines."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UnderstudyError
from orchestrator.tracking.serving import WebServer, _answers, names_of, run_servers
from tests.tracking.ports import free_port

ANSWERS = """if True:
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
        def log_message(self, *arguments):
            pass
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()"""


def server(code: str, *, port: int | None = None, host: str = "127.0.0.1") -> WebServer:
    port = port or free_port()
    command = [sys.executable, "-S", "-c", code, str(port)]
    return WebServer("a server", command, dict(os.environ), host, port)


def listening(one: WebServer) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", one.port)) == 0


def test_ready_is_said_when_all_answer_and_all_end_when_the_command_is_told_to() -> None:
    servers = [server(ANSWERS), server(ANSWERS)]
    seen: list[list[bool]] = []

    def ready() -> None:
        seen.append([listening(one) for one in servers])
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    code = run_servers(servers, ready=ready)

    assert (code, seen) == (0, [[True, True]])
    assert [listening(one) for one in servers] == [False, False]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_keyboard_ends_them_all() -> None:
    servers = [server(ANSWERS), server(ANSWERS)]

    def ready() -> None:
        raise KeyboardInterrupt

    assert run_servers(servers, ready=ready) == 0
    assert [listening(one) for one in servers] == [False, False]


def test_one_that_ends_ends_the_others_and_gives_its_code() -> None:
    dying = "import os, threading; threading.Timer(0.5, os._exit, [7]).start()"
    short = ANSWERS.replace("http.server.HTTPServer", f"{dying}\n    http.server.HTTPServer")
    servers = [server(ANSWERS), server(short)]

    assert run_servers(servers, ready=lambda: None) == 7
    assert [listening(one) for one in servers] == [False, False]


def test_one_that_ends_before_it_is_up_is_an_error_and_the_others_end() -> None:
    servers = [server(ANSWERS), server("raise SystemExit(3)")]
    said: list[str] = []

    with pytest.raises(UnderstudyError, match="a server ended with code 3 before it was up"):
        run_servers(servers, ready=lambda: said.append("ready"))

    assert said == []
    assert [listening(one) for one in servers] == [False, False]


def test_one_that_never_answers_is_given_up() -> None:
    silent = server("import time; time.sleep(60)")

    with pytest.raises(UnderstudyError, match=f"does not answer at http://127.0.0.1:{silent.port}"):
        run_servers([silent], ready=lambda: None, timeout=0.5)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_no_server_starts_if_the_port_of_one_is_taken(tmp_path: Path, taken: int) -> None:
    marker = tmp_path / "started"
    first = server(f"open({str(marker)!r}, 'w')")

    with pytest.raises(UnderstudyError, match=f"listen on 127.0.0.1:{taken} .* --port"):
        run_servers([first, server(ANSWERS, port=taken)], ready=lambda: None)

    assert not marker.exists()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("no-such-host.invalid", 5000)])
def test_an_address_that_cannot_be_is_said_to_be_none(host: str, port: int) -> None:
    with pytest.raises(UnderstudyError, match=f"cannot listen on {host}:{port}"):
        run_servers([server(ANSWERS, host=host, port=port)], ready=lambda: None)


def test_an_answer_that_is_an_error_of_the_server_is_none() -> None:
    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Broken) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert not _answers(server("", port=other.server_port))
        other.shutdown()


def test_names_are_as_browsers_write_them() -> None:
    assert names_of("gpu-box") == ["gpu-box"]
    assert names_of("fd00::2") == ["[fd00::2]"]
    everyone = names_of("::")
    assert {"localhost", "127.0.0.1", "[::1]", socket.gethostname()} <= set(everyone)
    assert len(everyone) == len(set(everyone))

"""A server of a few files in memory that can misbehave as servers do."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FileServer:
    """Files by path, how the server behaves, and what was asked of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    """Whether it honours Range."""
    heeds_if_range: bool = True
    lengths: bool = True
    """Whether it states lengths; without them it sends in chunks."""
    drop_after: int | None = None
    """Bytes of a body after which the connection is dropped."""
    drops: int = 1 << 30
    """How many times that happens."""
    errors: list[int] = field(default_factory=list)
    """Statuses to answer with first."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of every answer."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers of every request."""
    sent: int = 0
    """Bytes of bodies sent."""
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def asked_ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.asked]


@contextmanager
def serving() -> Iterator[FileServer]:
    state = FileServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            with lock:
                state.asked.append((self.path, dict(self.headers)))
                error = state.errors.pop(0) if state.errors else None
            if error is None and self.path not in state.files:
                error = 404
            if error is not None:
                self.plain(error)
                return
            body, start = state.files[self.path], 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            known = self.headers.get("If-Range") in (state.etag, state.modified)
            if wanted and state.ranges and (known or not state.heeds_if_range):
                start = int(wanted[1])
                if start >= len(body):
                    self.plain(416, {"Content-Range": f"bytes */{len(body)}"})
                    return
            self.answer(body, start, partial=bool(start))

        def plain(self, status: int, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {**state.headers, **(more or {}), "Content-Length": "0"}.items():
                self.send_header(key, value)
            self.end_headers()

        def answer(self, body: bytes, start: int, *, partial: bool) -> None:
            self.send_response(206 if partial else 200)
            if partial:
                stated = f"bytes {start}-{len(body) - 1}/{len(body)}"
                self.send_header("Content-Range", stated)
            if state.lengths:
                self.send_header("Content-Length", str(len(body) - start))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            for key, value in (("ETag", state.etag), ("Last-Modified", state.modified)):
                if value is not None:
                    self.send_header(key, value)
            for key, value in state.headers.items():
                self.send_header(key, value)
            self.end_headers()
            rest, drop = body[start:], False
            with lock:
                if state.drop_after is not None and state.drops and len(rest) > state.drop_after:
                    state.drops -= 1
                    rest, drop = rest[: state.drop_after], True
                state.sent += len(rest)
            if state.lengths:
                self.wfile.write(rest)
            else:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(rest), rest))
                self.wfile.write(b"" if drop else b"0\r\n\r\n")
            if drop:
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            # A client that refuses an answer hangs up on it.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

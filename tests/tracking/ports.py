"""Ports for servers that tests start."""

from __future__ import annotations

import socket


def free_port(many: int = 1) -> int:
    """The first of some neighbouring ports on which nobody listens."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + many > 65536:
            continue
        if all(_free(port) for port in range(first, first + many)):
            return first


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0

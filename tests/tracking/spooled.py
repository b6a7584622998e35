"""Stores that make journals wait, and what of them is where."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.tracking.journal import Event, Journal, read_segment

AT_ONCE = 0.0
"""Interval with which every event is a segment."""


class Gated(Store):
    """A store that lets nobody write before its gate is opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate = threading.Event()

    def write_bytes(self, name: str, data: bytes) -> None:
        assert self.gate.wait(20)
        super().write_bytes(name, data)


class Faulty(Store):
    """A store that does as it is told before it writes."""

    fault: Callable[[str], None] = staticmethod(lambda name: None)

    def write_bytes(self, name: str, data: bytes) -> None:
        self.fault(name)
        super().write_bytes(name, data)


def full(name: str) -> None:
    raise StoreError("the disk is full")


def names(store: Store) -> list[str]:
    return [name for name in store.list("j") if name.endswith(".jsonl")]


def events(store: Store) -> list[Event]:
    return [event for name in names(store) for event in read_segment(store.read_bytes(name))]


def steps(store: Store) -> list[int]:
    return [event["step"] for event in events(store) if event["event"] == "metrics"]


def numbers(store: Store) -> list[int]:
    return [int(name.rpartition("/")[2][:6]) for name in names(store)]


def waiting(spool: Path) -> list[Path]:
    return sorted(spool.rglob("*.jsonl"))


def journal_in(store: Store, *, interval: float = AT_ONCE) -> Journal:
    return Journal(store, prefix="j", key="run1", interval=interval)

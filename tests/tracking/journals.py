"""Journals as they lie in a store, written by hand: what readers of them are tested on."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.store import Store


class Written:
    """The journal of one run.

    Args:
        store: Where it lies.
        place: ``EXPERIMENT/ROOT/KEY``.
    """

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._folder = f"journal/{place}"
        self._key = place.rpartition("/")[2]
        self._count = 0

    def segment(self, *events: dict[str, Any]) -> str:
        """Write the next segment; its name."""
        self._count += 1
        name = f"{self._folder}/{self._count:06d}-{self._count:08x}.jsonl"
        lines = [
            json.dumps({"key": self._key, "time": 1_700_000_000_000 + 1000 * self._count} | event)
            for event in events
        ]
        self._store.write_bytes(name, "".join(f"{line}\n" for line in lines).encode())
        return name

    def start(self, name: str, *, parent: str | None = None, **more: Any) -> str:
        """A segment in which the run begins; ``params`` and ``tags`` may be given."""
        content = {"params": {}, "tags": {}} | more
        return self.segment({"event": "start", "name": name, "parent": parent} | content)

    def metrics(self, step: int = 0, **values: float) -> str:
        """A segment with measurements; two underscores are a slash."""
        named = {name.replace("__", "/"): value for name, value in values.items()}
        return self.segment({"event": "metrics", "step": step, "values": named})

    def end(self, status: str = "FINISHED", reason: str = "") -> str:
        """A segment in which the run ends."""
        return self.segment({"event": "end", "status": status, "reason": reason})

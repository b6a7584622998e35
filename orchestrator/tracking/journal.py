"""A run's journal: what it has to tell MLflow, as immutable segments in the store.

The run never talks to MLflow, so an outage costs it nothing. Each event gets its wall-clock time
once, here; replaying the same segments again gives the same points.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from orchestrator.canonical import JSON, digest
from orchestrator.tracking.files import check_event, fingerprint, kept_as

Status = Literal["FINISHED", "FAILED", "KILLED"]
Event = dict[str, Any]
"""``event`` ("start", "metrics", "artifact", "end"), ``key``, ``time`` (ms since 1970) and its
content."""

SEGMENT = re.compile(r"(?:^|/)(?P<number>\d{6})-[0-9a-f]{8}\.jsonl$")
"""File name of a segment. The random half keeps a run that was thought dead, and the one that took
over its key, from overwriting each other."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_QUICK_SEGMENTS = 10
_LONGEST = 12

log = logging.getLogger(__name__)


class SegmentStore(Protocol):
    """What tracking needs of the store."""

    def write_bytes(self, name: str, data: bytes, /) -> None:
        """Write a file whole or not at all."""

    def read_bytes(self, name: str, /) -> bytes:
        """All bytes of a file."""

    def exists(self, name: str, /) -> bool:
        """Whether a file has been written."""

    def list(self, prefix: str, /) -> Sequence[str]:
        """Names of the files under a folder, as ``read_bytes`` takes them."""


def run_key(*parts: JSON) -> str:
    """A run's key: 32 hexadecimal digits, the same for the same parts, for ever.

    Args:
        parts: What tells the run from every other of its experiment, such as
            ``("fold run", sweep name, trial number, fold name, seed)``.
    """
    return digest(list(parts))[:32]


class Journal:
    """One run's journal. Nothing in it raises because the store or MLflow is out of reach.

    Args:
        store: Where the segments go.
        prefix: Folder in the store that the tracking service tails, such as
            ``journals/demo/sweep``.
        key: The run's key, as by :func:`run_key`: the same key is the same MLflow run for ever,
            also when the run is started again after a crash.
        interval: Seconds between segments at first, default 5; a long run's grow twelve times as
            far apart, so that hours of training make hundreds of files and not thousands.

    Raises:
        ValueError: If ``key`` cannot name a folder.
    """

    def __init__(
        self, store: SegmentStore, *, prefix: str, key: str, interval: float = 5.0
    ) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a run's key is letters, digits, '.', '_' and '-', not {key!r}")
        self.key = key
        self._store = store
        self._folder = f"{prefix}/{key}"
        self._interval = interval
        self._waiting: list[Event] = []
        self._files: dict[str, bytes] = {}
        self._next: int | None = None
        self._written = 0
        self._last_flush = time.monotonic()
        self._complained = False

    def start(
        self,
        name: str,
        parent: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """The run has begun; written at once, so that the dashboard shows it.

        Args:
            name: What the dashboard calls it.
            parent: Key of the run it belongs under.
            params: What it was run with; nested mappings become dotted names.
            tags: What one may search for.
        """
        self._add(
            "start",
            name=name,
            parent=parent,
            params=_flat(params or {}),
            tags=_flat(tags or {}),
        )
        self.flush()

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Measurements at a step, by names such as ``validation/macro_recall``."""
        self._add(
            "metrics",
            step=int(step),
            values={name: _number(float(value)) for name, value in values.items()},
        )
        self._flush_if_due()

    def artifact(self, name: str, data: bytes) -> None:
        """A file for the dashboard, such as a picture; the same name again replaces it there.

        Args:
            name: What the dashboard calls it: a file name, with folders before it if wanted, such
                as ``attention/utt.png``.
            data: Its bytes; they wait in memory until the store has taken them.

        Raises:
            ValueError: If the name would leave a folder, or is none that every store takes.
        """
        sha256 = fingerprint(data)
        self._files[f"{self._folder}/{kept_as(name, sha256)}"] = data
        self._add("artifact", name=name, sha256=sha256)
        self._flush_if_due()

    def end(self, status: Status = "FINISHED", reason: str = "") -> None:
        """The run is over; written at once.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED`` (stopped on purpose, such as pruned).
            reason: Why, where it is not FINISHED.
        """
        self._add("end", status=status, reason=reason)
        self.flush()

    def flush(self) -> bool:
        """Write what is waiting: the files first, then one segment that speaks of them.

        Returns:
            Whether nothing is waiting now. A store that cannot be written is logged, and events and
            files wait for the next call: training goes on.
        """
        self._last_flush = time.monotonic()
        if not self._waiting:
            return True
        text = "".join(json.dumps(event, sort_keys=True) + "\n" for event in self._waiting)
        try:
            if self._next is None:
                self._next = self._first_number()
            for file, data in list(self._files.items()):
                self._store.write_bytes(file, data)
                del self._files[file]
            name = f"{self._folder}/{self._next:06d}-{uuid.uuid4().hex[:8]}.jsonl"
            self._store.write_bytes(name, text.encode())
        except Exception as error:  # noqa: BLE001 - training never fails for want of a dashboard
            if not self._complained:
                log.warning("tracking: the journal of %s has to wait: %s", self.key, error)
            self._complained = True
            return False
        self._complained = False
        self._waiting.clear()
        self._next += 1
        self._written += 1
        return True

    def _add(self, event: str, **content: object) -> None:
        now = time.time_ns() // 1_000_000
        self._waiting.append({"event": event, "key": self.key, "time": now, **content})

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._last_flush >= self._pause():
            self.flush()

    def _pause(self) -> float:
        """Seconds until the next segment."""
        doubled: float = 2.0 ** (self._written // _QUICK_SEGMENTS)
        return self._interval * min(doubled, _LONGEST)

    def _first_number(self) -> int:
        """After the segments of an earlier attempt at the same run."""
        matches = [SEGMENT.search(name) for name in self._store.list(self._folder)]
        return 1 + max((int(match["number"]) for match in matches if match), default=0)


def read_segment(data: bytes) -> list[Event]:
    """The events of a segment.

    Raises:
        ValueError: If it is not what a journal writes.
    """
    events = [json.loads(line) for line in data.decode().splitlines()]
    for event in events:
        if not isinstance(event, dict) or not {"event", "key", "time"} <= event.keys():
            raise ValueError(f"not a journal's event: {event!r}")
        if event["event"] == "artifact":
            check_event(event)
    return events


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted names, every value as text."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        elif isinstance(value, list | tuple | Mapping):
            flat[f"{prefix}{name}"] = json.dumps(value, default=str)
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _number(value: float) -> float | str:
    """JSON has no NaN or infinity; ``float`` reads their names back."""
    return value if math.isfinite(value) else str(value)

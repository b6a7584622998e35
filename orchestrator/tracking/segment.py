"""A segment of a journal: its name in the store, and the events that it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

from orchestrator.tracking.files import check_event

Event = dict[str, Any]
"""``event`` ("start", "metrics", "tags", "link", "artifact", "dataset", "model", "end"), ``key``,
``time`` (ms since 1970) and its content."""

SEGMENT = re.compile(r"(?:^|/)(?P<number>\d{6})-(?P<token>[0-9a-f]{8})\.jsonl$")
"""File name of a segment. The random half keeps a run that was thought dead, and the one that took
over its key, from overwriting each other."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROLE = re.compile(r"[a-z][a-z_]*")
# MLflow's own limits
_NAME_LENGTH, _DIGEST_LENGTH = 500, 36


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


def read_segment(data: bytes) -> list[Event]:
    """The events of a segment.

    Raises:
        ValueError: If it is not what a journal writes.
    """
    events = [json.loads(line) for line in data.decode().splitlines()]
    for event in events:
        if not isinstance(event, dict) or not {"event", "key", "time"} <= event.keys():
            raise ValueError(f"not a journal's event: {event!r}")
        _check_content(event)
    return events


def check_key(key: object) -> None:
    """Refuse what cannot be a run's key.

    Raises:
        ValueError: If it cannot name a folder.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"a run's key is letters, digits, '.', '_' and '-', not {key!r}")


def check_link(role: object, key: object) -> None:
    """Refuse a link that is not from a word to a run.

    Raises:
        ValueError: If the role is no plain word, or the key no run's.
    """
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise ValueError(f"a link's role is a word of small letters and '_', not {role!r}")
    check_key(key)


def check_dataset(name: object, digest: object) -> None:
    """Refuse a dataset's name or digest that MLflow could not take.

    Raises:
        ValueError: If one of them is empty or too long.
    """
    for what, value, most in (("name", name, _NAME_LENGTH), ("digest", digest, _DIGEST_LENGTH)):
        if not isinstance(value, str) or not 0 < len(value) <= most:
            raise ValueError(f"a dataset's {what} is 1 to {most} characters, not {value!r}")


def _check_content(event: Event) -> None:
    match event["event"]:
        case "artifact":
            check_event(event)
        case "link":
            check_link(event.get("role"), event.get("to"))
        case "dataset":
            check_dataset(event.get("name"), event.get("digest"))
        case "model":
            files = event.get("files")
            if not isinstance(files, dict) or not files:
                raise ValueError(f"a model has files, not {files!r}")
            for name, sha256 in files.items():
                check_event({"name": name, "sha256": sha256})

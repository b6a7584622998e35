"""Files (pictures) that a run keeps beside its journal: where they lie, how MLflow gets them.

An ``artifact`` event holds the file's name in the dashboard and the digest of its bytes. The bytes
lie in the store, in the run's own folder, under a name made of the two: equal bytes are one file,
and a file that was written never changes.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UnderstudyError
from orchestrator.tracking.connection import is_final

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.tracking.segment import Event, SegmentStore

_PART = re.compile(r"\w[\w .=+-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# A file system takes 255 bytes a name, of which the digest and the store's own marks need some.
_PART_BYTES = 150


class RefusedFileError(UnderstudyError):
    """A file can never be sent: it is gone, damaged, or MLflow will not have it."""


class UnsentFileError(UnderstudyError):
    """MLflow's place for files is out of reach, which need not be where it keeps its runs."""


def fingerprint(data: bytes) -> str:
    """What an event knows a file's bytes by: their SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def kept_as(name: str, digest: str) -> str:
    """Where a file lies, seen from its run's folder.

    Args:
        name: What the dashboard calls it, such as ``attention/utt.png``.
        digest: The :func:`fingerprint` of its bytes.

    Raises:
        ValueError: If the name would leave a folder, or is none that every store and server takes;
            or if the digest is none.

    >>> kept_as("attention/utt.png", "0123456789abcdef" * 4)
    'files/0123456789abcdef-utt.png'
    """
    parts = name.split("/")
    if not all(_PART.fullmatch(part) and len(part.encode()) <= _PART_BYTES for part in parts):
        raise ValueError(
            f"a file's name is words of letters, digits, ' ', '.', '_', '=', '+' and '-' (at most "
            f"{_PART_BYTES} bytes each, a letter, a digit or '_' first) with '/' between them, "
            f"not {name!r}"
        )
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"a file's digest is 64 hexadecimal digits, not {digest!r}")
    return f"files/{digest[:16]}-{parts[-1]}"


def check_event(event: Event) -> None:
    """Look at how an artifact event names its file, before anything is read by that name.

    Raises:
        ValueError: If no journal would name it so.
    """
    name, digest = event.get("name"), event.get("sha256")
    if not (isinstance(name, str) and isinstance(digest, str)):
        raise ValueError(f"a file's event has a name and a sha256, not {event!r}")
    kept_as(name, digest)


def last_files(events: Iterable[Event]) -> list[Event]:
    """The artifact events among events: of several with one name, the last."""
    return list({event["name"]: event for event in events if event["event"] == "artifact"}.values())


def place(event: Event) -> str:
    """The store's name of the file of an artifact event that came in a segment."""
    folder = posixpath.dirname(event["segment"])
    return f"{folder}/{kept_as(event['name'], event['sha256'])}"


def send_file(client: MlflowClient, run_id: str, event: Event, store: SegmentStore) -> None:
    """Give a run in MLflow the file of an artifact event; the same again changes nothing.

    Raises:
        RefusedFileError: If that can never be done.
        UnsentFileError: If MLflow cannot keep it now.
        StoreError: If the store cannot be read now.
    """
    name, file = event["name"], place(event)
    if not store.exists(file):
        raise RefusedFileError(f"{name!r} is missing: the store has no {file}")
    data = store.read_bytes(file)
    if fingerprint(data) != event["sha256"]:
        raise RefusedFileError(f"{name!r} is damaged: {file} is not what the run wrote")
    send_bytes(client, run_id, name, data)


def send_bytes(client: MlflowClient, run_id: str, name: str, data: bytes) -> None:
    """Give a run in MLflow a file of these bytes; the same name again replaces it.

    Raises:
        RefusedFileError: If that can never be done.
        UnsentFileError: If MLflow cannot keep it now.
    """
    folder, plain = posixpath.split(name)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / plain
            local.write_bytes(data)
            client.log_artifact(run_id, str(local), folder or None)
    except Exception as error:  # each kind of place for files has errors of its own
        if is_final(error):
            raise RefusedFileError(f"MLflow will not have {name!r}: {error}") from error
        raise UnsentFileError(
            f"MLflow cannot keep the file {name!r} now ({error}); it stays in the store, and is "
            "sent when MLflow can"
        ) from error

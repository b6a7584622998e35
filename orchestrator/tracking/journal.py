"""A run's journal: what it has to tell MLflow, as immutable segments in the store.

The run never talks to MLflow, so an outage costs it nothing. Each event gets its wall-clock time
once, here; replaying the same segments again gives the same points.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from typing import Literal

from orchestrator.canonical import JSON, digest
from orchestrator.tracking.address import redacted
from orchestrator.tracking.files import fingerprint, kept_as
from orchestrator.tracking.segment import (
    SEGMENT,
    Event,
    SegmentStore,
    check_dataset,
    check_key,
    check_link,
    read_segment,
)
from orchestrator.tracking.shipping import Run, SpooledStore, shipper

__all__ = ["SEGMENT", "Event", "Journal", "SegmentStore", "Status", "read_segment", "run_key"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

# made once: training waits for this
_text = json.JSONEncoder().encode


def run_key(*parts: JSON) -> str:
    """A run's key: 32 hexadecimal digits, the same for the same parts, for ever.

    Args:
        parts: What tells the run from every other of its experiment, such as
            ``("fold run", sweep name, trial number, fold name, seed)``.
    """
    return digest(list(parts))[:32]


class Journal:
    """One run's journal. Nothing in it raises because a disk, the store or MLflow is out of reach.

    What is told is on local disk when a method returns, and a thread brings it to the store:
    nobody waits for that but :meth:`end` and :meth:`flush`. May be pickled.

    Args:
        store: Where the segments go.
        prefix: Folder in the store that the tracking service tails, such as
            ``journal/demo/sweep``.
        key: The run's key, as by :func:`run_key`: the same key is the same MLflow run for ever,
            also when the run is started again after a crash.
        interval: Seconds between segments at first, default 5; a long run's grow twelve times as
            far apart, so that hours of training make hundreds of files and not thousands.

    Raises:
        ValueError: If ``key`` cannot name a folder.
    """

    def __init__(
        self, store: SpooledStore, *, prefix: str, key: str, interval: float = 5.0
    ) -> None:
        check_key(key)
        self.key = key
        self._store = store
        self._folder = f"{prefix}/{key}"
        self._interval = interval
        self._here: Run | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_here": None}

    def start(
        self,
        name: str,
        parent: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """The run has begun; on its way at once, so that the dashboard shows it.

        Args:
            name: What the dashboard calls it.
            parent: Key of the run it belongs under.
            params: What it was run with; nested mappings become dotted names.
            tags: What one may search for.
        """
        # another process may have been at it in between
        self._run.anew = True
        self._tell(
            "start",
            at_once=True,
            name=name,
            parent=parent,
            params=_flat(params or {}),
            tags=_flat(tags or {}),
        )

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Measurements at a step, by names such as ``validation/macro_recall``."""
        self._tell(
            "metrics",
            step=int(step),
            values={name: _number(float(value)) for name, value in values.items()},
        )

    def artifact(self, name: str, data: bytes) -> None:
        """A file for the dashboard, such as a picture; the same name again replaces it there.

        Args:
            name: What the dashboard calls it: a file name, with folders before it if wanted, such
                as ``attention/utt.png``.
            data: Its bytes.

        Raises:
            ValueError: If the name would leave a folder, or is none that every store takes.
        """
        sha256 = fingerprint(data)
        self._tell("artifact", {kept_as(name, sha256): data}, name=name, sha256=sha256)

    def tag(self, tags: Mapping[str, object]) -> None:
        """What one may search for, as far as it is known only now; a later value replaces one."""
        self._tell("tags", tags=_flat(tags))

    def link(self, role: str, key: str) -> None:
        """The run used another one: the dashboard leads from here to there.

        Args:
            role: What the other was to it, such as ``teacher``: the tag is ``understudy.ROLE``.
            key: The other run's key; it may begin later, or be another command's.

        Raises:
            ValueError: If the role is no plain word, or the key none.
        """
        check_link(role, key)
        self._tell("link", role=role, to=key)

    def dataset(
        self, *, name: str, digest: str, source: str, profile: str = "", context: str = ""
    ) -> None:
        """Data that the run used, which the dashboard lists beside it.

        Args:
            name: What the data is called, such as ``emodb``.
            digest: What its content is known by, at most 36 characters.
            source: Where it comes from, in words.
            profile: JSON text that describes it, such as numbers of utterances and speakers.
            context: What it was used for, such as ``training``.

        Raises:
            ValueError: If MLflow could not take the name or the digest.
        """
        check_dataset(name, digest)
        self._tell(
            "dataset", name=name, digest=digest, source=source, profile=profile, context=context
        )

    def model(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        alias: str = "",
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """A model for the registry, such as the best student.

        Args:
            name: What the registry calls it.
            files: What it is made of: the bytes of each file by its name, as for :meth:`artifact`.
            alias: What its newest version goes by, such as ``best``; default: none.
            tags: What one may search for.

        Raises:
            ValueError: If there are no files, or a name would leave a folder.
        """
        if not files:
            raise ValueError(f"the model {name!r} has no files")
        named = {file: fingerprint(data) for file, data in files.items()}
        bytes_of = {kept_as(file, named[file]): data for file, data in files.items()}
        self._tell("model", bytes_of, name=name, alias=alias, files=named, tags=_flat(tags or {}))

    def end(self, status: Status = "FINISHED", reason: str = "", *, wait: bool = True) -> None:
        """The run is over.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED`` (stopped on purpose, such as pruned).
            reason: Why, where it is not FINISHED; without credentials of URIs that it quotes.
            wait: For the store, as :meth:`flush` does, default yes. Who does not calls that later.
        """
        self._tell("end", at_once=True, status=status, reason=redacted(reason))
        if wait:
            self.flush()

    def flush(self) -> bool:
        """Wait until the store has all that was told, or has taken nothing for 30 seconds.

        Returns:
            Whether it has. What it has not taken waits on local disk, and is offered again until it
            has, by this process or by the next one that uses the store on this machine.
        """
        return self._run.wait()

    def _tell(
        self,
        event: str,
        files: Mapping[str, bytes] | None = None,
        /,
        *,
        at_once: bool = False,
        **content: object,
    ) -> None:
        now = time.time_ns() // 1_000_000
        told = {"event": event, "key": self.key, "time": now, **content}
        self._run.tell(f"{_text(told)}\n".encode(), files or {}, at_once=at_once)

    @property
    def _run(self) -> Run:
        if self._here is None or self._here.pid != os.getpid():
            self._here = shipper().run(self._store, self._folder)
            self._here.interval = self._interval
        return self._here


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

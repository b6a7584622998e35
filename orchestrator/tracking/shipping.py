"""From the spool to the store: one thread a process brings there what its runs have to tell.

Whoever trains hands over lines and goes on; the thread closes segments when they are due, names
them in the order of their run, and tries again for as long as a store is out of reach. What a
process left that ended too early is brought there by the next one that uses the same store.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from orchestrator.tracking.address import redacted
from orchestrator.tracking.segment import SEGMENT, SegmentStore
from orchestrator.tracking.spool import Kept, Segment, Spool, Waiting, left_behind, spool_folder

PATIENCE = 30.0
"""Seconds that a store may take nothing before nobody waits for it any more."""
_AT_EXIT = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_QUICK_SEGMENTS = 10
_LONGEST = 12

log = logging.getLogger(__name__)


class SpooledStore(SegmentStore, Protocol):
    """A store that can tell itself from others."""

    @property
    def shown(self) -> str:
        """Its address, without credentials."""

    @property
    def folder(self) -> Path:
        """Its local folder, or that of its copies."""


class Place:
    """A run's folder in the store, where segments are numbered in the order they come."""

    def __init__(self, store: SegmentStore, folder: str) -> None:
        self.store = store
        self._folder = folder
        self._next: int | None = None
        self._there: set[str] = set()

    def look_again(self) -> None:
        """Another process may have written here."""
        self._next = None

    def take_file(self, name: str, kept: Kept) -> None:
        """Write bytes that a segment speaks of.

        Raises:
            Exception: whatever the store raises.
        """
        if (data := _read(kept)) is not None:
            self.store.write_bytes(f"{self._folder}/{name}", data)

    def take(self, token: str, segment: Segment | Kept) -> None:
        """Write a segment after those that are there, unless it is there already.

        Raises:
            Exception: whatever the store raises.
        """
        number = self._look() if self._next is None else self._next
        # Until it is known to be there it may be, or not.
        self._next = None
        if token not in self._there and (data := _read(segment)):
            # its end is missing where its process was killed within a line
            whole = data[: data.rfind(b"\n") + 1]
            self.store.write_bytes(f"{self._folder}/{number:06d}-{token}.jsonl", whole)
            number += 1
        self._next = number

    def _look(self) -> int:
        matches = [SEGMENT.search(name) for name in self.store.list(self._folder)]
        found = [match for match in matches if match]
        self._there = {match["token"] for match in found}
        return 1 + max((int(match["number"]) for match in found), default=0)


def _read(waiting: Segment | Kept) -> bytes | None:
    """What waits; None if somebody took it away. Any other trouble of the disk may pass."""
    try:
        return waiting.read()
    except FileNotFoundError as error:
        log.error("tracking: %s; what it held is lost", error)
        return None


class Outlet:
    """A store as this process sees it: when it last took something, and when to try again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.swept = False
        """Whether what others left behind for it was seen to."""
        self.idle_since = 0.0
        """Since when it has taken nothing, though something waits."""
        self.retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._complained = False

    def took_one(self) -> None:
        """It can be reached."""
        self.idle_since, self.retry_at, self._pause = time.monotonic(), 0.0, _FIRST_PAUSE
        self._complained = False

    def failed(self, error: Exception) -> None:
        """It cannot; that is said once."""
        if not self._complained:
            log.warning(
                "tracking: what runs have to tell waits on this machine: %s; training goes on",
                redacted(str(error)),
            )
        self._complained = True
        self.retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


class Run:
    """What one run of this process has to tell a store."""

    def __init__(self, shipper: Shipper, outlet: Outlet, store: SegmentStore, folder: str) -> None:
        self.outlet = outlet
        self.place = Place(store, folder)
        self.waiting = Waiting(shipper.spool, outlet.address, folder)
        self.interval = 0.0
        self.due = 0.0
        """When the open segment is to be closed."""
        self.anew = False
        """Whether this is another attempt at the run, after which another process may have come."""
        self.pid = os.getpid()
        """The process that may use this."""
        self._shipper = shipper
        self._segments = 0

    def tell(self, line: bytes, files: Mapping[str, bytes], *, at_once: bool) -> None:
        """Hand over a line, and the bytes it speaks of.

        Args:
            line: One event, with the line's end.
            files: By their name below the run's folder.
            at_once: Whether the store should have it now, and not when its segment is due.
        """
        with self._shipper.changed:
            if not self.waiting.is_open:
                self.due = time.monotonic() + self._pause()
                self._shipper.has_to_tell(self)
            try:
                self.waiting.write(line, files)
            except OSError as error:
                self.close()
                self.waiting.write_in_memory(line, error)
            if at_once or time.monotonic() >= self.due:
                self.close()

    def close(self) -> None:
        """What is told from now on is another segment; for who holds the shipper's lock."""
        if self.waiting.is_open:
            self._shipper.has_to_take(self.outlet)
            self.waiting.close()
            self._segments += 1

    def wait(self) -> bool:
        """Wait until the store has everything, or has taken nothing for :data:`PATIENCE` seconds.

        Returns:
            Whether it has.
        """
        with self._shipper.changed:
            self.close()
            self.outlet.retry_at = 0.0
            self._shipper.changed.notify_all()
            while self.waiting:
                left = self.outlet.idle_since + PATIENCE - time.monotonic()
                if left <= 0:
                    return False
                self._shipper.changed.wait(left)
            return True

    def _pause(self) -> float:
        """Seconds until the next segment."""
        doubled: float = 2.0 ** (self._segments // _QUICK_SEGMENTS)
        return self.interval * min(doubled, _LONGEST)


class Shipper:
    """The thread, and the runs of this process that it works for.

    Args:
        root: The spool.
    """

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root)
        self.changed = threading.Condition(threading.RLock())
        self._root = root
        self._runs: WeakValueDictionary[tuple[str, str, str], Run] = WeakValueDictionary()
        self._outlets: dict[tuple[str, str], Outlet] = {}
        self._busy: dict[int, Run] = {}
        self._thread: threading.Thread | None = None

    def run(self, store: SpooledStore, folder: str) -> Run:
        """The part of a run; the same one for as long as anybody has it or anything waits."""
        where = (store.shown, str(store.folder))
        with self.changed:
            outlet = self._outlets.setdefault(where, Outlet(store.shown))
            run = self._runs.get((*where, folder))
            if run is None:
                run = self._runs[*where, folder] = Run(self, outlet, store, folder)
            run.place.store = store
            return run

    def has_to_tell(self, run: Run) -> None:
        """Work for a run, until nothing of it waits; for who holds the lock."""
        self._busy[id(run)] = run
        self._start()
        self.changed.notify_all()

    def has_to_take(self, outlet: Outlet) -> None:
        """A store is about to have a segment more to take; for who holds the lock."""
        if not any(run.outlet is outlet and run.waiting.closed for run in self._busy.values()):
            outlet.idle_since = time.monotonic()
        self._start()
        self.changed.notify_all()

    def leave(self) -> None:
        """Ship what can be shipped in moments: the process ends."""
        deadline = time.monotonic() + _AT_EXIT
        with self.changed:
            for run in self._busy.values():
                run.close()
                run.outlet.retry_at = 0.0
            self.changed.notify_all()
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self.changed.wait(left)
            if self._busy:
                log.warning(
                    "tracking: %d journals wait under %s for the next process that uses the store",
                    len(self._busy),
                    self._root,
                )
            else:
                self.spool.leave()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="journals", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # the next segment tries again; until then everything waits
                log.warning("tracking: journals wait on this machine: %s", error)
            else:
                self._thread = thread

    def _work(self) -> None:
        while True:
            with self.changed:
                run = self._next()
                while run is None:
                    self.changed.wait(self._pause())
                    run = self._next()
            try:
                self._ship(run)
            except Exception as error:  # noqa: BLE001 - training never fails for want of a dashboard
                with self.changed:
                    run.outlet.failed(error)
                    # the others first, in case this one's trouble is its own
                    self._busy[id(run)] = self._busy.pop(id(run))

    def _next(self) -> Run | None:
        now = time.monotonic()
        for run in self._busy.values():
            if run.waiting.is_open and run.due <= now:
                run.close()
            if run.waiting.closed and run.outlet.retry_at <= now:
                return run
        return None

    def _pause(self) -> float | None:
        """Seconds until there may be something to do; None if nothing waits."""
        times = [run.due for run in self._busy.values() if run.waiting.is_open]
        times += [run.outlet.retry_at for run in self._busy.values() if run.waiting.closed]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _ship(self, run: Run) -> None:
        """Bring the first segment of a run to the store, and the bytes that it speaks of."""
        if not run.outlet.swept:
            _ship_left(run.place.store, run.outlet.address, self._root)
            run.outlet.swept = True
        with self.changed:
            files = dict(run.waiting.files)
            segment = run.waiting.closed[0]
            if run.anew:
                run.place.look_again()
            run.anew = False
        for name, kept in files.items():
            run.place.take_file(name, kept)
            with self.changed:
                del run.waiting.files[name]
            kept.remove()
        run.place.take(segment.token, segment)
        segment.remove()
        with self.changed:
            run.waiting.closed.popleft()
            run.outlet.took_one()
            if not run.waiting:
                run.waiting.tidy()
                del self._busy[id(run)]
            self.changed.notify_all()


def ship_leftovers(store: SpooledStore) -> int:
    """Bring to a store what processes of this machine and user had to tell it when they ended.

    What belongs to a process that lives is left to it.

    Returns:
        How many segments that were.

    Raises:
        StoreError: If the store cannot be written; what it has not taken stays.
    """
    return _ship_left(store, store.shown, spool_folder())


def _ship_left(store: SegmentStore, address: str, root: Path) -> int:
    count = 0
    with left_behind(root, address) as found:
        for left in found:
            place = Place(store, left.folder)
            try:
                for name, kept in left.files().items():
                    place.take_file(name, kept)
                for token, kept in left.segments():
                    place.take(token, kept)
                    kept.remove()
                    count += 1
            except OSError as error:
                # it stays; nothing else may wait for a file that cannot be read
                log.warning("tracking: what is left of %s waits here: %s", left.folder, error)
    if count:
        log.info("tracking: %d journal segments that were left behind are in the store", count)
    return count


_shippers: dict[Path, Shipper] = {}


def shipper() -> Shipper:
    """The shipper of this process, for the spool that is named now."""
    root = spool_folder()
    if root not in _shippers:
        _shippers[root] = Shipper(root)
    return _shippers[root]


def _leave() -> None:
    for one in _shippers.values():
        one.leave()


atexit.register(_leave)
# a process that was forked has neither the thread nor the lock
os.register_at_fork(after_in_child=_shippers.clear)

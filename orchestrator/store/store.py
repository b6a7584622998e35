"""The content-addressed home of everything expensive: made once, published whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.canonical import JSON, digest, readable
from orchestrator.errors import StoreError, nearest
from orchestrator.store.address import local_folder, open_remote, without_credentials
from orchestrator.store.publication import (
    INPUTS,
    MANIFEST,
    Files,
    LocalFiles,
    fault,
    locked,
    publish,
    seal,
)
from orchestrator.store.references import REFERENCES, References

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from orchestrator.store.remote import Remote

STAGE_VERSIONS: dict[str, int] = {
    "features": 1,
    "waveforms": 1,
    "encoder": 1,
    "teacher": 1,
    "knowledge": 1,
    "student": 1,
    "predictions": 1,
    "recogniser": 1,
    "recognition": 1,
}
"""Raised when the code of a stage gives other output for the same inputs."""

ARTIFACTS, BUILDING, DAMAGED, LOCKS = "artifacts", "building", "damaged", "locks"
CHECKPOINTS = "checkpoints"
"""Folder of the states of fits under way."""
FIT = "fit.json"
"""Beside the states of a fit: stage and key of the artifact that it makes."""
RESERVED = frozenset({ARTIFACTS, BUILDING, DAMAGED, LOCKS, CHECKPOINTS, REFERENCES})
"""Folders that nobody may name a result file after."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A finished result: a local folder that nobody may change."""

    path: Path
    key: str
    reused: bool
    """False when this very call built it."""


class Store:
    """Artifacts by the hash of their inputs, and result files by name. Picklable.

    Args:
        uri: a local folder, or a URI of a filesystem that pyarrow opens (``s3://bucket/folder``).
            Artifacts of such a store are kept in ``cache`` too, where each node builds and reads
            them.
        filesystem: a pyarrow filesystem to use instead of the one ``uri`` names; ``uri`` is then
            the path inside it.
        cache: local folder for the artifacts of a store that is not local; default: the
            environment variable ``UNDERSTUDY_CACHE``, else ``~/.cache/understudy``.
        used_by: the experiment on whose behalf artifacts are asked for; that it refers to them is
            noted before they are looked for, so that pruning leaves them. Default: nobody's.

    Raises:
        StoreError: ``uri`` names no filesystem that can be opened.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        filesystem: FileSystem | None = None,
        cache: str | Path | None = None,
        used_by: str | None = None,
    ) -> None:
        self.uri = str(uri)
        self.used_by = used_by
        self._filesystem = filesystem
        self._cache = None if cache is None else str(Path(cache).resolve())
        local = None if filesystem is not None else local_folder(self.uri)
        if local is not None:
            self.uri = str(local)
        self._connect()

    def __getstate__(self) -> dict[str, object]:
        kept = ("uri", "used_by", "_filesystem", "_cache")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._connect()

    def _connect(self) -> None:
        self._remote: Remote | None = None
        local = None if self._filesystem is not None else local_folder(self.uri)
        if local is not None:
            self._root = local
        else:
            self._remote = open_remote(self.uri, self._filesystem, shown=self.shown)
            cache = self._cache or os.environ.get("UNDERSTUDY_CACHE") or "~/.cache/understudy"
            self._root = Path(cache).expanduser().resolve() / digest(self.uri)[:16]
        self._seen_there: set[str] = set()
        self._files: Files = self._remote or LocalFiles(self._root)
        self.references = None if self.used_by is None else References(self._files, self.used_by)
        """What ``used_by`` refers to."""

    @property
    def folder(self) -> Path:
        """The local folder of the store, or that of its cache on this machine."""
        return self._root

    @property
    def shown(self) -> str:
        """The URI without the credentials it may carry, for messages."""
        return without_credentials(self.uri)

    @property
    def files(self) -> Files:
        """The files as they lie, for what the store keeps beside artifacts and results (states of
        fits, under ``CHECKPOINTS``); raises OSError, not StoreError.
        """
        return self._files

    def key(self, stage: str, inputs: Mapping[str, JSON]) -> str:
        """The key of what ``stage`` makes from ``inputs``: 64 hexadecimal digits.

        Raises:
            ValueError: no such stage, or an input that is not finite.
            TypeError: an input that is not JSON.
        """
        return digest(_identity(stage, inputs))

    @property
    def remote(self) -> bool:
        """Whether the store is elsewhere, and ``folder`` only keeps copies of what is read."""
        return self._remote is not None

    def artifact_folder(self, stage: str, key: str) -> Path:
        """Where an artifact lies on this machine, if it does."""
        return self._root / ARTIFACTS / stage / key[:2] / key

    def lock(self, key: str) -> Path:
        """The lock file of who builds the artifact of a key."""
        return self._root / LOCKS / f"{key}.lock"

    def fetch_lock(self, key: str) -> Path:
        """The lock file of who fetches it from a store elsewhere."""
        return self._root / LOCKS / f"{key}.fetch"

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact of a key if it is there and whole; builds nothing, and notes nothing."""
        folder = self.artifact_folder(stage, key)
        with self.reading():
            if fault(folder) is None:
                return Artifact(folder, key, reused=True)
        return self._fetch(stage, key) if self._remote is not None else None

    def _put_back(self, stage: str, artifact: Artifact) -> None:
        """Upload a copy whose original was pruned elsewhere, once: other nodes look for that."""
        name = _remote_name(stage, artifact.key)
        if self._remote is None or name in self._seen_there:
            return
        with self.writing():
            if not self._remote.exists(f"{name}/{MANIFEST}"):
                self._remote.upload(artifact.path, name)
        self._seen_there.add(name)

    def get(self, stage: str, key: str) -> Artifact:
        """The artifact of a key that an earlier call gave.

        Raises:
            StoreError: it is not there, or damaged.
        """
        self._note(stage, key)
        found = self.find(stage, key)
        if found is None:
            msg = (
                f"store {self.shown!r} has no whole {stage} artifact {key[:12]}: it was removed or "
                "damaged since it was made; run the same command again to make it anew"
            )
            raise StoreError(msg)
        return found

    def obtain(
        self, stage: str, inputs: Mapping[str, JSON], build: Callable[[Path], None]
    ) -> Artifact:
        """The artifact of ``stage`` for ``inputs``, made by ``build`` if it is not there yet.

        ``build`` receives a new empty folder and fills it. Of several processes of one machine (or
        of machines that share the folder and its locks) that ask at once, one builds and the others
        wait. The folder gets its final name in one step, with ``inputs.json`` and a manifest of
        sizes and digests beside the result; a build that raises or dies leaves no artifact. An
        artifact with missing or shortened files is moved to ``damaged/`` and made anew.

        Raises:
            StoreError: the store cannot be written.
            Exception: whatever ``build`` raises.
        """
        key = self.key(stage, inputs)
        unnoted = self._note(stage, key)
        found = self.find(stage, key)
        if found is not None:
            self._put_back(stage, found)
            return found
        with self.writing():
            if unnoted is not None:
                raise unnoted
        with contextlib.ExitStack() as stack:
            with self.writing():
                lock = locked(self.lock(key), purpose=f"{stage} {key[:12]}")
                stack.enter_context(lock)
            found = self.find(stage, key)
            if found is not None:
                return found
            with self.writing():
                self._set_aside(stage, key)
                building = self._new_folder(key)
            try:
                with self._room():
                    build(building)
                self._finish(stage, key, inputs, building)
            finally:
                shutil.rmtree(building, ignore_errors=True)
        return Artifact(self.artifact_folder(stage, key), key, reused=False)

    def _finish(self, stage: str, key: str, inputs: Mapping[str, JSON], building: Path) -> None:
        for name in (INPUTS, MANIFEST):
            if (building / name).exists():
                msg = f"the {stage} stage wrote {name}, a name that the store keeps for itself"
                raise ValueError(msg)
        with self.writing():
            (building / INPUTS).write_text(readable(_identity(stage, inputs)))
            seal(building)
            if self._remote is not None:
                # First, so that nothing is in the cache that the other nodes cannot have.
                self._remote.upload(building, _remote_name(stage, key))
            publish(building, self.artifact_folder(stage, key))

    def _fetch(self, stage: str, key: str) -> Artifact | None:
        assert self._remote is not None
        with self.reading():
            if not self._remote.exists(f"{_remote_name(stage, key)}/{MANIFEST}"):
                return None
        with self.writing():
            lock = locked(self.fetch_lock(key), purpose=f"{stage} {key[:12]}")
            with lock:
                folder = self.artifact_folder(stage, key)
                if fault(folder) is not None:
                    self._set_aside(stage, key)
                    building = self._new_folder(f"{key}-fetch")
                    try:
                        wrong = self._remote.download(_remote_name(stage, key), building)
                        if wrong is not None:
                            log.warning("%s %s in %s: %s", stage, key[:12], self.shown, wrong)
                            return None
                        publish(building, folder)
                    finally:
                        shutil.rmtree(building, ignore_errors=True)
                return Artifact(folder, key, reused=True)

    def _new_folder(self, name: str) -> Path:
        """An empty folder; its maker holds the lock, so what is there already is a dead one's."""
        folder = self._root / BUILDING / f"{name}-{os.uname().nodename}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _set_aside(self, stage: str, key: str) -> None:
        folder = self.artifact_folder(stage, key)
        if not folder.exists():
            return
        wrong = fault(folder)
        aside = self._root / DAMAGED / f"{stage}-{key}-{time.time_ns()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
        log.warning("%s %s was damaged (%s); it is now %s", stage, key[:12], wrong, aside)

    def _note(self, stage: str, key: str) -> OSError | None:
        """Note that ``used_by`` refers to an artifact; why that cannot be done, if it cannot.

        A store that nobody may write is read all the same: nobody can prune it either.
        """
        if self.references is not None:
            try:
                self.references.note(stage, key)
            except OSError as error:
                return error
        return None

    def noted_all(self) -> None:
        """``used_by`` has come to its end, so all that it refers to is noted, if it ran before too.

        Raises:
            StoreError: the store cannot be written.
        """
        if self.references is not None:
            with self.writing():
                self.references.complete()

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write the result file ``name`` (``results/emodb/evaluation.json``) whole or not at all.

        Raises:
            StoreError: the store cannot be written.
            ValueError: ``name`` leaves the store or lies among its artifacts.
        """
        with self.writing():
            self.files.write(_checked(name), data)

    def read_bytes(self, name: str) -> bytes:
        """All bytes of the result file ``name``.

        Raises:
            StoreError: there is no such file, or it cannot be read.
        """
        with self.reading():
            return self.files.read(_checked(name))

    def exists(self, name: str) -> bool:
        """Whether the result file ``name`` has been written."""
        with self.reading():
            return self.files.exists(_checked(name))

    def list(self, prefix: str) -> tuple[str, ...]:
        """Names of the result files under the folder ``prefix``, at any depth, sorted.

        A file that is still being written is not among them; an absent folder has none.
        """
        with self.reading():
            return self.files.list(_checked(prefix))

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """A build that the disk is too full for, or may not be written to, says so as the store."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            with self.writing():
                raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What goes wrong inside is that the store cannot be written."""
        try:
            yield
        except OSError as error:
            msg = (
                f"store {self.shown!r} cannot be written under {self._root} ({error}); make it "
                "writable, free some space, or name another folder with store= in the experiment"
            )
            raise StoreError(msg) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong inside is that the store cannot be read."""
        try:
            yield
        except OSError as error:
            msg = f"store {self.shown!r} cannot be read ({error}); check its address and rights"
            raise StoreError(msg) from error


def _identity(stage: str, inputs: Mapping[str, JSON]) -> dict[str, JSON]:
    if stage not in STAGE_VERSIONS:
        msg = f"there is no stage {stage!r}; {nearest(stage, STAGE_VERSIONS)}"
        raise ValueError(msg)
    return {"stage": stage, "version": STAGE_VERSIONS[stage], "inputs": inputs}


def _remote_name(stage: str, key: str) -> str:
    return f"{ARTIFACTS}/{stage}/{key}"


def _checked(name: str) -> str:
    parts = name.split("/")
    if not name or parts[0] in RESERVED or any(part in {"", ".", ".."} for part in parts):
        msg = (
            f"{name!r} cannot name a result file: it must be a relative path without '..' "
            f"whose first folder is none of {', '.join(sorted(RESERVED))}"
        )
        raise ValueError(msg)
    return name

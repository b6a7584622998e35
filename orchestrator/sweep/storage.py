"""Where a study lies: a file in the store, or the database or log that ``search.storage`` names."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from orchestrator.errors import ExperimentError, StoreError, UnderstudyError, nearest
from orchestrator.experiment import Experiment
from orchestrator.store import Store
from orchestrator.store.publication import locked

_SQLITE = "sqlite:///"
_JOURNAL = "journal:"
_POSTGRESQL = "postgresql+psycopg"
_FORMS = ("sqlite:///FILE", "journal:FILE", "postgresql://HOST/DATABASE")
SUFFIX = ".study.db"

BUSY_SECONDS = 60.0
"""How long a sqlite database that another process writes to is waited for."""
CONNECT_SECONDS = 5
"""How long a database server may take to answer."""
LOCK_SECONDS = 10
"""After which a lock on a journal is broken: whoever held it was killed while it wrote a line."""

LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""File systems on which sqlite may keep a write-ahead log, whose readers share memory with the
writer; elsewhere (a network file system, or none that is known) it keeps a rollback journal."""


def study_address(experiment: Experiment, store: Store) -> str:
    """Where the study lies: ``sqlite:////FILE``, ``journal:/FILE`` or ``postgresql+psycopg://...``.

    Without ``search.storage``, a database of its own in the store if that is a local folder, else
    in the working folder. Paths are absolute. It may hold credentials: :func:`shown_address` is for
    people.

    Raises:
        ExperimentError: ``search.storage`` is no such address.
    """
    asked = None if experiment.search is None else experiment.search.storage
    if asked is None:
        return f"{_SQLITE}{own_folder(store) / (experiment.name + SUFFIX)}"
    scheme, colon, rest = asked.partition(":")
    if not colon:
        raise ExperimentError(
            f"search.storage {asked!r} is no address of a study; use one like {', '.join(_FORMS)}"
        )
    if scheme == "sqlite":
        name, mark, options = rest.removeprefix("///").partition("?")
        if not rest.startswith("///") or name in ("", ":memory:"):
            raise ExperimentError(
                f"search.storage {asked!r} names no file; use sqlite:///FILE, with three slashes "
                "(and a fourth for an absolute path)"
            )
        return f"{_SQLITE}{_absolute(name)}{mark}{options}"
    if scheme == "journal":
        name = rest.removeprefix("//")
        if not name or (rest.startswith("//") and not name.startswith("/")):
            raise ExperimentError(f"search.storage {asked!r} names no file; use journal:FILE")
        return f"{_JOURNAL}{_absolute(name)}"
    if scheme in ("postgresql", _POSTGRESQL) and rest.startswith("//"):
        return f"{_POSTGRESQL}:{rest}"
    known = nearest(scheme, ("sqlite", "journal", "postgresql"))
    raise ExperimentError(
        f"search.storage {_redacted(asked)!r}: a study cannot lie there; {known} "
        f"({', '.join(_FORMS)})"
    )


def own_folder(store: Store) -> Path:
    """Where the studies of a store have their files, if ``search.storage`` names no other place."""
    return Path.cwd() if "://" in store.uri else _absolute(store.uri) / "studies"


def shown_address(address: str) -> str:
    """The address without credentials, as optuna-dashboard takes it.

    >>> shown_address("postgresql+psycopg://me:secret@host/studies")
    'postgresql+psycopg://***@host/studies'
    >>> shown_address("journal:/data/study.log")
    '/data/study.log'
    """
    return _redacted(address).removeprefix(_JOURNAL)


def study_names(address: str) -> tuple[str, ...]:
    """The names of the studies that lie at an address; none if it is yet to be made.

    Nothing is written.

    Raises:
        ExperimentError: there is something else; or psycopg is not installed.
        StoreError: it cannot be read, or the server does not answer.
    """
    if address.startswith(_JOURNAL):
        file = Path(address.removeprefix(_JOURNAL))
        if not _begun(file, address):
            return ()
        with _telling(address, "cannot be read"):
            return tuple(study.study_name for study in open_journal(file).get_all_studies())
    if address.startswith(_SQLITE) and not _begun(_sqlite_file(address), address):
        return ()
    import sqlalchemy

    with _telling(address, "cannot be read"):
        engine = sqlalchemy.create_engine(address, **_engine_options(address, write=False))
        try:
            there = set(sqlalchemy.inspect(engine).get_table_names())
            if "version_info" not in there:
                _refuse_others(there, address)
                return ()
            with engine.connect() as connection:
                rows = connection.execute(
                    sqlalchemy.text("SELECT study_name FROM studies ORDER BY study_id")
                )
                return tuple(row[0] for row in rows)
        finally:
            engine.dispose()


def open_storage(address: str, *, write: bool = True) -> optuna.storages.BaseStorage:
    """Optuna's storage at an address, made if it is not there.

    A sqlite database on a local disk keeps a write-ahead log and is not flushed after each commit:
    what was written outlives a process that is killed. A loss of power may cost the last commits,
    but damages nothing. Other processes may read meanwhile.

    Args:
        address: by :func:`study_address`.
        write: without it there must be a study, and nothing is written.

    Raises:
        ExperimentError: there is something else; or psycopg is not installed.
        StoreError: it cannot be written, or the server does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study_names(address)  # raises where something else is, which Optuna would add its tables to
    if address.startswith(_JOURNAL):
        file = Path(address.removeprefix(_JOURNAL))
        with _telling(address, "cannot be written"):
            if write:
                _mend_journal(file)
            return open_journal(file)
    making: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    with _telling(address, "cannot be written" if write else "cannot be read"):
        if write and address.startswith(_SQLITE):
            file = _sqlite_file(address)
            # two processes that make one database at once would both make its tables
            making = locked(file.with_name(f".{file.name}.lock"), purpose="making the study")
        with making:
            return optuna.storages.RDBStorage(
                # Optuna takes braces for a template
                address.replace("{", "{{").replace("}", "}}"),
                engine_kwargs=_engine_options(address, write=write),
                skip_table_creation=not write,
            )


def open_journal(file: Path) -> optuna.storages.JournalStorage:
    """A log of Optuna's; the path must be absolute, for a relative lock is never broken."""
    lock = JournalFileSymlinkLock(str(file), grace_period=LOCK_SECONDS)
    return optuna.storages.JournalStorage(JournalFileBackend(str(file), lock_obj=lock))


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that a path lies on; empty if it is not told.

    Args:
        path: absolute.
        mounts: as ``/proc/self/mounts`` has them.
    """
    found, deepest = "", -1
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        folder = Path(place.replace("\\040", " "))
        # of two mounts in one place the later one counts
        if path.is_relative_to(folder) and len(folder.parts) >= deepest:
            found, deepest = kind, len(folder.parts)
    return found


def _absolute(name: str) -> Path:
    return Path(name).expanduser().resolve()


def _sqlite_file(address: str) -> Path:
    return Path(address.removeprefix(_SQLITE).partition("?")[0])


def _begun(file: Path, address: str) -> bool:
    """Whether a file holds anything; raises where that is none of Optuna's."""
    sqlite = address.startswith(_SQLITE)
    kind, start = (
        ("sqlite database", b"SQLite format 3\0") if sqlite else ("journal", b'{"op_code":')
    )
    with _telling(address, "cannot be read"):
        if file.is_dir():
            raise ExperimentError(f"search.storage: {file} is a folder; name a file in it")
        try:
            with file.open("rb") as opened:
                head = opened.read(len(start))
        except FileNotFoundError:
            return False
    # what a killed process left of a first line is a beginning, too
    if head and not (head == start or (not sqlite and start.startswith(head))):
        raise ExperimentError(
            f"search.storage: {file} is a file, but no {kind} of Optuna's, and is left as it is; "
            "name another"
        )
    return bool(head)


def _refuse_others(tables: set[str], address: str) -> None:
    """Raise where a database holds other tables than those Optuna was making when it was killed."""
    from optuna.storages._rdb import models

    others = sorted(tables - set(models.BaseModel.metadata.tables) - {"alembic_version"})
    if others:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ExperimentError(
            f"search.storage: {shown_address(address)} is a database of something else (its "
            f"tables: {named}), and is left as it is; name another"
        )


def _engine_options(address: str, *, write: bool) -> dict[str, Any]:
    if not address.startswith(_SQLITE):
        # a pause between trials may outlast a connection
        return {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}
    file = _sqlite_file(address)
    return {"creator": functools.partial(_writing if write else _reading, file)}


def _writing(file: Path) -> sqlite3.Connection:
    connection = _connected(file, "rwc")
    # without its own log it is flushed after every commit, since less would not outlive a crash
    with contextlib.suppress(sqlite3.OperationalError):  # somebody reads it: it stays as it is
        wanted = "WAL" if _is_local(file) else "DELETE"
        if connection.execute(f"PRAGMA journal_mode={wanted}").fetchone() == ("wal",):
            connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _reading(file: Path) -> sqlite3.Connection:
    """Also for who may not write to the folder, where sqlite keeps what readers share."""
    if os.access(file.parent, os.W_OK):
        return _connected(file, "rw")  # what a killed process left is cleared away
    log = file.with_name(f"{file.name}-wal")
    return _connected(file, "ro" if log.exists() else "ro&immutable=1")


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(file))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _is_local(file: Path) -> bool:
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:  # elsewhere than on Linux nothing tells
        return False
    return file_system(file, mounts) in LOCAL


def _mend_journal(file: Path) -> None:
    """Cut off the line that a killed process left unfinished: the next would be added to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        return
    lock = JournalFileSymlinkLock(str(file), grace_period=LOCK_SECONDS)
    with file.open("rb+") as opened:
        lock.acquire()
        try:
            text = opened.read()
            if not text.endswith(b"\n"):
                opened.truncate(text.rfind(b"\n") + 1)
        finally:
            lock.release()


@contextlib.contextmanager
def _telling(address: str, what: str) -> Iterator[None]:
    """Say in one paragraph, without credentials, why a study cannot be read or written."""
    import sqlalchemy

    shown = shown_address(address)
    server = not address.startswith((_SQLITE, _JOURNAL))
    if server and importlib.util.find_spec("psycopg") is None:
        raise ExperimentError(
            f"search.storage: {shown} needs psycopg, which is not installed; "
            "pip install 'understudy[postgres]', or name a file (sqlite:///FILE, journal:FILE)"
        )
    try:
        yield
    except UnderstudyError:
        raise
    except (ImportError, ValueError, RuntimeError) as error:
        # RuntimeError: the tables are of another version of Optuna's; ValueError: a line of a log
        raise StoreError(f"the study in {shown} {what}: {_cause(error, address)}") from None
    except (
        OSError,
        optuna.exceptions.OptunaError,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
    ) as error:
        mend = (
            "check that the server runs and that user, password and database are right, or name "
            "another with search.storage="
            if server
            else "make its folder writable, or name another place with search.storage= or store="
        )
        raise StoreError(
            f"the study in {shown} {what} ({_cause(error, address)}); {mend}"
        ) from None


def _cause(error: BaseException, address: str) -> str:
    """The first line of the reason, without credentials."""
    root: BaseException = getattr(error, "orig", None) or error.__cause__ or error
    said = (str(root).strip() or type(root).__name__).splitlines()[0]
    for secret in filter(None, _secrets(address)):
        said = said.replace(secret, "***")
    return re.sub(r'(user|role) "[^"]*"', r'\1 "***"', said)


def _secrets(address: str) -> Iterator[str]:
    """The password, as it is written and as it is meant."""
    found = re.search(r":(?://)?(.*)@", address)
    given = [] if found is None else [found[1].partition(":")[2]]
    given += re.findall(r"(?i)[?&]password=([^&]*)", address)
    for secret in given:
        yield secret
        yield unquote(secret)


def _redacted(address: str) -> str:
    """Up to the last ``@``: a password may hold any sign."""
    address = re.sub(r"(?<=:)(//)?[^/].*@", r"\1***@", address)
    return re.sub(r"(?i)([?&](?:user|password)=)[^&]+", r"\1***", address)

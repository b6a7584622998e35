"""Who uses a store now, so that nobody prunes it meanwhile."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.store.publication import gate, holder, locked
from orchestrator.store.references import begin
from orchestrator.store.store import LOCKS, Store

GATE = "in-use"
"""Lock file through which every command goes that uses a store, and, alone, whoever prunes it."""
_COMMAND = ".command"


@contextlib.contextmanager
def using(store: Store, *, command: str, alone_as: str | None = None) -> Iterator[None]:
    """Use a store for a command; waits while it is pruned.

    Args:
        store: that of the command.
        command: what messages call it.
        alone_as: a name that one process of this machine may have at a time; default: none.

    Raises:
        StoreError: another process is running it, or the store cannot be written.
    """
    name = alone_as or f"{os.uname().nodename}-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        with store.writing():
            stack.enter_context(gate(_gate(store), alone=False))
            lock = store.folder / LOCKS / f"{name}{_COMMAND}"
            try:
                stack.enter_context(locked(lock, purpose=command, wait=False))
            except BlockingIOError as error:
                raise StoreError(
                    f"{command} is already running on this store ({store.shown}); wait for it, or "
                    "end it first"
                ) from error
            if store.used_by is not None:
                begin(store.files)
        yield


@contextlib.contextmanager
def pruning(store: Store) -> Iterator[None]:
    """Have a store to oneself, as far as this machine's locks reach.

    Raises:
        StoreError: a command uses it, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with store.writing():
            try:
                stack.enter_context(gate(_gate(store), alone=True))
            except BlockingIOError as error:
                who = "; ".join(running(store)) or "another command"
                raise StoreError(
                    f"store {store.shown!r} is in use: {who}; nothing was pruned, since that might "
                    "take away what is needed there. Prune when it has ended"
                ) from error
            begin(store.files)
        yield


def running(store: Store) -> tuple[str, ...]:
    """Commands of this machine that use the store now, in words."""
    locks = (store.folder / LOCKS).glob(f"*{_COMMAND}")
    return tuple(sorted({who for path in locks if (who := holder(path)) is not None}))


def lock_files(store: Store) -> list[Path]:
    """Those of builders and commands, the living and the dead."""
    return sorted(path for path in (store.folder / LOCKS).iterdir() if path.name != GATE)


def _gate(store: Store) -> Path:
    return store.folder / LOCKS / GATE

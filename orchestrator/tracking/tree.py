"""The tree of runs of an experiment: which key each has, so that the same work is the same run."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property

from orchestrator.canonical import digest
from orchestrator.store import Store
from orchestrator.store.publication import locked
from orchestrator.tracking.journal import Journal

JOURNALS = "journal"
"""Folder of a store under which every experiment's journals lie."""
STORE_ID = "store-id"
"""File of a store that tells it from every other."""


@dataclass(frozen=True)
class RunTree:
    """Keys and journals of one sweep or one evaluation.

    A key is a hash of the store's own id and the run's place in the tree. So a run taken up again
    after a crash is the run it was, and somebody else's of the same experiment, who has another
    store, is another one, though both are on one MLflow server.
    """

    store: Store
    experiment: str
    root: str
    """What the top run is: ``sweep``, or ``evaluation`` with what it evaluates."""

    @property
    def prefix(self) -> str:
        """Where the journals of this command lie in the store."""
        return f"{JOURNALS}/{self.experiment}/{self.root}"

    def key(self, *place: str | int) -> str:
        """The key of the run at a place below the top run; no place is the top run itself."""
        return digest([self._store_id, self.experiment, self.root, *place])[:32]

    def journal(self, *place: str | int) -> Journal:
        """The journal of the run at a place."""
        return Journal(self.store, prefix=self.prefix, key=self.key(*place))

    @cached_property
    def _store_id(self) -> str:
        """Random, made by the first command on the store; copies of a store share it."""
        if not self.store.exists(STORE_ID):
            with locked(self.store.lock(STORE_ID), purpose="naming the store"):
                if not self.store.exists(STORE_ID):
                    self.store.write_bytes(STORE_ID, secrets.token_hex(16).encode())
        return self.store.read_bytes(STORE_ID).decode()

"""The tree of runs of an experiment: which key each has, so that the same work is the same run."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.canonical import digest
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal

JOURNALS = "journal"
"""Folder of a store under which every experiment's journals lie."""


@dataclass(frozen=True)
class RunTree:
    """Keys and journals of one sweep or one evaluation.

    A key is a hash of the run's place in the tree, so a run taken up again after a crash is
    the run it was.
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
        return digest([self.experiment, self.root, *place])[:32]

    def journal(self, *place: str | int) -> Journal:
        """The journal of the run at a place."""
        return Journal(self.store, prefix=self.prefix, key=self.key(*place))

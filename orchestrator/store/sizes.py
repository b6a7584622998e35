"""How much room a store takes, by what lies in it and by who needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.store.contents import RESULTS, STUDIES, Contents


class Sized(Protocol):
    """What takes room."""

    @property
    def size(self) -> int:
        """Bytes."""


@dataclass(frozen=True)
class Amount:
    """How many things take how many bytes."""

    count: int
    bytes: int

    @classmethod
    def of(cls, things: Iterable[Sized]) -> Amount:
        """Of some things."""
        sizes = [thing.size for thing in things]
        return cls(len(sizes), sum(sizes))


@dataclass(frozen=True)
class ExperimentSize:
    """What one experiment takes."""

    artifacts: Amount | None
    """Those that it refers to; None where that is not known."""
    alone: Amount | None
    """Those that nobody else refers to."""
    files: Amount
    """Results and study."""


@dataclass(frozen=True)
class StoreSizes:
    """What a store takes."""

    artifacts: dict[str, Amount]
    """By stage."""
    others: dict[str, Amount]
    """By kind, without those of which there are none: checkpoints, leftovers, result files, and
    so on."""
    experiments: dict[str, ExperimentSize]
    unused: Amount
    """Artifacts that no experiment refers to."""

    @property
    def total(self) -> int:
        """Bytes of all of it; what several experiments refer to is counted once."""
        groups = (*self.artifacts.values(), *self.others.values())
        return sum(amount.bytes for amount in groups)


_LEFT = {
    "damaged": "damaged artifacts",
    "building": "builds that ended early, or go on",
    "write": "files not written to the end",
    "upload": "uploads not brought to the end",
}


def sizes_of(contents: Contents) -> StoreSizes:
    """What a store takes."""
    stages = sorted({one.stage for one in contents.artifacts})
    others = {"checkpoints": Amount.of(contents.fits), "copies here": Amount.of(contents.copies)}
    for kind, name in _LEFT.items():
        others[name] = Amount.of(left for left in contents.leftovers if left.kind == kind)
    for name, entries in contents.others.items():
        others[name] = Amount.of(entries)
    return StoreSizes(
        artifacts={
            stage: Amount.of(one for one in contents.artifacts if one.stage == stage)
            for stage in stages
        },
        others={name: amount for name, amount in others.items() if amount.count},
        experiments={name: _of_experiment(contents, name) for name in contents.experiments},
        unused=Amount.of(one for one in contents.artifacts if not one.users),
    )


def _of_experiment(contents: Contents, name: str) -> ExperimentSize:
    own = [one for one in contents.artifacts if name in one.users]
    # journals are not told apart by variant
    prefixes = (f"{RESULTS}/{name}/", f"{STUDIES}/{name}.study.db")
    kinds = (contents.others.get(kind, ()) for kind in (RESULTS, STUDIES))
    known = name not in contents.referrers.unknown
    return ExperimentSize(
        artifacts=Amount.of(own) if known else None,
        alone=Amount.of(one for one in own if len(one.users) == 1) if known else None,
        files=Amount.of(
            entry for entries in kinds for entry in entries if entry.name.startswith(prefixes)
        ),
    )

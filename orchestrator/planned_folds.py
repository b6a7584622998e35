"""The folds of an experiment, counted for a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.experiment.protocol import ProtocolSection
from orchestrator.preparation import PlannedFold
from orchestrator.protocols.fold import ROLES


@dataclass(frozen=True)
class FoldsPlan:
    """The folds of one corpus."""

    corpus: str
    protocol: str
    folds: int
    seeds: int
    sizes: Mapping[str, tuple[int, int]]
    """Fewest and most utterances of a fold in each role."""


def folds_planned(
    planned: Sequence[PlannedFold], protocol: ProtocolSection
) -> tuple[FoldsPlan, ...]:
    """The folds of each corpus.

    Args:
        planned: of every corpus.
        protocol: of the experiment or the search; a corpus's own goes before it.
    """
    by_corpus: dict[str, list[PlannedFold]] = {}
    for entry in planned:
        by_corpus.setdefault(entry.task.corpus, []).append(entry)
    return tuple(
        FoldsPlan(
            corpus=corpus,
            protocol=entries[0].prepared.describe(protocol),
            folds=len({entry.fold.name for entry in entries}),
            seeds=len({entry.task.seed for entry in entries}),
            sizes={role: _range(len(entry.fold.role(role)) for entry in entries) for role in ROLES},
        )
        for corpus, entries in by_corpus.items()
    )


def _range(values: Iterable[int]) -> tuple[int, int]:
    found = list(values)
    return min(found), max(found)

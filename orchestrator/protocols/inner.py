"""The training speakers of a fold, split again for knowledge of utterances not fitted on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.errors import ProtocolError
from orchestrator.protocols.dealing import deal
from orchestrator.protocols.fold import Rows

if TYPE_CHECKING:
    import pandas as pd


def inner_folds(
    table: pd.DataFrame, ids: Iterable[str], *, folds: int, seed: int
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Split the training ``ids`` of a fold again, for knowledge of utterances not fitted on.

    Speakers are dealt evenly into ``folds`` by a hash of (seed, fold, name); fewer speakers than
    folds make as many folds as speakers.

    Returns:
        Pairs (fitted ids, held ids), both sorted. Every id is held exactly once, by a pair whose
        fitted ids have none of its speaker. A rare class may be absent from fitted ids.

    Raises:
        ProtocolError: all ``ids`` are of one speaker.
    """
    rows = Rows.of(table)
    wanted = sorted(set(ids))
    speakers = sorted({rows.speaker[name] for name in wanted})
    if len(speakers) < 2:
        msg = (
            f"inner speaker folds need two training speakers, but there is only {speakers}; "
            "recipe.knowledge: cross-fitted, recipe.curriculum.knowledge: cross-fitted (its "
            "default) and recipe.curriculum.difficulty: cross-validated-loss ask for them: use "
            "in-sample knowledge, another difficulty, or validate on fewer speakers"
        )
        raise ProtocolError(msg)
    count = min(folds, len(speakers))
    group = deal(speakers, count, salt=["inner", seed])
    return tuple(
        (
            tuple(name for name in wanted if group[rows.speaker[name]] != held),
            tuple(name for name in wanted if group[rows.speaker[name]] == held),
        )
        for held in range(count)
    )

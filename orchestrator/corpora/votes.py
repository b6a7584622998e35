"""Listeners' votes, carried along when emotions are renamed, merged or left out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping

import pandas as pd

from orchestrator.corpora.listing import votes_text


def relabelled_votes(
    table: pd.DataFrame, *, words: Mapping[str, str] | None, learned: Collection[str]
) -> pd.DataFrame:
    """The table with votes for the emotions that are learned, and the agreement on the label.

    Votes for other emotions are dropped from ``votes``, but count in ``agreement``: the share of
    all votes that went to the label. It is filled in where the corpus has none and has votes.

    Args:
        table: with ``emotion`` as learned, and ``votes`` and ``agreement`` of the corpus.
        words: from the emotions that ``votes`` names to those learned; None where they are the
            same. Those left out are not learned.
        learned: the emotions that may keep votes.

    Returns:
        The table with both columns replaced.
    """
    own: dict[str, dict[str, float]] = {
        text: json.loads(text) for text in set(table["votes"]) if text
    }
    merged = {text: _merged(votes, words, learned) for text, votes in own.items()}
    total = {text: sum(votes.values()) for text, votes in own.items()}
    agreement = [
        merged[text].get(emotion, 0.0) / total[text]
        if text and pd.isna(known) and total[text] > 0
        else known
        for text, emotion, known in zip(
            table["votes"], table["emotion"], table["agreement"], strict=True
        )
    ]
    texts = {text: votes_text(votes) for text, votes in merged.items()}
    return table.assign(
        votes=pd.Series(
            [texts.get(text, "") for text in table["votes"]], index=table.index, dtype="str"
        ),
        agreement=pd.Series(agreement, index=table.index, dtype="float64"),
    )


def _merged(
    votes: Mapping[str, float], words: Mapping[str, str] | None, learned: Collection[str]
) -> dict[str, float]:
    """Votes by the emotions that are learned."""
    sums: dict[str, float] = defaultdict(float)
    for name, count in votes.items():
        new = name if words is None else words.get(name)
        if new is not None and new in learned:
            sums[new] += count
    # Whole votes stay whole numbers in the text.
    return {name: int(count) if count == int(count) else count for name, count in sums.items()}

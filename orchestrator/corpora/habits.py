"""Checks that need the whole table: lengths out of the ordinary, and the same audio twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from orchestrator.corpora.listing import SPLITS, Problem

FEWEST: Final = 8
"""Fewer utterances make no habit."""
DEVIATIONS: Final = 6.0
"""Far from the habit: the logarithm of the duration is more than this many robust standard
deviations (1.4826 times the median absolute deviation) from the median's."""
NEAREST: Final = 6.0
"""A duration within this factor of the median is never far from the habit: in a corpus of equally
long sentences, one slow speaker is no fault."""
FARTHEST: Final = 16.0
"""A duration beyond this factor of the median always is. Turns of free conversation reach a tenth
and ten times the median, wrongly cut ones twenty times and more."""

WRONG_FACTOR: Final = 2.0
"""Audio may be this many times as long, or as short, as its corpus says."""
WRONG_SECONDS: Final = 2.0
"""Audio may differ by this much from what its corpus says, in seconds."""

_NAMED: Final = 3


def far_off(table: pd.DataFrame) -> list[Problem]:
    """``far-longer`` and ``far-shorter``: utterances far from the corpus's own habit.

    Args:
        table: with ``id``, ``path`` and ``duration`` (seconds).
    """
    if len(table) < FEWEST:
        return []
    logs = np.log(table["duration"].to_numpy(dtype=np.float64))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    reach = float(np.clip(DEVIATIONS * spread, np.log(NEAREST), np.log(FARTHEST)))
    problems = []
    for place in np.flatnonzero(np.abs(logs - middle) > reach):
        row = table.iloc[int(place)]
        longer = logs[place] > middle
        limit = float(np.exp(middle + reach if longer else middle - reach))
        problems.append(
            Problem(
                kind="far-longer" if longer else "far-shorter",
                text=(
                    f"{row['path']} lasts {row['duration']:.2f} s, "
                    f"{'more' if longer else 'less'} than {limit:.2f} s, the limit in this corpus "
                    f"of utterances of about {np.exp(middle):.2f} s"
                ),
                id=str(row["id"]),
            )
        )
    return problems


def wrong_length(table: pd.DataFrame) -> list[Problem]:
    """``wrong-length``: audio not as long as the corpus's own tables say.

    Args:
        table: with ``id``, ``path``, ``duration`` and maybe ``stated`` (seconds); utterances whose
            stated length is NaN, or not above zero, are not compared.
    """
    if "stated" not in table:
        return []
    stated = table["stated"].to_numpy(dtype=np.float64)
    duration = table["duration"].to_numpy(dtype=np.float64)
    asked = stated > 0
    ratio = np.divide(duration, stated, out=np.ones_like(stated), where=asked)
    off = asked & (np.abs(duration - stated) > WRONG_SECONDS)
    off &= np.maximum(ratio, 1 / ratio) > WRONG_FACTOR
    rows = table[off]
    return [
        Problem(
            kind="wrong-length",
            text=f"{path} lasts {lasts:.2f} s; its corpus says {says:.2f} s",
            id=str(id_),
        )
        for id_, path, lasts, says in zip(
            rows["id"], rows["path"], duration[off], stated[off], strict=True
        )
    ]


def duplicates(table: pd.DataFrame) -> tuple[list[Problem], list[str]]:
    """``duplicate``: the same audio where it does harm; and a remark on where it does not.

    Under two speakers or emotions one copy at least is wrong, and nothing says which: all are
    named. In two
    official splits the copies outside of ``test`` are named, or outside of ``validation`` if none
    is in ``test``. Copies of one speaker in one split leave every fold as it should be.

    Args:
        table: with ``id``, ``path``, ``speaker``, ``emotion``, ``split`` and ``content``, of audio
            that is not silent: silence is nobody's.

    Returns:
        The problems, and at most one remark.
    """
    again = table[table["content"].duplicated(keep=False)]
    problems: list[Problem] = []
    harmless: list[list[str]] = []
    for _, copies in again.groupby("content", sort=False):
        splits = [split for split in SPLITS if (copies["split"] == split).any()]
        if copies["speaker"].nunique() > 1:
            problems += _named(copies, copies, by="speaker")
        elif copies["emotion"].nunique() > 1:
            problems += _named(copies, copies, by="emotion")
        elif len(splits) > 1:
            # SPLITS ends with the role that is measured on: its copy is the one to keep.
            kept = copies["split"] == splits[-1]
            wrong = copies[~kept & copies["split"].isin(splits)]
            problems += _named(wrong, copies, by="split")
        else:
            harmless.append(sorted(copies["id"]))
    return problems, _remark(harmless)


def _named(wrong: pd.DataFrame, copies: pd.DataFrame, *, by: str) -> list[Problem]:
    """One problem for each of ``wrong``, naming the ``copies`` that differ in the column ``by``."""
    where = {
        "speaker": "under another speaker",
        "emotion": "under another emotion",
        "split": "in another official split",
    }[by]
    problems = []
    for _, row in wrong.iterrows():
        others = copies[copies[by] != row[by]]
        named = [f"{id_!r} ({value})" for id_, value in zip(others["id"], others[by], strict=True)]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        text = f"{row['path']} is heard again {where}: {', '.join(named[:_NAMED])}{more}"
        problems.append(Problem(kind="duplicate", text=text, id=str(row["id"])))
    return problems


def _remark(groups: Sequence[Sequence[str]]) -> list[str]:
    if not groups:
        return []
    count = sum(len(group) - 1 for group in groups)
    first = "; ".join(" = ".join(repr(id_) for id_ in group) for group in groups[:_NAMED])
    more = f"; and {len(groups) - _NAMED} more" if len(groups) > _NAMED else ""
    what = "utterance has" if count == 1 else "utterances have"
    return [f"{count} {what} the same audio as another of the same speaker: {first}{more}"]

"""The maps of a corpus's section: columns made from others, and the emotions that are learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from orchestrator.corpora.listing import SPLITS, Listing, Problem, text_of
from orchestrator.corpora.votes import relabelled_votes
from orchestrator.errors import CorpusError, nearest
from orchestrator.experiment.corpus import ColumnMap, CorpusSection, Role

MAPPABLE: Final = ("speaker", "session", "emotion", "gender", "dialogue", "split", "text")
"""Columns that ``columns`` may make or replace."""

_VALUES: Final = {"gender": ("female", "male"), "split": SPLITS}
"""The words of columns that have words of their own; "" where nothing is known."""
_NAMED: Final = 3


def mapped(listing: Listing, *, section: CorpusSection) -> pd.DataFrame:
    """The table with the columns of ``section.columns``, each made from a column as listed.

    Raises:
        CorpusError: there is no such column, or a map lacks a value or gives a wrong one.
    """
    made = {
        target: _looked_up(listing, target=target, how=how, title=section.title)
        for target, how in section.columns.items()
    }
    return listing.table.assign(**made)


def _looked_up(listing: Listing, *, target: str, how: ColumnMap, title: str) -> pd.Series[str]:
    key = f"corpus {title!r} ({listing.place}): columns.{target}"
    if target not in MAPPABLE:
        raise CorpusError(f"{key} cannot be made by a map; {nearest(target, MAPPABLE)}")
    if how.source not in listing.table:
        columns = [str(name) for name in listing.table.columns]
        raise CorpusError(
            f"{key}.source: there is no column {how.source!r}; {nearest(how.source, columns)}"
        )
    known = _VALUES.get(target)
    for value in how.map.values():
        if known is not None and value not in ("", *known):
            raise CorpusError(f"{key}.map gives {value!r}; {nearest(value, known)}")
    values = listing.table[how.source]
    absent = Counter(value for value in values if value not in how.map)
    if absent:
        raise CorpusError(
            f"{key}.map has no value for {how.source} {_counted(absent)}; add "
            f"{'it' if len(absent) == 1 else 'them'} to the map"
        )
    return values.map(how.map)


def unlabelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what the corpus says of emotions, and of roles in its own experiments."""
    return table.assign(emotion="", votes="", agreement=float("nan"), split="")


def complete(table: pd.DataFrame, *, place: str, role: Role) -> tuple[pd.DataFrame, list[Problem]]:
    """The rows that tell what a corpus of this role is there for.

    Of a labelled one these are speaker and emotion, and a session if any row has one; of a
    transcribed one speaker and transcript, with at least one word. An unlabelled one needs nothing.
    """
    needed = {
        "labelled": ["speaker", "emotion"],
        "transcribed": ["speaker", "transcript"],
        "unlabelled": [],
    }[role]
    if role == "labelled" and (table["session"] != "").any():
        needed.append("session")
    problems = []
    usable = pd.Series(True, index=table.index)
    for column in needed:
        # Punctuation alone is not what a recogniser learns.
        told = table[column].map(text_of) if column == "transcript" else table[column]
        lacks = "no word in its transcript" if column == "transcript" else f"no {column}"
        for number in table.index[usable & (told == "")]:
            usable[number] = False
            id_ = str(table["id"][number])
            text = f"{place}: utterance {id_!r} has {lacks}"
            problems.append(Problem(kind=f"no-{column}", text=text, id=id_))
    return table[usable], problems


def labels_of(listing: Listing, *, section: CorpusSection) -> Mapping[str, str] | None:
    """The map from the corpus's own emotions to those learned; None: all, under their own names.

    Where ``columns`` makes emotions from the corpus's own, its map comes before ``labels``. Of
    emotions made from another column, this is ``labels`` alone.
    """
    labels = _labels(listing, section=section)
    made = section.columns.get("emotion")
    if made is None or made.source != "emotion":
        return labels
    return {
        own: new if labels is None else labels[new]
        for own, new in made.map.items()
        if new and (labels is None or new in labels)
    }


def _labels(listing: Listing, *, section: CorpusSection) -> Mapping[str, str] | None:
    """The map from the emotions of the table to those learned: the section's, or its label set.

    A label set speaks of the corpus's own emotions; where ``columns`` makes others, it does not
    apply. None: all are learned under the names they have.
    """
    if section.labels is not None or "emotion" in section.columns:
        return section.labels
    return listing.labels


def labelled(
    table: pd.DataFrame, *, listing: Listing, section: CorpusSection
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The utterances whose emotion is learned, by its new name, and the count of the others.

    Utterances without an emotion stay, for :func:`complete` to name.

    Raises:
        CorpusError: ``labels`` names an emotion that the corpus does not have.
    """
    occurring = set(table["emotion"]) - {""}
    if not occurring:
        return table, {}
    labels = _labels(listing, section=section)
    made = section.columns.get("emotion")
    emotions = None if made is not None else listing.emotions
    known = sorted(occurring) if emotions is None else list(emotions)
    not_used: Counter[str] = Counter()
    if labels is not None:
        for label in labels:
            if label not in known:
                raise CorpusError(
                    f"corpus {section.title!r}: labels names {label!r}, which is no emotion of "
                    f"the corpus; {_hint(label, known)}"
                )
        used = table["emotion"].isin(["", *labels])
        not_used = Counter(table["emotion"][~used])
        table = table[used]
        table = table.assign(emotion=table["emotion"].map({"": "", **labels}))
        known = sorted(set(labels.values()))
    # Votes are in the corpus's own words.
    words = labels_of(listing, section=section)
    voted = relabelled_votes(table, words=words, learned=known)
    if made is not None and made.source != "emotion" and not (voted["votes"] != "").any():
        # Votes for other words than those learned say nothing of the labels.
        voted = voted.assign(agreement=table["agreement"])
    return voted, dict(not_used)


def _hint(label: str, known: Sequence[str]) -> str:
    """The nearest emotion, if any is near, and all of them: there are few."""
    close = nearest(label, known)
    every = f"known: {', '.join(sorted(known))}"
    return every if close.startswith("known") else f"{close} {every}"


def _counted(values: Counter[str]) -> str:
    """``'15' (56 utterances), '16' (71 utterances)``, the first few."""
    first = [f"{value!r} ({count} utterances)" for value, count in sorted(values.items())[:_NAMED]]
    more = len(values) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")

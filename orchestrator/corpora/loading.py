"""From a section of the experiment file to a checked corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import examine_all
from orchestrator.corpora.emodb import list_emodb
from orchestrator.corpora.from_table import list_table
from orchestrator.corpora.listing import Listing, Problem
from orchestrator.corpora.synthetic import list_synthetic
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError, nearest
from orchestrator.experiment.corpus import (
    ColumnMap,
    CorpusSection,
    EmodbCorpus,
    SyntheticCorpus,
    TableCorpus,
)

MAPPABLE: Final = ("speaker", "session", "emotion")
"""Columns that ``columns`` may make or replace."""

_NAMED: Final = 3


@dataclass(frozen=True)
class Prepared:
    """A corpus after every check, with what the checks found.

    Attributes:
        corpus: the utterances that passed; None if none did.
        problems: one per utterance that did not.
        listing: what the layout said, before maps and labels.
    """

    corpus: Corpus | None
    problems: tuple[Problem, ...]
    listing: Listing


def load_corpus(section: CorpusSection) -> Corpus:
    """The corpus that a section describes, complete and checked.

    Raises:
        CorpusError: the corpus is missing or empty; a map lacks a value; a label is unknown; or
            any utterance cannot be used, the message naming the first few and counting the rest.
    """
    prepared = prepare(section)
    if prepared.problems or prepared.corpus is None:
        kept = 0 if prepared.corpus is None else len(prepared.corpus.table)
        raise CorpusError(
            f"corpus {section.title!r} ({prepared.listing.place}): "
            + summary(prepared.problems, total=kept + len(prepared.problems))
        )
    return prepared.corpus


def prepare(section: CorpusSection) -> Prepared:
    """List a corpus, apply ``columns`` and ``labels``, and check the audio of what is used.

    Raises:
        CorpusError: nothing can be said about single utterances because the layout, a map or a
            label is wrong.
    """
    listing = _list(section)
    table = _mapped(listing, section=section)
    emotions = None if "emotion" in section.columns else listing.emotions
    table, empty = _complete(table, place=listing.place)
    table, not_used = _labelled(table, section=section, emotions=emotions)
    problems = [*listing.problems, *empty]
    if "content" not in table:
        heard = examine_all(table["path"].tolist(), source=listing.source)
        problems += [one for one in heard if isinstance(one, Problem)]
        table = table[[not isinstance(one, Problem) for one in heard]]
        good = [one for one in heard if not isinstance(one, Problem)]
        table = table.assign(
            duration=pd.Series([one.duration for one in good], index=table.index, dtype="float64"),
            content=pd.Series([one.content for one in good], index=table.index, dtype="str"),
        )
    if not len(table) and not problems:
        raise CorpusError(
            f"corpus {section.title!r} ({listing.place}): labels leaves no utterance; "
            f"the corpus has {', '.join(not_used)}"
        )
    corpus = None
    if len(table):
        corpus = Corpus(
            name=section.title,
            kind=section.kind,
            table=table,
            not_used=not_used,
            source=listing.source,
        )
    return Prepared(corpus=corpus, problems=tuple(problems), listing=listing)


def _list(section: CorpusSection) -> Listing:
    match section:
        case EmodbCorpus():
            return list_emodb(section)
        case TableCorpus():
            return list_table(section)
        case SyntheticCorpus():
            return list_synthetic(section)


def _mapped(listing: Listing, *, section: CorpusSection) -> pd.DataFrame:
    """The table with the columns of ``section.columns``, each made from a column as listed."""
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
    values = listing.table[how.source]
    absent = Counter(value for value in values if value not in how.map)
    if absent:
        raise CorpusError(
            f"{key}.map has no value for {how.source} {_counted(absent)}; add "
            f"{'it' if len(absent) == 1 else 'them'} to the map"
        )
    return values.map(how.map)


def _complete(table: pd.DataFrame, *, place: str) -> tuple[pd.DataFrame, list[Problem]]:
    """The rows that have speaker and emotion, and a session if any row has one."""
    needed = ["speaker", "emotion"]
    if (table["session"] != "").any():
        needed.append("session")
    problems = []
    usable = pd.Series(True, index=table.index)
    for column in needed:
        for number in table.index[usable & (table[column] == "")]:
            usable[number] = False
            text = f"{place}: utterance {table['id'][number]!r} has no {column}"
            problems.append(Problem(kind=f"no {column}", text=text))
    return table[usable], problems


def _labelled(
    table: pd.DataFrame, *, section: CorpusSection, emotions: Sequence[str] | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The utterances whose emotion is learned, by its new name, and the count of the others."""
    if section.labels is None or not len(table):
        return table, {}
    known = sorted(set(table["emotion"])) if emotions is None else emotions
    for label in section.labels:
        if label not in known:
            raise CorpusError(
                f"corpus {section.title!r}: labels names {label!r}, which is no emotion of the "
                f"corpus; {nearest(label, known)}"
            )
    used = table["emotion"].isin(list(section.labels))
    others = Counter(table["emotion"][~used])
    table = table[used]
    return table.assign(emotion=table["emotion"].map(section.labels)), dict(sorted(others.items()))


def _counted(values: Counter[str]) -> str:
    """``'15' (56 utterances), '16' (71 utterances)``, the first few."""
    first = [f"{value!r} ({count} utterances)" for value, count in sorted(values.items())[:_NAMED]]
    more = len(values) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def summary(problems: Iterable[Problem], *, total: int) -> str:
    """One sentence or two: how many utterances, why by count, the first few by name, the mend."""
    found = list(problems)
    counts = Counter(problem.kind for problem in found)
    why = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    named = "; ".join(problem.text for problem in found[:_NAMED])
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"{len(found)} of {total} utterances cannot be used ({why}): {named}{more}. "
        "Mend these files or take them out of the corpus."
    )

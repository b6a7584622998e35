"""From a section of the experiment file to a checked corpus."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

import numpy as np
import pandas as pd

from orchestrator.corpora.audio import Heard, Progress
from orchestrator.corpora.habits import duplicates, far_off, wrong_length
from orchestrator.corpora.heard import examine_remembered
from orchestrator.corpora.layouts.folders import is_gone
from orchestrator.corpora.layouts.kinds import KINDS, list_corpus
from orchestrator.corpora.listing import OPTIONAL, Listing, Problem
from orchestrator.corpora.mapping import complete, labelled, labels_of, mapped, unlabelled
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import Acceptable, CorpusSection

_NAMED: Final = 3


@dataclass(frozen=True)
class Prepared:
    """A corpus after every check, with what the checks found.

    Every utterance listed is used, not used or set aside, and nothing else:
    ``listed == used + sum(not_used.values()) + set_aside``.

    Attributes:
        corpus: the utterances that can be used; None if there are none.
        problems: why others cannot; one utterance may have several. Those of the listing, one for
            each utterance it left out, come first.
        accepted: what is wrong with utterances that are used all the same, since the section
            accepts such problems.
        listing: what the layout said, before maps and labels.
        remarks: what is odd and does no harm.
        listed: utterances that the corpus has, as far as its layout tells.
        not_used: utterances left out by labels or a subset, by emotion or reason.
        set_aside: utterances that ``problems`` are about.
    """

    corpus: Corpus | None
    problems: tuple[Problem, ...]
    accepted: tuple[Problem, ...]
    listing: Listing
    remarks: tuple[str, ...]
    listed: int
    not_used: Mapping[str, int]
    set_aside: int

    @property
    def used(self) -> int:
        """Utterances that can be used."""
        return 0 if self.corpus is None else len(self.corpus.table)


def load_corpus(
    section: CorpusSection, *, memory: Path | None = None, progress: Progress | None = None
) -> Corpus:
    """The corpus that a section describes, complete and checked.

    Args:
        section: with ``problems: refuse``, any utterance that cannot be used is an error; with
            ``set-aside`` the corpus goes on without and keeps the list.
        memory: folder to remember in what was heard in unchanged files; None remembers nothing.
        progress: told how many of how many utterances have been examined.

    Raises:
        CorpusError: the corpus is missing or empty; a map lacks a value; a label is unknown;
            nothing is left to use; or, unless they are set aside, utterances cannot be used: the
            message names the first few and counts all.
    """
    prepared = prepare(section, memory=memory, progress=progress)
    if prepared.corpus is None or (prepared.problems and section.problems == "refuse"):
        raise CorpusError(
            f"corpus {section.title!r} ({prepared.listing.place}): "
            + refusal(prepared, accept=section.accept)
        )
    if section.role == "labelled" and len(prepared.corpus.emotions) < 2:
        raise CorpusError(
            f"corpus {section.title!r} ({prepared.listing.place}): there is one emotion only, "
            f"{prepared.corpus.emotions[0]!r}, so there is nothing to tell apart; name more in "
            "labels"
        )
    return prepared.corpus


def prepare(
    section: CorpusSection, *, memory: Path | None = None, progress: Progress | None = None
) -> Prepared:
    """List a corpus, apply ``columns`` and labels, check the audio of what is used, and count.

    Problems are counted here and refused by :func:`load_corpus`.

    Raises:
        CorpusError: nothing can be said about single utterances because the layout, a map or a
            label is wrong.
    """
    listing = _listed(section)
    table = mapped(listing, section=section)
    not_used: dict[str, int] = {}
    if section.role == "labelled":
        # What is not learned need not be complete.
        table, not_used = labelled(table, listing=listing, section=section)
    else:
        table = unlabelled(table)
    if section.role == "transcribed":
        _refuse_wordless(table, listing=listing, section=section)
    table, fatal = complete(table, place=listing.place, role=section.role)
    table, unheard, found, remarks = _heard(
        table, listing=listing, memory=memory, progress=progress
    )
    fatal += unheard
    aside = {problem.id for problem in fatal}
    aside |= {problem.id for problem in found if problem.kind not in section.accept}
    table = table[~table["id"].isin(aside)]
    problems = (*listing.problems, *fatal, *(one for one in found if one.id in aside))
    not_used = dict(sorted((Counter(listing.not_used) + Counter(not_used)).items()))
    if not len(table) and not problems:
        labels = "labels" if section.labels is not None else "the section"
        raise CorpusError(
            f"corpus {section.title!r} ({listing.place}): {labels} leaves no utterance; "
            f"the corpus has {', '.join(not_used) or 'none'}"
        )
    corpus = None
    if len(table):
        corpus = Corpus(
            name=section.title,
            kind=section.kind,
            table=table,
            not_used=not_used,
            set_aside=(
                *listing.problems,
                *one_each(problems[len(listing.problems) :], accept=section.accept),
            ),
            accepted=tuple(one for one in found if one.id not in aside),
            labels=labels_of(listing, section=section) if section.role == "labelled" else None,
            said=listing.said,
            folders=_folders(listing),
            source=listing.source,
        )
    prepared = Prepared(
        corpus=corpus,
        problems=problems,
        accepted=() if corpus is None else corpus.accepted,
        listing=listing,
        remarks=(*listing.remarks, *remarks),
        listed=len(listing.table) + len(listing.problems) + sum(listing.not_used.values()),
        not_used=not_used,
        set_aside=len(listing.problems) + len(aside),
    )
    # Law 8. A table whose rows went astray between these steps is a fault of ours, not the user's.
    assert prepared.listed == prepared.used + sum(not_used.values()) + prepared.set_aside
    return prepared


def one_each(problems: Iterable[Problem], *, accept: Sequence[Acceptable]) -> tuple[Problem, ...]:
    """One problem for each id: of the first kind not in ``accept``, with all the texts."""
    grouped: dict[str, list[Problem]] = {}
    for problem in problems:
        grouped.setdefault(problem.id, []).append(problem)
    return tuple(
        Problem(
            kind=next((one.kind for one in several if one.kind not in accept), several[0].kind),
            text="; ".join(one.text for one in several),
            id=id_,
        )
        for id_, several in grouped.items()
    )


def refusal(prepared: Prepared, *, accept: Sequence[Acceptable]) -> str:
    """How many utterances cannot be used, why by count, the first few by name, and the mends."""
    found = prepared.problems
    kinds = Counter(problem.kind for problem in found)
    why = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    named = "; ".join(problem.text for problem in found[:_NAMED])
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    mends = "Mend these files or take them out of the corpus"
    if prepared.corpus is not None:
        mends += ", or go on without them (problems: set-aside)"
    wanted = kinds.keys() - set(accept)
    if wanted <= set(get_args(Acceptable)):
        mends += f", or use them as they are (accept: [{', '.join(sorted({*accept, *wanted}))}])"
    return (
        f"{prepared.set_aside} of {prepared.used + prepared.set_aside} utterances cannot be used "
        f"({why}): {named}{more}. {mends}."
    )


def _listed(section: CorpusSection) -> Listing:
    """The listing with every column that others may lack; a missing root says where to get one."""
    try:
        listing = list_corpus(section)
    except CorpusError as error:
        root = getattr(section, "root", None)
        if section.kind == "table" or root is None or not is_gone(Path(root).expanduser()):
            raise
        obtain = KINDS[section.kind].about.obtain
        raise CorpusError(f"{error}. How to obtain the corpus: {obtain}") from error
    table = listing.table
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise CorpusError(
            f"corpus {section.title!r} ({listing.place}): two utterances have the id "
            f"{twice.iloc[0]!r}; give each its own"
        )
    absent: dict[str, str | float] = {name: "" for name in OPTIONAL if name not in table}
    if "agreement" not in table:
        absent["agreement"] = float("nan")
    return replace(listing, table=table.assign(**absent))


def _refuse_wordless(table: pd.DataFrame, *, listing: Listing, section: CorpusSection) -> None:
    """Raise where nothing says what is said in any utterance."""
    if not len(table) or (table["transcript"] != "").any():
        return
    mend = (
        "fill that column, or name another one with transcript_column"
        if section.kind == "table"
        else f"kind {section.kind!r} tells no words here, so use role: unlabelled, or kind: table "
        "with a file that says speaker and transcript of each"
    )
    raise CorpusError(
        f"corpus {section.title!r} ({listing.place}): role is 'transcribed', but no utterance has "
        f"a transcript; {mend}"
    )


def _folders(listing: Listing) -> tuple[str, ...]:
    """The folders that messages about utterances name: of the table, and of the audio."""
    place = Path(listing.place)
    audio = {str(Path(path).parent) for path in listing.table["path"] if Path(path).is_absolute()}
    common = (os.path.commonpath(audio),) if audio else ()
    return (str(place if place.is_dir() else place.parent), *common)


def _heard(
    table: pd.DataFrame, *, listing: Listing, memory: Path | None, progress: Progress | None
) -> tuple[pd.DataFrame, list[Problem], list[Problem], list[str]]:
    """The rows whose audio can be decoded, with ``duration`` and ``content``.

    Returns:
        The rows; the problems of the others; the problems of these; remarks.
    """
    unheard: list[Problem] = []
    found: list[Problem] = []
    if "content" not in table:
        heard = examine_remembered(
            table["path"].tolist(), source=listing.source, memory=memory, progress=progress
        )
        good: list[Heard] = []
        for id_, one in zip(table["id"].tolist(), heard, strict=True):
            if isinstance(one, Problem):
                unheard.append(replace(one, id=id_))
            else:
                good.append(one)
                found += [replace(problem, id=id_) for problem in one.problems]
        table = table[np.array([isinstance(one, Heard) for one in heard], dtype=bool)]
        table = table.assign(
            duration=pd.Series([one.duration for one in good], index=table.index, dtype="float64"),
            content=pd.Series([one.content for one in good], index=table.index, dtype="str"),
        )
    silent = {problem.id for problem in found if problem.kind == "silent"}
    again, remarks = duplicates(table[~table["id"].isin(silent)])
    found += [*far_off(table), *wrong_length(table), *again]
    return table, unheard, found, remarks

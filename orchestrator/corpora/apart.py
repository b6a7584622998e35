"""Other speech beside labelled corpora: nobody whom a fold tests may be heard in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd

from orchestrator.corpora.layouts.folders import few
from orchestrator.corpora.listing import Problem
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import CorpusSection

_NAMED: Final = 3


def kept_apart(corpus: Corpus, section: CorpusSection, *, labelled: Sequence[Corpus]) -> Corpus:
    """An unlabelled or transcribed corpus that shares no speaker and no sound with labelled ones.

    Whoever speaks there may be in any fold's test set. So the corpus must name all its speakers,
    and none as a labelled corpus does, or its section must declare ``speakers_apart``. A sound that
    a labelled corpus has too is refused, whatever is declared; with ``problems: set-aside`` the
    copy that is not labelled is set aside. Silence is nobody's.

    Args:
        corpus: the one that is not labelled.
        section: that it was loaded from.
        labelled: those that folds are made of.

    Raises:
        CorpusError: speakers are unknown or shared, or sounds are; names the first few and the
            mends.
    """
    beside = ", ".join(repr(other.name) for other in labelled)
    named_so = f"{section.role} corpus {corpus.name!r}"
    if not section.speakers_apart:
        _refuse_speakers(corpus, labelled=labelled, beside=beside, named_so=named_so)
    copies = tuple(_copies(corpus, labelled))
    if not copies:
        return corpus
    if section.problems == "refuse":
        named = "; ".join(problem.text for problem in copies[:_NAMED])
        more = f"; and {len(copies) - _NAMED} more" if len(copies) > _NAMED else ""
        so = ", so their speakers are not apart as speakers_apart declares"
        raise CorpusError(
            f"{named_so}: {len(copies)} utterances are heard in {beside} "
            f"too{so if section.speakers_apart else ''}: {named}{more}. Take these files out of "
            "it, or set problems: set-aside for it to go on without them"
        )
    aside = {problem.id for problem in copies}
    left = corpus.table[~corpus.table["id"].isin(aside)]
    if not len(left):
        raise CorpusError(
            f"{named_so}: every utterance is heard in {beside} too, so "
            "nothing is left to listen to; take it out of corpora"
        )
    return dataclasses.replace(
        corpus,
        table=left,
        set_aside=(*corpus.set_aside, *copies),
        accepted=tuple(one for one in corpus.accepted if one.id not in aside),
    )


def _refuse_speakers(
    corpus: Corpus, *, labelled: Sequence[Corpus], beside: str, named_so: str
) -> None:
    """Raise where a speaker may be one of a labelled corpus, for all that names tell."""
    declare = f"if nobody who speaks there speaks in {beside}, declare it with speakers_apart: true"
    unknown = int((corpus.table["speaker"] == "").sum())
    if unknown:
        raise CorpusError(
            f"{named_so}: nobody says who speaks in {unknown} of its "
            f"{len(corpus.table)} utterances, and those whom a fold tests must not be heard in "
            f"training; {declare}"
        )
    for other in labelled:
        shared = sorted(set(corpus.table["speaker"]) & set(other.table["speaker"]))
        if shared:
            raise CorpusError(
                f"{named_so}: {few(map(repr, shared))} also speak in "
                f"{other.name!r}, and those whom a fold tests must not be heard in training; take "
                f"them out of one of the two, or {declare}"
            )


def _copies(corpus: Corpus, labelled: Sequence[Corpus]) -> Iterator[Problem]:
    """A problem for each utterance of ``corpus`` that a labelled corpus has too."""
    known: dict[str, str] = {}
    for other in labelled:
        heard = _audible(other)
        for id_, content in zip(heard["id"], heard["content"], strict=True):
            known.setdefault(content, f"{id_!r} of {other.name!r}")
    heard = _audible(corpus)
    for id_, path, content in zip(heard["id"], heard["path"], heard["content"], strict=True):
        if content in known:
            text = f"{path} is heard again as {known[content]}, which is labelled"
            yield Problem(kind="duplicate", text=text, id=id_)


def _audible(corpus: Corpus) -> pd.DataFrame:
    silent = {problem.id for problem in corpus.accepted if problem.kind == "silent"}
    return corpus.table[~corpus.table["id"].isin(silent)]

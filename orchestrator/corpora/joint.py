"""Several corpora as one: for learning on some of them what is measured on others."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.corpora.habits import duplicates
from orchestrator.corpora.listing import AudioSource, Problem
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import CorpusSection

_NAMED = 3

_OWN = ("id", "speaker", "session", "dialogue")
"""Columns whose values mean something within their own corpus only."""


@dataclass(frozen=True)
class JointSource:
    """Audio of several corpora; a path is the corpus's place, a colon and its own path."""

    sources: tuple[AudioSource, ...]

    def read(self, path: str) -> tuple[NDArray[np.float32], int]:
        """Mono audio ``(samples,)`` and its rate in Hz."""
        place, _, own = path.partition(":")
        return self.sources[int(place)].read(own)


def with_common_labels(corpora: Sequence[Corpus]) -> tuple[Corpus, ...]:
    """Each corpus with the emotions that all of them have; the others are counted in ``not_used``.

    Emotions are common if they have the same name, after ``labels`` of each corpus.

    Raises:
        CorpusError: fewer than two emotions are common; says which emotions each corpus has.
    """
    common = set.intersection(*(set(corpus.emotions) for corpus in corpora))
    if len(common) < 2:
        has = "; ".join(f"{corpus.name}: {', '.join(corpus.emotions)}" for corpus in corpora)
        raise CorpusError(
            f"the corpora have {len(common)} emotions in common ({has}); give the same emotion "
            "the same name in each with labels, such as labels: {joy: happiness}"
        )
    return tuple(_with_emotions(corpus, common) for corpus in corpora)


def _with_emotions(corpus: Corpus, common: set[str]) -> Corpus:
    kept = corpus.table["emotion"].isin(common)
    if kept.all():
        return corpus
    not_used = Counter(corpus.not_used) + Counter(corpus.table["emotion"][~kept])
    table = corpus.table[kept]
    votes = [_votes_for(told, common) for told in table["votes"]]
    return dataclasses.replace(
        corpus,
        table=table.assign(votes=pd.Series(votes, index=table.index, dtype="str")),
        not_used=dict(sorted(not_used.items())),
        accepted=tuple(one for one in corpus.accepted if one.id in set(table["id"])),
    )


def _votes_for(told: str, emotions: set[str]) -> str:
    if not told:
        return ""
    votes: Mapping[str, float] = json.loads(told)
    kept = {name: count for name, count in votes.items() if name in emotions}
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def prefix(corpus: Corpus) -> str:
    """What stands before an id of ``corpus`` in a joint corpus."""
    return f"{corpus.name}/"


def joined(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus with the utterances of all, and a column ``corpus``.

    Ids, speakers, sessions and dialogues get the corpus's name in front. So do texts that are ids
    of the corpus's own; texts made of words stay comparable.

    Raises:
        CorpusError: an emotion is missing from one of them; reduce them first.
    """
    for corpus in corpora:
        if corpus.emotions != corpora[0].emotions:
            raise CorpusError(
                f"corpora {corpora[0].name!r} and {corpus.name!r} have different emotions: "
                f"{', '.join(corpora[0].emotions)} and {', '.join(corpus.emotions)}"
            )
    tables = []
    for place, corpus in enumerate(corpora):
        table, before = corpus.table, prefix(corpus)
        own = {
            name: (before + table[name]).where(table[name] != "", "")
            for name in _OWN
            if name in table
        }
        is_id = (table["text"] != "") & (table["transcript"] == "")
        tables.append(
            table.assign(
                **own,
                path=f"{place}:" + table["path"],
                text=table["text"].where(~is_id, before + table["text"]),
                corpus=corpus.name,
            )
        )
    return Corpus(
        name="+".join(corpus.name for corpus in corpora),
        kind="joint",
        table=pd.concat(tables, ignore_index=True).fillna(dict.fromkeys(_texts(tables), "")),
        not_used={
            f"{prefix(corpus)}{why}": count
            for corpus in corpora
            for why, count in corpus.not_used.items()
        },
        set_aside=tuple(_of(corpus, one) for corpus in corpora for one in corpus.set_aside),
        accepted=tuple(_of(corpus, one) for corpus in corpora for one in corpus.accepted),
        labels={
            f"{prefix(corpus)}{old}": new
            for corpus in corpora
            for old, new in (corpus.labels or {}).items()
            if old != new
        },
        folders=tuple(folder for corpus in corpora for folder in corpus.folders),
        said=tuple(f"{corpus.name}: {part}" for corpus in corpora for part in corpus.said),
        source=JointSource(tuple(corpus.source for corpus in corpora)),
    )


def settled(joint: Corpus, sections: Sequence[CorpusSection]) -> Corpus:
    """A joint corpus whose corpora share no sound, as their sections want it.

    A sound in two corpora would be trained on and tested. Where every section sets problems aside,
    all its copies are; where every section accepts duplicates, they stay, and are counted.

    Raises:
        CorpusError: otherwise, naming the first few copies.
    """
    table = joint.table
    silent = {problem.id for problem in joint.accepted if problem.kind == "silent"}
    heard = table[~table["id"].isin(silent)]
    crossing = heard.groupby("content")["corpus"].transform("nunique") > 1
    found, _ = duplicates(heard[crossing])
    if not found:
        return joint
    if all("duplicate" in section.accept for section in sections):
        return dataclasses.replace(joint, accepted=(*joint.accepted, *found))
    if all(section.problems == "set-aside" for section in sections):
        left = table[~table["id"].isin({problem.id for problem in found})]
        return dataclasses.replace(joint, table=left, set_aside=(*joint.set_aside, *found))
    named = "; ".join(problem.text for problem in found[:_NAMED])
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise CorpusError(
        f"corpora {joint.name}: {len(found)} utterances are heard in more than one of them: "
        f"{named}{more}. Take one of the copies away, or set problems: set-aside for all these "
        "corpora to go on without them"
    )


def _of(corpus: Corpus, problem: Problem) -> Problem:
    return dataclasses.replace(problem, id=prefix(corpus) + problem.id if problem.id else "")


def _texts(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Columns of text that one corpus has and another may lack."""
    return sorted(
        {
            str(name)
            for table in tables
            for name in table
            if pd.api.types.is_string_dtype(table[name])
        }
    )

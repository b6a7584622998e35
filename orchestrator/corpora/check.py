"""What ``understudy corpora check`` tells about a copy of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from orchestrator.corpora.audio import Progress
from orchestrator.corpora.documented import Comparison, compared, difference
from orchestrator.corpora.heard import examine_remembered
from orchestrator.corpora.layouts.kinds import KINDS, list_corpus
from orchestrator.corpora.listing import Listing, Problem, text_of
from orchestrator.corpora.loading import Prepared, prepare
from orchestrator.corpora.table import Corpus
from orchestrator.experiment.corpus import CorpusBase, CorpusSection


@dataclass(frozen=True)
class Faults:
    """What is wrong with some utterances.

    Attributes:
        utterances: how many; one may have faults of several kinds.
        counts: faults by kind, most frequent first.
        found: every one of them.
    """

    utterances: int
    counts: dict[str, int]
    found: tuple[Problem, ...]


@dataclass(frozen=True)
class CorpusReport:
    """A copy of a corpus in numbers; ``listed`` is ``used + sum(not_used) + set_aside.utterances``.

    Attributes:
        name: how results call it.
        kind: one of ``KINDS``.
        place: the folder or file it was read from.
        usable: whether an experiment with this section would load it.
        policy: of the section: ``refuse`` or ``set-aside``.
        listed: utterances that the copy has.
        used: those that can be used; the numbers below are about them.
        not_used: utterances left out by labels or a subset, by emotion or reason.
        set_aside: those that cannot be used, and why.
        accepted: what is wrong with those that are used all the same.
        unused: what is wrong with those that labels or a subset leave out; it does no harm here.
        seconds: total duration.
        durations: ``min``, ``median`` and ``max`` in seconds; empty if nothing is used.
        speakers, sessions, splits, emotions, genders: utterances by each, sorted; empty where the
            corpus tells nothing.
        texts: how many different ones are known.
        words: of a transcribed corpus, utterances in which each word is said, sorted.
        agreement: mean share of listeners who chose the label; None where it is not known.
        crossed: by session, utterances by emotion; empty without sessions.
        documented: this copy against the documented one, before labels and subset.
        differences: a sentence for each number that is not as documented.
        remarks: what is odd and does no harm.
        licence: under which the corpus is distributed.
        obtain: where and how one gets it.
        fingerprint: provenance of results on this corpus; "" if nothing can be used.
    """

    name: str
    kind: str
    place: str
    usable: bool
    policy: str
    listed: int
    used: int
    not_used: dict[str, int]
    set_aside: Faults
    accepted: Faults
    unused: Faults
    seconds: float
    durations: dict[str, float]
    speakers: dict[str, int]
    sessions: dict[str, int]
    splits: dict[str, int]
    emotions: dict[str, int]
    genders: dict[str, int]
    texts: int
    words: dict[str, int]
    agreement: float | None
    crossed: dict[str, dict[str, int]]
    documented: tuple[Comparison, ...]
    differences: tuple[str, ...]
    remarks: tuple[str, ...]
    licence: str
    obtain: str
    fingerprint: str


def check_corpus(
    section: CorpusSection, *, memory: Path | None = None, progress: Progress | None = None
) -> CorpusReport:
    """Read a corpus as an experiment would, and count instead of refusing.

    Args:
        section: of an experiment file, or of :func:`corpus_section`.
        memory: folder to remember in what was heard in unchanged files; None remembers nothing.
        progress: told how many of how many utterances have been examined.

    Raises:
        CorpusError: the layout, a map or a label is wrong, so that there is nothing to count.
    """
    return checked(section, memory=memory, progress=progress)[0]


def checked(
    section: CorpusSection, *, memory: Path | None = None, progress: Progress | None = None
) -> tuple[CorpusReport, Corpus | None]:
    """As :func:`check_corpus`, with the corpus itself, if anything of it can be used.

    What labels or a subset leave out is listened to as well, for a whole picture.
    """
    prepared = prepare(section, memory=memory, progress=progress)
    whole = _whole(section, prepared)
    unused = _unused(prepared, whole, memory=memory, progress=progress)
    return _report(section, prepared, whole=whole, unused=unused), prepared.corpus


def _unused(
    prepared: Prepared, listing: Listing, *, memory: Path | None, progress: Progress | None
) -> tuple[Problem, ...]:
    """What is wrong with the audio that the section leaves out."""
    known = {problem.id for problem in prepared.problems}
    if prepared.corpus is not None:
        known |= set(prepared.corpus.table["id"])
    rest = listing.table[~listing.table["id"].isin(known)]
    if "content" in rest or not len(rest):
        return ()
    found: list[Problem] = []
    heard = examine_remembered(
        rest["path"].tolist(), source=listing.source, memory=memory, progress=progress
    )
    for id_, one in zip(rest["id"].tolist(), heard, strict=True):
        problems = (one,) if isinstance(one, Problem) else one.problems
        found += [replace(problem, id=id_) for problem in problems]
    return tuple(found)


def _report(
    section: CorpusSection, prepared: Prepared, *, whole: Listing, unused: Sequence[Problem]
) -> CorpusReport:
    corpus, about = prepared.corpus, KINDS[section.kind].about
    table = pd.DataFrame() if corpus is None else corpus.table
    rows = () if about.documented is None else compared(whole, about.documented)
    refused = section.problems == "refuse" and bool(prepared.problems)
    return CorpusReport(
        name=section.title,
        kind=section.kind,
        place=prepared.listing.place,
        usable=corpus is not None and not refused,
        policy=section.problems,
        listed=prepared.listed,
        used=prepared.used,
        not_used=dict(prepared.not_used),
        set_aside=_faults(prepared.problems, utterances=prepared.set_aside),
        accepted=_faults(
            prepared.accepted, utterances=len({problem.id for problem in prepared.accepted})
        ),
        unused=_faults(unused, utterances=len({problem.id for problem in unused})),
        seconds=0.0 if corpus is None else float(table["duration"].sum()),
        durations=_durations(table),
        speakers=_counts(table, "speaker"),
        sessions=_counts(table, "session"),
        splits=_counts(table, "split"),
        emotions=_counts(table, "emotion"),
        genders=_counts(table, "gender"),
        texts=len(_counts(table, "text")),
        words=_words(table) if section.role == "transcribed" else {},
        agreement=_agreement(table),
        crossed={
            session: _counts(table[table["session"] == session], "emotion")
            for session in _counts(table, "session")
            if section.role == "labelled"
        },
        documented=rows,
        differences=tuple(difference(row) for row in rows if not row.ok),
        remarks=prepared.remarks,
        licence=about.licence,
        obtain=about.obtain,
        fingerprint="" if corpus is None else corpus.fingerprint,
    )


def _whole(section: CorpusSection, prepared: Prepared) -> Listing:
    """The listing without what the options of this kind leave out, as a documented copy is."""
    if not prepared.listing.not_used:
        return prepared.listing
    defaults = {
        name: field.default
        for name, field in type(section).model_fields.items()
        if name not in CorpusBase.model_fields and not field.is_required()
    }
    return list_corpus(section.model_copy(update=defaults))


def _faults(problems: Sequence[Problem], *, utterances: int) -> Faults:
    kinds = Counter(problem.kind for problem in problems)
    return Faults(utterances=utterances, counts=dict(kinds.most_common()), found=tuple(problems))


def _counts(table: pd.DataFrame, column: str) -> dict[str, int]:
    """Rows by each value but "", sorted by value."""
    if column not in table:
        return {}
    return dict(sorted(Counter(str(value) for value in table[column] if value).items()))


def _words(table: pd.DataFrame) -> dict[str, int]:
    """Rows in whose transcript each word is said, whatever its case, sorted."""
    said = (set(text_of(one).split()) for one in table.get("transcript", ()))
    return dict(sorted(Counter(word for words in said for word in words).items()))


def _durations(table: pd.DataFrame) -> dict[str, float]:
    if not len(table):
        return {}
    lasts = table["duration"]
    return {"min": float(lasts.min()), "median": float(lasts.median()), "max": float(lasts.max())}


def _agreement(table: pd.DataFrame) -> float | None:
    if not len(table) or table["agreement"].isna().all():
        return None
    return float(table["agreement"].mean())


def descriptions() -> Mapping[str, dict[str, str]]:
    """From each kind of corpus to its summary, licence, and how to obtain it."""
    return {
        name: {
            "summary": kind.about.summary,
            "licence": kind.about.licence,
            "obtain": kind.about.obtain,
        }
        for name, kind in KINDS.items()
    }

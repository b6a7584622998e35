"""``understudy corpora leaks``: what the roles of an experiment's folds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from orchestrator.corpora.transcribed import load_transcribed
from orchestrator.corpus_inputs import source_recipes
from orchestrator.corpus_reading import joint_corpora, load_corpora, load_unlabelled
from orchestrator.errors import ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.experiment.corpus import Acceptable, CorpusSection
from orchestrator.experiment.protocol import ProtocolSection
from orchestrator.experiment.search import Seeds
from orchestrator.experiment.sources import RecogniserSource
from orchestrator.protocols.checking import check_fold
from orchestrator.protocols.fold import Fold, Rows
from orchestrator.protocols.leaks import Leak, corpus_leaks, fold_leaks
from orchestrator.protocols.making import deal_folds


@dataclass(frozen=True)
class LeakReport:
    """The leaks of one corpus under one protocol.

    Attributes:
        corpus: its name.
        protocol: the key of the experiment file: ``protocol``, ``search.protocol`` or a corpus's
            own, ``corpora.0.protocol``.
        kind: of the protocol.
        seeds: for which folds were dealt.
        folds: of each seed.
        utterances: that folds were dealt from.
        set_aside: utterances that cannot be used, and are in no fold.
        dropped: fewest and most utterances of a fold that ``text_disjoint`` leaves in no role.
        refused: why an experiment refuses these folds, for another reason than what they share; ""
            if it does not.
        leaks: what is shared; those of the corpus as a whole first.
    """

    corpus: str
    protocol: str
    kind: str
    seeds: tuple[int, ...]
    folds: int
    utterances: int
    set_aside: int
    dropped: tuple[int, int]
    refused: str
    leaks: tuple[Leak, ...]

    @property
    def broken(self) -> tuple[Leak, ...]:
        """The leaks that the protocol promises not to have."""
        return tuple(leak for leak in self.leaks if leak.broken)


def find_leaks(
    experiment: Experiment,
    *,
    memory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[LeakReport, ...]:
    """Deal the folds of every corpus, protocol and seed of an experiment, and compare the roles.

    Where a corpus refuses problems, utterances with some that can be heard stay in, since a sound
    under two speakers is among what is looked for; where it sets them aside, they are not in the
    experiment either. Nothing is computed of the audio but its hash.

    Args:
        experiment: whose corpora, protocol and search protocol are looked at.
        memory: folder of what was heard before; default: hear everything.
        progress: called with (files heard, files) of each corpus.

    Raises:
        CorpusError: a corpus is missing or has no utterance that can be heard, or an unlabelled
            one that is asked for is not apart from the others.
        ProtocolError: the protocol cannot deal folds from a corpus at all.
    """
    asked = _asked(experiment)
    lenient = experiment.model_copy(
        update={"corpora": tuple(_lenient(section) for section in experiment.corpora)}
    )
    corpora = load_corpora(lenient, memory=memory, progress=progress)
    load_unlabelled(experiment, corpora, memory=memory, progress=progress)
    if any(isinstance(one.source, RecogniserSource) for one in source_recipes(experiment).values()):
        for section in experiment.transcribed:
            load_transcribed(section, labelled=corpora, memory=memory, progress=progress)
    reports = []
    for corpus in joint_corpora(lenient, corpora):
        for key, protocol, seeds in asked.get(corpus.name, asked[""]):
            leaks = corpus_leaks(corpus.table, protocol)
            folds, refused = 0, ""
            dropped: set[int] = set()
            rows = Rows.of(corpus.table)
            for seed in seeds:
                dealt = deal_folds(rows, protocol, seed=seed)
                refused = refused or _refusal(dealt, rows, protocol)
                folds = len(dealt)
                dropped |= {len(fold.dropped) for fold in dealt}
                leaks += fold_leaks(dealt, corpus.table, protocol, seed=seed)
            reports.append(
                LeakReport(
                    corpus=corpus.name,
                    protocol=key,
                    kind=protocol.kind,
                    seeds=tuple(seeds),
                    folds=folds,
                    utterances=len(corpus.table),
                    set_aside=len(corpus.set_aside),
                    dropped=(min(dropped, default=0), max(dropped, default=0)),
                    refused="" if any(leak.broken for leak in leaks) else refused,
                    leaks=tuple(leaks),
                )
            )
    return tuple(reports)


def _asked(experiment: Experiment) -> dict[str, list[tuple[str, ProtocolSection, Seeds]]]:
    """Key, protocol and seeds that folds are dealt for, by corpus with its own; "": the others."""
    seeds, search = experiment.evaluate.seeds, experiment.search
    every = tuple(sorted({*seeds, *(search.seeds if search else ())}))
    asked: dict[str, list[tuple[str, ProtocolSection, Seeds]]] = {
        section.title: [(f"corpora.{place}.protocol", section.protocol, every)]
        for place, section in enumerate(experiment.corpora)
        if section.protocol is not None
    }
    if search is None or search.protocol is None:
        asked[""] = [("protocol", experiment.protocol, every)]
    else:
        asked[""] = [
            ("protocol", experiment.protocol, seeds),
            ("search.protocol", search.protocol, search.seeds),
        ]
    return asked


def _refusal(folds: Iterable[Fold], rows: Rows, protocol: ProtocolSection) -> str:
    """Why an experiment refuses the first fold that it refuses; "" if it takes all."""
    try:
        for fold in folds:
            check_fold(fold, rows, protocol)
    except ProtocolError as error:
        return str(error)
    return ""


def _lenient(section: CorpusSection) -> CorpusSection:
    """The section as it is read here: of silence two copies are nobody's leak."""
    if section.problems == "set-aside":
        return section
    heard = tuple(kind for kind in get_args(Acceptable) if kind != "silent")
    return section.model_copy(update={"problems": "set-aside", "accept": heard})

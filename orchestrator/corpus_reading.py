"""The corpora of an experiment, as its file puts them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.corpora import Corpus, load_corpus
from orchestrator.corpora.apart import kept_apart
from orchestrator.corpora.joint import joined, settled, with_common_labels
from orchestrator.experiment import Experiment
from orchestrator.experiment.protocol import CrossCorpus


def load_corpora(
    experiment: Experiment,
    *,
    memory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, ...]:
    """The experiment's labelled corpora, with the emotions that all have where that is wanted.

    Raises:
        CorpusError: a corpus is missing or damaged, or they have too few common emotions.
    """
    corpora = tuple(
        load_corpus(section, memory=memory, progress=progress) for section in experiment.labelled
    )
    if experiment.common_labels or isinstance(experiment.protocol, CrossCorpus):
        return with_common_labels(corpora)
    return corpora


def load_unlabelled(
    experiment: Experiment,
    labelled: Sequence[Corpus],
    *,
    memory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, ...]:
    """The experiment's unlabelled corpora, if recipe, ablations or search may want them.

    Args:
        labelled: the others, with which they share neither speakers nor sounds.

    Raises:
        CorpusError: a corpus is missing or damaged, or not apart from the labelled ones.
    """
    if not experiment.hears_unlabelled:
        return ()
    return tuple(
        kept_apart(
            load_corpus(section, memory=memory, progress=progress), section, labelled=labelled
        )
        for section in experiment.unlabelled
    )


def joint_corpora(experiment: Experiment, corpora: Sequence[Corpus]) -> tuple[Corpus, ...]:
    """What folds are dealt from: one joint corpus under ``cross-corpus``, else each by itself.

    Raises:
        CorpusError: corpora that are joined share sounds.
    """
    if not isinstance(experiment.protocol, CrossCorpus):
        return tuple(corpora)
    return (settled(joined(corpora), experiment.labelled),)

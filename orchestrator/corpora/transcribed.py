"""Transcribed corpora, which a speech recogniser learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.corpora.apart import kept_apart
from orchestrator.corpora.audio import Progress, rate_of
from orchestrator.corpora.loading import load_corpus
from orchestrator.corpora.table import Corpus
from orchestrator.experiment.corpus import CorpusSection


def load_transcribed(
    section: CorpusSection,
    *,
    labelled: Sequence[Corpus],
    memory: Path | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """The corpus of a section with ``role: transcribed``, complete, checked, and apart.

    Args:
        section: of the experiment file.
        labelled: the corpora that folds are made of, with which it shares neither speakers nor
            sounds: whoever learns from the recogniser is tested on those.
        memory: folder to remember in what was heard in unchanged files; None remembers nothing.
        progress: told how many of how many utterances have been examined.

    Raises:
        CorpusError: the corpus is missing, damaged or without words, or not apart.
    """
    corpus = load_corpus(section, memory=memory, progress=progress)
    return kept_apart(corpus, section, labelled=labelled)


def native_rate(corpus: Corpus) -> int:
    """The lowest sample rate of its audio in Hz: above half of it some of it holds nothing.

    Only headers are read where that suffices (audio files do; video clips are decoded).

    Raises:
        CorpusError: a file has gone.
    """
    return min(rate_of(corpus.source, path) for path in corpus.table["path"])

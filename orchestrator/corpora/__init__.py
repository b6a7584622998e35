"""Corpora: whatever the layout on disk, the same table of utterances and their audio."""

from __future__ import annotations

from orchestrator.corpora.check import CORPUS_KINDS, CorpusReport, check_corpus, corpus_section
from orchestrator.corpora.loading import load_corpus
from orchestrator.corpora.table import COLUMNS, Corpus

__all__ = [
    "COLUMNS",
    "CORPUS_KINDS",
    "Corpus",
    "CorpusReport",
    "check_corpus",
    "corpus_section",
    "load_corpus",
]

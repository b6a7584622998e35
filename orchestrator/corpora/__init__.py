"""Corpora: whatever the layout on disk, the same table of utterances and their audio."""

from __future__ import annotations

from orchestrator.corpora.check import (
    CorpusReport,
    check_corpus,
    checked,
    descriptions,
)
from orchestrator.corpora.loading import Prepared, load_corpus, prepare
from orchestrator.corpora.options import corpus_section
from orchestrator.corpora.table import COLUMNS, Corpus

__all__ = [
    "COLUMNS",
    "Corpus",
    "CorpusReport",
    "Prepared",
    "check_corpus",
    "checked",
    "corpus_section",
    "descriptions",
    "load_corpus",
    "prepare",
]

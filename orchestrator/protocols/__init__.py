"""From a corpus's table to folds, and what is promised of them."""

from __future__ import annotations

from orchestrator.protocols.checking import check_fold
from orchestrator.protocols.fold import Fold
from orchestrator.protocols.inner import inner_folds
from orchestrator.protocols.making import (
    SpeakerDependentWarning,
    ValidationCoverageWarning,
    make_folds,
)
from orchestrator.protocols.nested import nested_folds
from orchestrator.protocols.said import protocol_string

__all__ = [
    "Fold",
    "SpeakerDependentWarning",
    "ValidationCoverageWarning",
    "check_fold",
    "inner_folds",
    "make_folds",
    "nested_folds",
    "protocol_string",
]

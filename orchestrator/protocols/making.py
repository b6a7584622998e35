"""From a corpus's table to folds: pure functions, no audio, no randomness but hashes of names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.experiment.protocol import Official, ProtocolSection, RandomFolds
from orchestrator.protocols.checking import check_fold
from orchestrator.protocols.fold import Fold, Rows
from orchestrator.protocols.groups import group_folds
from orchestrator.protocols.shares import official_fold, random_folds

if TYPE_CHECKING:
    import pandas as pd


class SpeakerDependentWarning(UserWarning):
    """The protocol lets the same speakers speak in training and in test."""


class ValidationCoverageWarning(UserWarning):
    """No choice of validation speakers holds every class, or both genders."""


def make_folds(table: pd.DataFrame, protocol: ProtocolSection, *, seed: int) -> tuple[Fold, ...]:
    """The folds of ``protocol`` over a corpus's ``table``, sorted by the name of what they test.

    Test sets depend on the table alone, so that every seed measures the same utterances. Validation
    rotates by (fold, seed): the groups that are not tested are ranked by a hash of (seed, fold,
    name) and the first set in that order is taken that leaves every class in training, covers
    every class that is not in the test set only and both genders, or else covers most. So the order
    of rows means nothing, and a new speaker moves other choices only where it takes or is given a
    place itself.

    ``speaker-folds`` deals speakers evenly and balanced by class, ``random-folds`` utterances
    evenly within each emotion, both by hash. With ``text_disjoint``, training loses what the test
    set says too (``Fold.dropped``), and test sets may be cut by texts.

    Args:
        table: of a corpus; the columns id, speaker, session and emotion, and where they are there
            gender, dialogue, split, text and corpus.
        protocol: the experiment's section.
        seed: of the training, here only for the choice of validation and held speakers.

    Raises:
        ProtocolError: no sessions, one speaker only, fewer speakers than folds, no group left for
            training, a class that a fold's training set cannot have, or a column that the protocol
            needs and the corpus lacks.

    Warns:
        SpeakerDependentWarning: ``random-folds``.
        ValidationCoverageWarning: some fold's validation must lack a class, or a gender.
    """
    rows = Rows.of(table)
    if isinstance(protocol, RandomFolds):
        warnings.warn(
            "protocol random-folds is speaker-dependent: the same speakers are in train, "
            "validation and test, so its scores say nothing about new speakers; use "
            "leave-one-speaker-out or speaker-folds for that",
            SpeakerDependentWarning,
            stacklevel=2,
        )
    folds = deal_folds(rows, protocol, seed=seed)
    for fold in folds:
        check_fold(fold, rows, protocol)
    _warn_of_missing(folds, rows, protocol)
    return folds


def deal_folds(rows: Rows, protocol: ProtocolSection, *, seed: int) -> tuple[Fold, ...]:
    """The folds as they are dealt, not checked for what their roles share: for the leak report.

    Raises:
        ProtocolError: as :func:`make_folds`, but for shared values.
    """
    match protocol:
        case RandomFolds():
            return tuple(random_folds(rows, protocol, seed=seed))
        case Official():
            return (official_fold(rows, protocol, seed=seed),)
        case _:
            return tuple(group_folds(rows, protocol, seed=seed))


def _warn_of_missing(folds: Iterable[Fold], rows: Rows, protocol: ProtocolSection) -> None:
    folds = tuple(folds)
    lacking = [
        f"{fold.name} ({', '.join(sorted(missing))})"
        for fold in folds
        if (missing := rows.classes - {rows.emotion[name] for name in fold.validation})
    ]
    if lacking:
        warnings.warn(
            f"no choice of validation holds every emotion in fold {'; '.join(lacking)}: the "
            "epoch is chosen there without them",
            ValidationCoverageWarning,
            stacklevel=3,
        )
    if getattr(protocol, "validation_speakers", 1) < 2:
        return
    of_one = [
        fold.name
        for fold in folds
        if len({rows.gender[name] for name in fold.validation} - {""}) == 1
        and len({rows.gender[name] for name in (*fold.train, *fold.validation)} - {""}) == 2
    ]
    if of_one:
        warnings.warn(
            f"no choice of validation is mixed in gender in fold {'; '.join(of_one)}",
            ValidationCoverageWarning,
            stacklevel=3,
        )

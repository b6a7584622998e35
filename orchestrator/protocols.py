"""From a corpus's table to folds: pure functions, no audio, no randomness but hashes of names."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.dealing import choose_validation, deal, ranked
from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
)

if TYPE_CHECKING:
    import pandas as pd


class SpeakerDependentWarning(UserWarning):
    """The protocol lets the same speakers speak in training and in test."""


class ValidationCoverageWarning(UserWarning):
    """No choice of validation speakers holds every class."""


@dataclass(frozen=True)
class Fold:
    """Disjoint sets of utterance ids, each sorted. It holds no labels: the test set is sealed."""

    name: str
    """Such as ``session=1``, ``speaker=03`` or ``fold=1``."""
    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Picks epochs and configurations."""
    test: tuple[str, ...]


def make_folds(table: pd.DataFrame, protocol: ProtocolSection, *, seed: int) -> tuple[Fold, ...]:
    """The folds of ``protocol`` over a corpus's ``table``, sorted by the name of what they test.

    Test sets depend on the table alone, so that every seed measures the same utterances. Validation
    rotates by (fold, seed): the groups that are not tested are ranked by a hash of (seed, fold,
    name) and the first set in that order is taken that leaves every class in training and covers
    every class that is not in the test set only, or else covers most. So the order of rows means
    nothing, and a new speaker moves other choices only where it takes or is given a place itself.
    Gender is not known and not used.

    ``speaker-folds`` deals speakers evenly, ``random-folds`` utterances evenly within each emotion,
    both by hash.

    Args:
        table: columns id, speaker, session and emotion of a corpus.
        protocol: the experiment's section.
        seed: of the training, here only for the choice of validation.

    Raises:
        ProtocolError: no sessions, one speaker only, fewer speakers than folds, no group left for
            training, or a class that a fold's training set cannot have.

    Warns:
        SpeakerDependentWarning: ``random-folds``.
        ValidationCoverageWarning: some fold's validation must lack a class.
    """
    rows = _Rows.of(table)
    if isinstance(protocol, RandomFolds):
        warnings.warn(
            "protocol random-folds is speaker-dependent: the same speakers are in train, "
            "validation and test, so its scores say nothing about new speakers; use "
            "leave-one-speaker-out or speaker-folds for that",
            SpeakerDependentWarning,
            stacklevel=2,
        )
        folds = tuple(_random_folds(rows, protocol, seed=seed))
    else:
        folds = tuple(_group_folds(rows, protocol, seed=seed))
    for fold in folds:
        check_fold(fold, table, protocol)
    _warn_of_missing(folds, rows)
    return folds


def check_fold(fold: Fold, table: pd.DataFrame, protocol: ProtocolSection) -> None:
    """Laws 1 and 2: refuse a fold whose roles share what they must not.

    No utterance in two roles; no speaker in two roles (except ``random-folds``); under
    ``leave-one-session-out`` no session in two roles. No role is empty, and training has every
    class of the corpus.

    Raises:
        ProtocolError: naming the fold, the roles and what they share or lack.
    """
    rows = _Rows.of(table)
    roles = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    for role, ids in roles.items():
        unknown = [name for name in ids if name not in rows.emotion]
        if unknown:
            msg = f"fold {fold.name}: {role} holds {unknown[0]!r}, which the corpus does not have"
            raise ProtocolError(msg)
        if not ids:
            msg = (
                f"protocol {protocol.kind}: fold {fold.name} has no utterances for {role}; "
                "use fewer folds or less validation"
            )
            raise ProtocolError(msg)
    kept_apart: dict[str, Mapping[str, str]] = {"utterance": {name: name for name in rows.emotion}}
    if not isinstance(protocol, RandomFolds):
        kept_apart["speaker"] = rows.speaker
    if isinstance(protocol, LeaveOneSessionOut):
        kept_apart["session"] = rows.session
    for (one, its), (other, others) in itertools.combinations(roles.items(), 2):
        for what, value in kept_apart.items():
            shared = {value[name] for name in its} & {value[name] for name in others}
            if shared:
                msg = (
                    f"protocol {protocol.kind}: in fold {fold.name}, {one} and {other} share "
                    f"{what} {min(shared)!r}; give the corpus a column that keeps them apart "
                    "(corpora: columns) or use another protocol"
                )
                raise ProtocolError(msg)
    missing = rows.classes - {rows.emotion[name] for name in fold.train}
    if missing:
        raise _class_left_out(protocol, fold.name, min(missing))


def inner_folds(
    table: pd.DataFrame, ids: Iterable[str], *, folds: int, seed: int
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Split the training ``ids`` of a fold again, for knowledge of utterances not fitted on.

    Speakers are dealt evenly into ``folds`` by a hash of (seed, fold, name); fewer speakers than
    folds make as many folds as speakers.

    Returns:
        Pairs (fitted ids, held ids), both sorted. Every id is held exactly once, by a pair whose
        fitted ids have none of its speaker. A rare class may be absent from fitted ids.

    Raises:
        ProtocolError: all ``ids`` are of one speaker.
    """
    rows = _Rows.of(table)
    wanted = sorted(set(ids))
    speakers = sorted({rows.speaker[name] for name in wanted})
    if len(speakers) < 2:
        msg = (
            f"cross-fitted knowledge needs two training speakers, but there is only {speakers}; "
            "use knowledge: in-sample or validate on fewer speakers"
        )
        raise ProtocolError(msg)
    count = min(folds, len(speakers))
    group = deal(speakers, count, salt=["inner", seed])
    return tuple(
        (
            tuple(name for name in wanted if group[rows.speaker[name]] != held),
            tuple(name for name in wanted if group[rows.speaker[name]] == held),
        )
        for held in range(count)
    )


def protocol_string(
    protocol: ProtocolSection,
    table: pd.DataFrame,
    *,
    name: str,
    labels: Mapping[str, str] | None = None,
) -> str:
    """How a result was measured, in one line that goes with it everywhere.

    Args:
        protocol: the experiment's section.
        table: of the corpus, after its labels were mapped.
        name: of the corpus.
        labels: the map from the corpus's own emotions to those learned, where one was used.
    """
    rows = _Rows.of(table)
    speakers, sessions = len(set(rows.speaker.values())), len(set(rows.session.values()))
    match protocol:
        case LeaveOneSessionOut():
            folds = sessions
            validation = _counted(protocol.validation_sessions, "other whole session")
        case LeaveOneSpeakerOut():
            folds, validation = speakers, _counted(protocol.validation_speakers, "other speaker")
        case SpeakerFolds():
            folds = protocol.folds
            validation = _counted(protocol.validation_speakers, "other speaker")
        case RandomFolds():
            folds = protocol.folds
            validation = f"{100 * protocol.validation_share:g} % of the other utterances"
    parts = [
        name,
        f"{protocol.kind} ({folds} folds)",
        f"validation: {validation}, rotating by fold and seed",
        f"{len(rows.classes)} emotions: {', '.join(sorted(rows.classes))}",
        f"{_counted(speakers, 'speaker')}",
        f"n={len(rows.emotion)}",
    ]
    if isinstance(protocol, RandomFolds):
        parts.insert(2, "speaker-dependent: train, validation and test share speakers")
    merged = {old: new for old, new in (labels or {}).items() if old != new}
    if merged:
        said = ", ".join(f"{old} as {new}" for old, new in sorted(merged.items()))
        parts.insert(-2, f"labels merged: {said}")
    return " | ".join(parts)


@dataclass(frozen=True)
class _Rows:
    """The columns that protocols look at, each from utterance id to its value, ids sorted."""

    speaker: dict[str, str]
    session: dict[str, str]
    emotion: dict[str, str]

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Rows:
        rows = sorted(
            zip(table["id"], table["speaker"], table["session"], table["emotion"], strict=True)
        )
        return cls(
            speaker={name: speaker for name, speaker, _, _ in rows},
            session={name: session for name, _, session, _ in rows},
            emotion={name: emotion for name, _, _, emotion in rows},
        )

    @property
    def classes(self) -> set[str]:
        return set(self.emotion.values())


def _group_folds(
    rows: _Rows, protocol: LeaveOneSessionOut | LeaveOneSpeakerOut | SpeakerFolds, *, seed: int
) -> Iterator[Fold]:
    """Folds whose roles are whole speakers or whole sessions."""
    kind = protocol.kind
    speakers = sorted(set(rows.speaker.values()))
    if len(speakers) < 2:
        msg = (
            f"protocol {kind} needs several speakers, but the corpus has only {speakers}; "
            "check its speaker column, or use random-folds (speaker-dependent)"
        )
        raise ProtocolError(msg)
    match protocol:
        case LeaveOneSessionOut(validation_sessions=count):
            unit, option, group = "session", "validation_sessions", rows.session
            nowhere = [name for name, session in group.items() if not session]
            if nowhere:
                msg = (
                    f"protocol {kind} needs a session for every utterance, but {len(nowhere)} of "
                    f"{len(group)} have none, {nowhere[0]!r} for one; make the column by a map "
                    "(corpora: columns: session) or use leave-one-speaker-out"
                )
                raise ProtocolError(msg)
            tested = {f"session={name}": {name} for name in sorted(set(group.values()))}
        case LeaveOneSpeakerOut(validation_speakers=count):
            unit, option, group = "speaker", "validation_speakers", rows.speaker
            tested = {f"speaker={name}": {name} for name in speakers}
        case SpeakerFolds(validation_speakers=count):
            unit, option, group = "speaker", "validation_speakers", rows.speaker
            if len(speakers) < protocol.folds:
                msg = (
                    f"protocol {kind}: folds is {protocol.folds} but the corpus has only "
                    f"{_counted(len(speakers), 'speaker')}; use at most {len(speakers)} folds"
                )
                raise ProtocolError(msg)
            dealt = deal(speakers, protocol.folds, salt=["fold"])
            tested = {
                f"fold={place + 1}": {name for name in speakers if dealt[name] == place}
                for place in range(protocol.folds)
            }
    everyone = set(group.values())
    holds: dict[str, set[str]] = {name: set() for name in everyone}
    for name, value in group.items():
        holds[value].add(rows.emotion[name])
    for fold, test in tested.items():
        others = everyone - test
        if len(others) <= count:
            msg = (
                f"protocol {kind}: fold {fold} tests {_counted(len(test), unit)} of "
                f"{len(everyone)} and {option} is {count}, which leaves none for training; lower "
                f"{option} or use a corpus with more {unit}s"
            )
            raise ProtocolError(msg)
        absent = rows.classes - {emotion for name in others for emotion in holds[name]}
        if absent:
            raise _class_left_out(protocol, fold, min(absent))
        candidates = ranked(others, salt=["validation", seed, fold])
        validation = choose_validation(candidates, count, holds=holds)
        if validation is None:
            msg = (
                f"protocol {kind}: fold {fold} has no choice of {_counted(count, unit)} for "
                f"validation that leaves every emotion in training; lower {option}, or merge or "
                "leave out the rarest emotions (corpora: labels)"
            )
            raise ProtocolError(msg)
        yield _fold(
            fold,
            rows,
            validation={name for name, value in group.items() if value in validation},
            test={name for name, value in group.items() if value in test},
        )


def _random_folds(rows: _Rows, protocol: RandomFolds, *, seed: int) -> Iterator[Fold]:
    """Folds whose roles are utterances, dealt within each emotion."""
    by_emotion: dict[str, list[str]] = {emotion: [] for emotion in sorted(rows.classes)}
    for name, emotion in rows.emotion.items():
        by_emotion[emotion].append(name)
    dealt: dict[str, int] = {}
    for emotion, ids in by_emotion.items():
        dealt |= deal(ids, protocol.folds, salt=["utterance", emotion])
    for place in range(protocol.folds):
        fold = f"fold={place + 1}"
        validation: set[str] = set()
        for ids in by_emotion.values():
            rest = ranked(
                (name for name in ids if dealt[name] != place), salt=["validation", seed, fold]
            )
            wanted = max(1, round(protocol.validation_share * len(rest)))
            validation.update(rest[: min(wanted, max(0, len(rest) - 1))])
        yield _fold(
            fold, rows, validation=validation, test={n for n, at in dealt.items() if at == place}
        )


def _fold(name: str, rows: _Rows, *, validation: Collection[str], test: Collection[str]) -> Fold:
    return Fold(
        name=name,
        train=tuple(i for i in rows.emotion if i not in validation and i not in test),
        validation=tuple(sorted(validation)),
        test=tuple(sorted(test)),
    )


def _warn_of_missing(folds: Iterable[Fold], rows: _Rows) -> None:
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


def _class_left_out(protocol: ProtocolSection, fold: str, emotion: str) -> ProtocolError:
    msg = (
        f"protocol {protocol.kind}: training of fold {fold} would have no utterance of emotion "
        f"{emotion!r}; merge it with another or leave it out (corpora: labels), or use a protocol "
        "that tests on less"
    )
    return ProtocolError(msg)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

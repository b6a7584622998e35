"""Folds whose roles are whole speakers, sessions or corpora."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.canonical import JSON
from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    SpeakerFolds,
)
from orchestrator.protocols.checking import class_left_out
from orchestrator.protocols.dealing import choose_validation, deal_balanced, ranked
from orchestrator.protocols.fold import Fold, Rows, counted
from orchestrator.protocols.texts import by_text, refuse_unknown, repeated

Groups = LeaveOneSessionOut | LeaveOneSpeakerOut | SpeakerFolds | CrossCorpus


@dataclass(frozen=True)
class Unit:
    """What a role is picked by: whole sessions, or whole speakers."""

    noun: str
    count: int
    """How many of them the role gets."""
    option: str
    """Of the protocol, that says so."""
    group: dict[str, str]
    """By utterance, its session or speaker."""


def group_folds(rows: Rows, protocol: Groups, *, seed: int) -> Iterator[Fold]:
    """The folds of a protocol whose roles are whole groups, unchecked.

    Raises:
        ProtocolError: no sessions, one speaker only, fewer speakers than folds, no group left for
            training, or a class that a fold's training set cannot have.
    """
    refuse_unknown(rows, protocol)
    speakers = sorted(set(rows.speaker.values()))
    if len(speakers) < 2:
        msg = (
            f"protocol {protocol.kind} needs several speakers, but the corpus has only {speakers}; "
            "check its speaker column, or use random-folds (speaker-dependent)"
        )
        raise ProtocolError(msg)
    unit, tests = _units(rows, protocol, speakers), group_tests(rows, protocol)
    for name, test in by_text(tests, rows, protocol):
        yield _fold(name, set(test), rows, protocol, unit=unit, seed=seed)


def _units(rows: Rows, protocol: Groups, speakers: list[str]) -> Unit:
    """What validation is picked by."""
    if isinstance(protocol, SpeakerFolds) and len(speakers) < protocol.folds:
        msg = (
            f"protocol {protocol.kind}: folds is {protocol.folds} but the corpus has only "
            f"{counted(len(speakers), 'speaker')}; use at most {len(speakers)} folds"
        )
        raise ProtocolError(msg)
    if not isinstance(protocol, LeaveOneSessionOut):
        return Unit("speaker", protocol.validation_speakers, "validation_speakers", rows.speaker)
    nowhere = [name for name, session in rows.session.items() if not session]
    if nowhere:
        msg = (
            f"protocol {protocol.kind} needs a session for every utterance, but "
            f"{len(nowhere)} of {len(rows.session)} have none, {nowhere[0]!r} for one; "
            "make the column by a map (corpora: columns: session) or use "
            "leave-one-speaker-out"
        )
        raise ProtocolError(msg)
    return Unit("session", protocol.validation_sessions, "validation_sessions", rows.session)


def group_tests(rows: Rows, protocol: Groups) -> Mapping[str, list[str]]:
    """The ids that each fold tests, by its name, before texts cut them.

    Raises:
        ProtocolError: ``cross-corpus`` of a single corpus.
    """
    match protocol:
        case LeaveOneSessionOut():
            return _by_value("session", rows.session)
        case LeaveOneSpeakerOut():
            return _by_value("speaker", rows.speaker)
        case CrossCorpus():
            return _by_corpus(rows, protocol)
        case SpeakerFolds():
            return _dealt(rows, protocol)


def _by_value(noun: str, group: dict[str, str]) -> dict[str, list[str]]:
    tests: dict[str, list[str]] = {f"{noun}={value}": [] for value in sorted(set(group.values()))}
    for name, value in group.items():
        tests[f"{noun}={value}"].append(name)
    return tests


def _dealt(rows: Rows, protocol: SpeakerFolds) -> dict[str, list[str]]:
    weights: dict[str, dict[str, int]] = {}
    for name, speaker in rows.speaker.items():
        counts = weights.setdefault(speaker, {})
        counts[rows.emotion[name]] = counts.get(rows.emotion[name], 0) + 1
    tests: dict[str, list[str]] = {}
    for repeat in range(1, protocol.repeats + 1):
        salt: list[JSON] = ["fold", *([repeat] if repeat > 1 else [])]
        place = deal_balanced(weights, protocol.folds, salt=salt)
        before = f"repeat={repeat}," if protocol.repeats > 1 else ""
        for fold in range(protocol.folds):
            tests[f"{before}fold={fold + 1}"] = [
                name for name, speaker in rows.speaker.items() if place[speaker] == fold
            ]
    return tests


def _by_corpus(rows: Rows, protocol: CrossCorpus) -> dict[str, list[str]]:
    corpora = sorted(set(rows.corpus.values()))
    if len(corpora) < 2:
        msg = f"protocol {protocol.kind} needs several corpora, but there is only {corpora}"
        raise ProtocolError(msg)
    tested = protocol.test or [name for name in corpora if name not in protocol.train]
    return _by_value(
        "corpus", {name: corpus for name, corpus in rows.corpus.items() if corpus in tested}
    )


def _fold(
    name: str, test: set[str], rows: Rows, protocol: Groups, *, unit: Unit, seed: int
) -> Fold:
    tested = {unit.group[each] for each in test}
    others = [each for each, value in unit.group.items() if value not in tested]
    pools = [others]
    if isinstance(protocol, CrossCorpus):
        # a group of another corpus is not tested, but the protocol may leave its corpus out
        wanted = protocol.train or sorted(
            set(rows.corpus.values()) - {rows.corpus[each] for each in test} - set(protocol.test)
        )
        pools = [[each for each in others if rows.corpus[each] == corpus] for corpus in wanted]
        others = [each for pool in pools for each in pool]
    dropped = repeated(rows, test, others) if protocol.text_disjoint else set()
    absent = rows.classes - {rows.emotion[each] for each in others if each not in dropped}
    if absent and len({unit.group[each] for each in others}) > unit.count:
        raise class_left_out(protocol, name, min(absent))
    validation: set[str] = set()
    held: set[str] = set()
    for pool in pools:
        validation |= picked(pool, name, dropped, rows, protocol, unit=unit, seed=seed)
        if protocol.held_speakers:
            left = [each for each in pool if each not in validation and each not in dropped]
            apart = Unit("speaker", protocol.held_speakers, "held_speakers", rows.speaker)
            held |= picked(left, name, set(), rows, protocol, unit=apart, seed=seed)
    elsewhere = {each for each, value in unit.group.items() if value in tested} - test
    dropped = dropped - validation | elsewhere
    fitted = [each for each in others if each not in validation | held | dropped]
    return Fold(
        name=name,
        train=tuple(sorted(fitted)),
        validation=tuple(sorted(validation)),
        test=tuple(sorted(test)),
        held=tuple(sorted(held)),
        dropped=tuple(sorted(dropped)),
    )


def picked(
    pool: list[str],
    fold: str,
    dropped: set[str],
    rows: Rows,
    protocol: Groups,
    *,
    unit: Unit,
    seed: int,
) -> set[str]:
    """Utterances of ``unit.count`` groups of ``pool`` that leave the rest every class it has.

    Args:
        pool: ids to pick from.
        fold: its name.
        dropped: of the pool, what training will not hear.
        rows: of the corpus.
        protocol: as messages name it.
        unit: what is picked.
        seed: of the choice.

    Raises:
        ProtocolError: there is no such choice; says why.
    """
    role = "held" if unit.option == "held_speakers" else "validation"
    covers: dict[str, set[str]] = {unit.group[each]: set() for each in pool}
    holds: dict[str, set[str]] = {group: set() for group in covers}
    genders: dict[str, set[str]] = {group: set() for group in covers}
    for each in pool:
        group = unit.group[each]
        covers[group].add(rows.emotion[each])
        genders[group] |= {rows.gender[each]} - {""}
        if each not in dropped:
            holds[group].add(rows.emotion[each])
    if len(covers) <= unit.count:
        msg = (
            f"protocol {protocol.kind}: fold {fold} has {counted(len(covers), unit.noun)} besides "
            f"those it tests and {unit.option} is {unit.count}, which leaves none for training; "
            f"lower {unit.option} or use a corpus with more {unit.noun}s"
        )
        raise ProtocolError(msg)
    chosen = choose_validation(
        ranked(covers, salt=[role, seed, fold]),
        unit.count,
        holds=holds,
        covers=covers,
        mixes=genders,
    )
    if chosen is None:
        msg = (
            f"protocol {protocol.kind}: fold {fold} has no choice of "
            f"{counted(unit.count, unit.noun)} for {role} that leaves every emotion in training; "
            f"lower {unit.option}, or merge or leave out the rarest emotions (corpora: labels)"
        )
        raise ProtocolError(msg)
    return {each for each in pool if unit.group[each] in chosen}

"""Folds whose speakers may be in several roles: the corpus's own split, and random ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from orchestrator.canonical import JSON
from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import Official, RandomFolds
from orchestrator.protocols.dealing import deal, ranked
from orchestrator.protocols.fold import Fold, Rows
from orchestrator.protocols.texts import by_text, refuse_unknown, repeated

_PARTS: Final = ("train", "validation", "test")

OFFICIAL: Final = "official"
"""Name of the only fold of the protocol ``official``."""


def official_fold(rows: Rows, protocol: Official, *, seed: int) -> Fold:
    """The corpus's own split, unchecked.

    Where the corpus names no validation part, whole dialogues (or utterances, where it has none)
    are taken from training by a hash of (seed, name), never the last of a class.

    Raises:
        ProtocolError: an utterance has no official part.
    """
    refuse_unknown(rows, protocol)
    nowhere = [name for name, split in rows.split.items() if split not in _PARTS]
    if nowhere:
        msg = (
            f"protocol {protocol.kind} needs the part (train, validation or test) of every "
            f"utterance, but {len(nowhere)} of {len(rows.split)} have none, {nowhere[0]!r} for "
            "one; give the corpus a column split, or use another protocol"
        )
        raise ProtocolError(msg)
    parts = {part: {n for n, split in rows.split.items() if split == part} for part in _PARTS}
    train, validation, test = (parts[part] for part in _PARTS)
    dropped = repeated(rows, test, train) if protocol.text_disjoint else set()
    train -= dropped
    if not validation:
        validation = unit_share(train, protocol.validation_share, rows, salt=["validation", seed])
        train -= validation
    held = unit_share(train, protocol.held_share, rows, salt=["held", seed])
    return Fold(
        name=OFFICIAL,
        train=tuple(sorted(train - held)),
        validation=tuple(sorted(validation)),
        test=tuple(sorted(test)),
        held=tuple(sorted(held)),
        dropped=tuple(sorted(dropped)),
    )


def random_folds(rows: Rows, protocol: RandomFolds, *, seed: int) -> Iterator[Fold]:
    """Folds whose roles are utterances, dealt within each emotion, unchecked."""
    refuse_unknown(rows, protocol)
    for name, test in by_text(random_tests(rows, protocol), rows, protocol):
        others = rows.emotion.keys() - set(test)
        dropped = repeated(rows, test, others) if protocol.text_disjoint else set()
        others -= dropped
        validation = stratified_share(
            others, protocol.validation_share, rows, salt=["validation", seed, name]
        )
        held = stratified_share(
            others - validation, protocol.held_share, rows, salt=["held", seed, name]
        )
        yield Fold(
            name=name,
            train=tuple(sorted(others - validation - held)),
            validation=tuple(sorted(validation)),
            test=test,
            held=tuple(sorted(held)),
            dropped=tuple(sorted(dropped)),
        )


def random_tests(rows: Rows, protocol: RandomFolds) -> Mapping[str, list[str]]:
    """The ids that each fold tests, by its name, before texts cut them."""
    tests: dict[str, list[str]] = {}
    for repeat in range(1, protocol.repeats + 1):
        before = f"repeat={repeat}," if protocol.repeats > 1 else ""
        folds: list[list[str]] = [[] for _ in range(protocol.folds)]
        for emotion, ids in _by_emotion(rows, rows.emotion).items():
            salt: list[JSON] = ["utterance", emotion, *([repeat] if repeat > 1 else [])]
            copies = _copies(ids, rows)
            for name, place in deal(copies, protocol.folds, salt=salt).items():
                folds[place] += copies[name]
        tests |= {f"{before}fold={place + 1}": ids for place, ids in enumerate(folds)}
    return tests


def _by_emotion(rows: Rows, ids: Mapping[str, str] | set[str]) -> dict[str, list[str]]:
    by_emotion: dict[str, list[str]] = {emotion: [] for emotion in sorted(rows.classes)}
    for name in sorted(ids):
        by_emotion[rows.emotion[name]].append(name)
    return by_emotion


def stratified_share(ids: set[str], share: float, rows: Rows, *, salt: list[JSON]) -> set[str]:
    """A share of each emotion's utterances, at least one, and never all."""
    chosen: set[str] = set()
    for own in _by_emotion(rows, ids).values() if share else ():
        copies = _copies(own, rows)
        rest = ranked(copies, salt=salt)
        for name in rest[: min(max(1, round(share * len(rest))), max(0, len(rest) - 1))]:
            chosen.update(copies[name])
    return chosen


def _copies(ids: Iterable[str], rows: Rows) -> dict[str, list[str]]:
    """Utterances of the same sound together, under the first of them: no role may hear another's.

    Where nothing is heard twice, or no sounds are known, every utterance is by itself.
    """
    first: dict[str, str] = {}
    together: dict[str, list[str]] = {}
    for name in sorted(ids):
        leader = first.setdefault(rows.content[name] or name, name)
        together.setdefault(leader, []).append(name)
    return together


def unit_share(ids: set[str], share: float, rows: Rows, *, salt: list[JSON]) -> set[str]:
    """Whole dialogues, or utterances, making up about a share; never the last of a class."""
    whole = all(rows.dialogue[name] for name in ids)
    members: dict[str, list[str]] = {}
    if whole:
        for name in sorted(ids):
            members.setdefault(rows.dialogue[name], []).append(name)
    else:
        members = _copies(ids, rows)
    left: dict[str, int] = {}
    for name in ids:
        left[rows.emotion[name]] = left.get(rows.emotion[name], 0) + 1
    chosen: set[str] = set()
    wanted = share * len(ids)
    for name in ranked(members, salt=salt):
        if len(chosen) >= wanted:
            break
        taken: dict[str, int] = {}
        for each in members[name]:
            taken[rows.emotion[each]] = taken.get(rows.emotion[each], 0) + 1
        if all(left[emotion] > count for emotion, count in taken.items()):
            chosen.update(members[name])
            left = {emotion: left[emotion] - taken.get(emotion, 0) for emotion in left}
    return chosen

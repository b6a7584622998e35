"""A fold dealt again inside itself: for a search that hears nothing of what the fold tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.canonical import JSON
from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    LeaveOneSessionOut,
    Official,
    ProtocolSection,
    RandomFolds,
)
from orchestrator.protocols.checking import check_fold
from orchestrator.protocols.dealing import deal_balanced
from orchestrator.protocols.fold import Fold, Rows, counted
from orchestrator.protocols.groups import Unit, picked
from orchestrator.protocols.shares import random_tests, stratified_share, unit_share
from orchestrator.protocols.texts import repeated

if TYPE_CHECKING:
    import pandas as pd


_ATTEMPTS = 20
"""Ways of dealing that are tried until no group has all there is of an emotion."""


def nested_folds(
    table: pd.DataFrame, fold: Fold, protocol: ProtocolSection, *, count: int, seed: int
) -> tuple[Fold, ...]:
    """The fold ``count`` times, each time with another part of its training as validation.

    What the fold trains, holds and validates on is dealt into ``count`` groups, balanced by class,
    and each group is validation once: so everything but the test set is scored once, and a search
    over these folds has heard nothing of the test set. Groups are made of what the protocol keeps
    together: whole sessions under ``leave-one-session-out``; whole dialogues under ``official``
    where the corpus has them, else utterances, as under ``random-folds``; else whole speakers, each
    corpus's apart. Held utterances are cut from training as the protocol says. With
    ``text_disjoint`` no inner fold has an utterance whose text the test set says. Groups depend on
    the table and the fold's name, the seed only moves what is held.

    Args:
        table: of the corpus.
        fold: of ``protocol`` over ``table``, whatever its seed.
        protocol: of the fold.
        count: of groups, at least two.
        seed: of the training, here only for the choice of what is held.

    Returns:
        Folds called ``session=1: inner 2`` and so on, that keep the test set of ``fold``.

    Raises:
        ProtocolError: there are fewer units than ``count``, or training would lack a class.
    """
    rows = Rows.of(table)
    pool = {*fold.train, *fold.held, *fold.validation}
    if protocol.text_disjoint:
        pool -= repeated(rows, fold.test, pool)
    for attempt in range(_ATTEMPTS):
        groups = _dealt(rows, table, sorted(pool), fold, protocol, count=count, attempt=attempt)
        if all(_classes(rows, pool - group) == rows.classes for group in groups):
            break
    found = []
    for number, validation in enumerate(groups, start=1):
        name = f"{fold.name}: inner {number}"
        left = pool - validation
        held = _held(rows, left, name, protocol, seed=seed)
        _refuse_missing(rows, left - held, name)
        inner = replace(
            fold,
            name=name,
            train=tuple(sorted(left - held)),
            validation=tuple(sorted(validation)),
            held=tuple(sorted(held)),
            dropped=tuple(sorted(rows.emotion.keys() - pool - set(fold.test))),
        )
        check_fold(inner, rows, protocol)
        found.append(inner)
    return tuple(found)


def nested_noun(table: pd.DataFrame, protocol: ProtocolSection) -> str:
    """What inner groups are made of: ``session``, ``dialogue``, ``utterance`` or ``speaker``."""
    match protocol:
        case LeaveOneSessionOut():
            return "session"
        case Official():
            return "dialogue" if all(Rows.of(table).dialogue.values()) else "utterance"
        case RandomFolds():
            return "utterance"
        case _:
            return "speaker"


def _dealt(
    rows: Rows,
    table: pd.DataFrame,
    pool: list[str],
    fold: Fold,
    protocol: ProtocolSection,
    *,
    count: int,
    attempt: int,
) -> list[set[str]]:
    """The ids of each group; each attempt deals units in another way."""
    noun = nested_noun(table, protocol)
    if noun == "utterance":
        inside = Rows.of(table[table["id"].isin(pool)])
        tests = random_tests(inside, RandomFolds(kind="random-folds", folds=count))
        return [set(ids) for ids in tests.values()]
    unit = rows.column(noun)
    groups: list[set[str]] = [set() for _ in range(count)]
    corpora = sorted({rows.corpus[name] for name in pool})
    for corpus in corpora:
        own = [name for name in pool if rows.corpus[name] == corpus]
        weights = _weights(own, unit, rows.emotion)
        if len(weights) < count:
            where = f" of corpus {corpus!r}" if len(corpora) > 1 else ""
            mend = "use another evaluate.selection, such as per-fold"
            if len(weights) > 1:
                mend = f"set it to at most {len(weights)}"
            msg = (
                f"evaluate.nested.inner_folds is {count} but fold {fold.name} has only "
                f"{counted(len(weights), noun)}{where} besides what it tests; {mend}"
            )
            raise ProtocolError(msg)
        salt: list[JSON] = ["nested", fold.name, corpus, *([attempt] if attempt else [])]
        place = deal_balanced(weights, count, salt=salt)
        for name in own:
            groups[place[unit[name]]].add(name)
    return groups


def _weights(
    ids: Iterable[str], unit: Mapping[str, str], emotion: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Utterances of each class, by unit."""
    weights: dict[str, dict[str, int]] = {}
    for name in ids:
        counts = weights.setdefault(unit[name], {})
        counts[emotion[name]] = counts.get(emotion[name], 0) + 1
    return weights


def _held(
    rows: Rows, ids: set[str], name: str, protocol: ProtocolSection, *, seed: int
) -> set[str]:
    """What an inner fold keeps apart of its training, as its protocol does."""
    salt: list[JSON] = ["held", seed, name]
    if isinstance(protocol, Official):
        return unit_share(ids, protocol.held_share, rows, salt=salt)
    if isinstance(protocol, RandomFolds):
        return stratified_share(ids, protocol.held_share, rows, salt=salt)
    if not protocol.held_speakers:
        return set()
    apart = Unit("speaker", protocol.held_speakers, "held_speakers", rows.speaker)
    held: set[str] = set()
    for corpus in sorted({rows.corpus[one] for one in ids}):
        own = sorted(one for one in ids if rows.corpus[one] == corpus)
        held |= picked(own, name, set(), rows, protocol, unit=apart, seed=seed)
    return held


def _refuse_missing(rows: Rows, train: Iterable[str], name: str) -> None:
    missing = rows.classes - _classes(rows, train)
    if missing:
        msg = (
            f"training of fold {name} would have no utterance of emotion {min(missing)!r}: so few "
            "speak it that they come into one group, however they are dealt; merge it with another "
            "emotion or leave it out (corpora: labels), or set evaluate.nested.inner_folds to "
            "another number"
        )
        raise ProtocolError(msg)


def _classes(rows: Rows, ids: Iterable[str]) -> set[str]:
    return {rows.emotion[name] for name in ids}

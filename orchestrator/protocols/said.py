"""The protocol string: how a result was measured, in one line that goes with it everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    Official,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
    SpeakerRoles,
)
from orchestrator.protocols.fold import Rows, counted
from orchestrator.protocols.groups import group_tests
from orchestrator.protocols.shares import random_tests
from orchestrator.protocols.texts import Cut, by_text, text_groups

if TYPE_CHECKING:
    import pandas as pd


def protocol_string(
    protocol: ProtocolSection,
    table: pd.DataFrame,
    *,
    name: str,
    labels: Mapping[str, str] | None = None,
    said: Sequence[str] = (),
    not_used: Mapping[str, int] | None = None,
    set_aside: int = 0,
) -> str:
    """How a result was measured (law 7).

    Args:
        protocol: the experiment's section.
        table: of the corpus, after its labels were mapped.
        name: of the corpus.
        labels: the map from the corpus's own emotions to those learned, where one was used.
        said: what the corpus's own options add, such as its label set or subset.
        not_used: utterances that labels or a subset leave out, by why.
        set_aside: utterances that cannot be used.
    """
    rows = Rows.of(table)
    speakers, n = len(set(rows.speaker.values())), len(rows.emotion)
    merged = {old: new for old, new in (labels or {}).items() if old != new}
    parts = [name, *said, *_how(protocol, rows)]
    parts.append(f"{len(rows.classes)} emotions: {', '.join(sorted(rows.classes))}")
    if merged:
        told = ", ".join(f"{old} as {new}" for old, new in sorted(merged.items()))
        parts.append(f"labels merged: {told}")
    if not_used:
        told = ", ".join(f"{why} {count}" for why, count in sorted(not_used.items()))
        parts.append(f"not used: {told}")
    if set_aside:
        parts.append(f"set aside: {set_aside}")
    parts += [counted(speakers, "speaker"), f"n={n}"]
    repeats = getattr(protocol, "repeats", 1)
    if (tested := _tested(protocol, rows) * repeats) != n:
        often = f" (every utterance {repeats} times)" if repeats > 1 else ""
        parts.append(f"tested: n={tested}{often}")
    return " | ".join(parts)


def _how(protocol: ProtocolSection, rows: Rows) -> list[str]:
    """Folds, validation, and what else the protocol does."""
    rotating = ", rotating by fold and seed"
    match protocol:
        case LeaveOneSessionOut():
            folds = counted(_folds(protocol, rows), "fold")
            validation = counted(protocol.validation_sessions, "other whole session") + rotating
        case LeaveOneSpeakerOut():
            folds = counted(_folds(protocol, rows), "fold")
            validation = counted(protocol.validation_speakers, "other speaker") + rotating
        case SpeakerFolds():
            folds = f"{_folds(protocol, rows)} folds{_times(protocol.repeats)}"
            validation = counted(protocol.validation_speakers, "other speaker") + rotating
        case CrossCorpus():
            folds = "; ".join(_corpora(protocol, rows))
            speakers = counted(protocol.validation_speakers, "speaker")
            validation = f"{speakers} of each training corpus{rotating}"
        case Official():
            folds = "1 fold"
            validation = "the corpus's own"
            if "validation" not in rows.split.values():
                whole = all(rows.dialogue.values())
                share = f"{100 * protocol.validation_share:g} % of the training"
                validation = f"{share} {'dialogues' if whole else 'utterances'}, rotating by seed"
        case RandomFolds():
            folds = f"{_folds(protocol, rows)} folds{_times(protocol.repeats)}"
            share = f"{100 * protocol.validation_share:g} % of the other utterances"
            validation = share + rotating
    parts = [f"{protocol.kind} ({folds})"]
    if isinstance(protocol, RandomFolds):
        parts.append("speaker-dependent: train, validation and test share speakers")
    if isinstance(protocol, Official):
        parts.append(_shared_speakers(rows))
    parts.append(f"validation: {validation}")
    if isinstance(protocol, SpeakerRoles) and protocol.held_speakers:
        parts.append(f"held for meta-learning: {counted(protocol.held_speakers, 'speaker')}")
    if isinstance(protocol, Official | RandomFolds) and protocol.held_share:
        parts.append(f"held for meta-learning: {100 * protocol.held_share:g} % of training")
    if protocol.text_disjoint:
        groups = (
            1
            if isinstance(protocol, Official)
            else text_groups(_tests(protocol, rows), rows, protocol)
        )
        cut = f"test sets cut by {groups} groups of texts, " if groups > 1 else ""
        parts.append(f"text-disjoint: {cut}training without the texts of the test set")
    return parts


def _tests(protocol: Cut, rows: Rows) -> Mapping[str, Collection[str]]:
    if isinstance(protocol, RandomFolds):
        return random_tests(rows, protocol)
    return group_tests(rows, protocol)


def _folds(protocol: Cut, rows: Rows) -> int:
    """How many folds one dealing makes."""
    folds = tuple(by_text(_tests(protocol, rows), rows, protocol))
    return len(folds) // getattr(protocol, "repeats", 1)


def _times(repeats: int) -> str:
    return f", dealt {repeats} times" if repeats > 1 else ""


def _corpora(protocol: CrossCorpus, rows: Rows) -> list[str]:
    corpora = sorted(set(rows.corpus.values()))
    tested = protocol.test or [name for name in corpora if name not in protocol.train]
    parts = []
    for test in tested:
        left = protocol.train or [c for c in corpora if c != test and c not in protocol.test]
        parts.append(f"trained on {', '.join(left)}, tested on {test}")
    return parts


def _shared_speakers(rows: Rows) -> str:
    parts: dict[str, set[str]] = {}
    for name, split in rows.split.items():
        parts.setdefault(split, set()).add(rows.speaker[name])
    fitted = parts.get("train", set()) | parts.get("validation", set())
    both = len(parts.get("test", set()) & fitted)
    of = counted(len(parts.get("test", set())), "test speaker")
    return f"speakers may be shared: {both} of {of} also speak in training or validation"


def _tested(protocol: ProtocolSection, rows: Rows) -> int:
    match protocol:
        case Official():
            return sum(split == "test" for split in rows.split.values())
        case CrossCorpus():
            tested = protocol.test or set(rows.corpus.values()) - set(protocol.train)
            return sum(corpus in tested for corpus in rows.corpus.values())
        case _:
            return len(rows.emotion)

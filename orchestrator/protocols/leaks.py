"""The leak report: what roles share, whether or not the protocol promises that they do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.protocols.checking import promises
from orchestrator.protocols.fold import ROLES, Fold, Rows

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.experiment.protocol import ProtocolSection

LOOKED_AT: Final = ("audio", "speaker", "session", "dialogue", "text")
"""What roles are compared by; ``audio`` is the hash of what is heard."""


@dataclass(frozen=True)
class Leak:
    """Values that two places share which one would want apart.

    Attributes:
        what: one of ``LOOKED_AT``.
        where: the two roles (``train``, ``test``), or the columns that disagree about one value
            (``audio`` of two speakers: ``speaker``).
        fold: its name, or "" for a leak of the corpus as a whole.
        seed: of the validation choice, or None for a leak of the corpus as a whole.
        values: those shared, sorted.
        utterances: of all places involved, with one of these values, sorted.
        instance: of the first value, one utterance of each place.
        broken: whether the protocol promises that this does not happen.
    """

    what: str
    where: tuple[str, ...]
    fold: str
    seed: int | None
    values: tuple[str, ...]
    utterances: tuple[str, ...]
    instance: tuple[str, ...]
    broken: bool


def corpus_leaks(table: pd.DataFrame, protocol: ProtocolSection) -> list[Leak]:
    """What is wrong before any fold is made: one sound with two speakers, a speaker in two places.

    A sound under two speakers, sessions or official parts breaks every promise about them. A
    speaker of two sessions breaks leave-one-session-out; a speaker of two official parts is
    counted, since the official protocol does not promise otherwise.

    Args:
        table: of a corpus, with the column ``content``.
        protocol: the experiment's section.
    """
    rows = Rows.of(table)
    sound = _sound(table)
    found = []
    for what, value, column in (
        ("audio", sound, "speaker"),
        ("audio", sound, "session"),
        ("audio", sound, "split"),
        ("speaker", rows.speaker, "session"),
        ("speaker", rows.speaker, "split"),
    ):
        places: dict[str, set[str]] = {}
        for name, place in rows.column(column).items():
            places.setdefault(value[name], set()).add(place)
        shared = {one for one, at in places.items() if len(at - {""}) > 1}
        if shared:
            promised = what == "audio" or column in promises(protocol, "train", "test")
            found.append(
                Leak(
                    what=what,
                    where=(column,),
                    fold="",
                    seed=None,
                    values=tuple(sorted(shared)),
                    utterances=tuple(name for name, one in value.items() if one in shared),
                    instance=_one_each(
                        {n: at for n, at in rows.column(column).items() if value[n] == min(shared)}
                    ),
                    broken=promised,
                )
            )
    return found


def fold_leaks(
    folds: Iterable[Fold], table: pd.DataFrame, protocol: ProtocolSection, *, seed: int
) -> list[Leak]:
    """Everything that two roles of one fold share, in the order of folds and roles.

    Args:
        folds: as they were dealt, checked or not.
        table: of the corpus they are of, with the column ``content``.
        protocol: that made them.
        seed: they were made with.
    """
    rows = Rows.of(table)
    sound = _sound(table)
    found = []
    for fold in folds:
        for one, other in itertools.combinations(ROLES, 2):
            promised = promises(protocol, one, other)
            for what in LOOKED_AT:
                value = sound if what == "audio" else rows.column(what)
                shared = _shared(value, fold.role(one), fold.role(other))
                if shared:
                    both = (*fold.role(one), *fold.role(other))
                    found.append(
                        Leak(
                            what=what,
                            where=(one, other),
                            fold=fold.name,
                            seed=seed,
                            values=tuple(sorted(shared)),
                            utterances=tuple(sorted(n for n in both if value[n] in shared)),
                            instance=tuple(
                                min(n for n in fold.role(role) if value[n] == min(shared))
                                for role in (one, other)
                            ),
                            broken=what == "audio" or what in promised,
                        )
                    )
    return found


def _one_each(places: Mapping[str, str]) -> tuple[str, ...]:
    """The first id of every place."""
    first: dict[str, str] = {}
    for name, place in sorted(places.items()):
        first.setdefault(place, name)
    return tuple(first.values())


def _sound(table: pd.DataFrame) -> dict[str, str]:
    return dict(sorted(zip(table["id"], table["content"], strict=True)))


def _shared(value: Mapping[str, str], one: Iterable[str], other: Iterable[str]) -> set[str]:
    return ({value[name] for name in one} & {value[name] for name in other}) - {""}

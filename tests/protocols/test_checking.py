"""Folds that break a promise are refused, whoever dealt them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSpeakerOut,
    Official,
    ProtocolSection,
)
from orchestrator.protocols import check_fold
from orchestrator.protocols.checking import promises
from tests.protocols.tables import full_table, quiet

SPEAKERS = LeaveOneSpeakerOut(kind="leave-one-speaker-out", validation_speakers=1)
DISJOINT = SPEAKERS.model_copy(update={"text_disjoint": True, "text_folds": 2})
CROSSED = CrossCorpus(kind="cross-corpus", validation_speakers=1)


def test_training_that_hears_a_text_of_the_test_set_is_refused() -> None:
    frame = full_table(6)
    fold = quiet(frame, DISJOINT)[0]
    check_fold(fold, frame, DISJOINT)
    said = replace(fold, train=(*fold.train, fold.dropped[-1]), dropped=fold.dropped[:-1])

    with pytest.raises(ProtocolError, match="train and test share text"):
        check_fold(said, frame, DISJOINT)
    # nobody promises that without text_disjoint
    check_fold(said, frame, SPEAKERS)


def test_what_is_held_must_not_hear_a_text_of_the_test_set_either() -> None:
    frame = full_table(8)
    protocol = DISJOINT.model_copy(update={"held_speakers": 1})
    fold = quiet(frame, protocol)[0]
    held = {name.split("-")[0] for name in fold.held}
    more = next(name for name in fold.dropped if name.split("-")[0] in held)

    with pytest.raises(ProtocolError, match="held and test share text"):
        check_fold(replace(fold, held=(*fold.held, more)), frame, protocol)


def test_training_on_the_tested_corpus_is_refused() -> None:
    frame = full_table(4, corpora=2)
    fold = quiet(frame, CROSSED)[0]
    moved = replace(fold, train=(*fold.train, fold.test[-1]), test=fold.test[:-12])

    with pytest.raises(ProtocolError, match="train and test share"):
        check_fold(moved, frame, CROSSED)
    # a whole speaker of the tested corpus: only the corpus gives it away
    who = fold.test[0].split("-")[0]
    own = tuple(name for name in fold.test if name.startswith(who))
    rest = tuple(name for name in fold.test if not name.startswith(who))
    with pytest.raises(ProtocolError, match="train and test share corpus 'c0'"):
        check_fold(replace(fold, train=(*fold.train, *own), test=rest), frame, CROSSED)


def test_held_speakers_who_also_train_are_refused() -> None:
    frame = full_table(6)
    protocol = SPEAKERS.model_copy(update={"held_speakers": 1})
    fold = quiet(frame, protocol)[0]
    moved = replace(fold, train=(*fold.train, fold.held[0]), held=fold.held[1:])

    with pytest.raises(ProtocolError, match="train and held share speaker"):
        check_fold(moved, frame, protocol)


@pytest.mark.parametrize(
    ("protocol", "one", "other", "expected"),
    [
        (SPEAKERS, "train", "test", ("speaker",)),
        (DISJOINT, "train", "test", ("speaker", "text")),
        (DISJOINT, "train", "held", ("speaker",)),
        (DISJOINT, "validation", "test", ("speaker",)),
        (CROSSED, "validation", "test", ("speaker", "corpus")),
        (CROSSED, "train", "validation", ("speaker",)),
        (Official(kind="official"), "train", "test", ()),
    ],
)
def test_what_is_promised(
    protocol: ProtocolSection, one: str, other: str, expected: tuple[str, ...]
) -> None:
    assert promises(protocol, one, other) == expected
    assert promises(protocol, other, one) == expected

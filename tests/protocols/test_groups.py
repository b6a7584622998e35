"""Folds of whole groups: cut by texts, held speakers, repeats, balance, and across corpora."""

from __future__ import annotations

import warnings
from collections import Counter

import pandas as pd
import pytest

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    SpeakerFolds,
)
from orchestrator.protocols import ValidationCoverageWarning, make_folds
from orchestrator.protocols.dealing import deal_balanced
from tests.protocols.tables import EMOTIONS, column, full_table, quiet

SPEAKERS = LeaveOneSpeakerOut(kind="leave-one-speaker-out")


ONE_PART = LeaveOneSpeakerOut(
    kind="leave-one-speaker-out", validation_speakers=1, text_disjoint=True, text_folds=1
)


def test_text_disjoint_drops_from_training_what_the_test_says() -> None:
    frame = full_table(6, texts=4, each=1)
    own = frame["speaker"].map({"c0s00": ["t0", "t1"], "c0s01": ["t1", "t2"]})
    says = [
        not isinstance(texts, list) or text in texts
        for texts, text in zip(own, frame["text"], strict=True)
    ]
    # the others say what nobody else says, so that their own folds lose nothing
    rest = ~frame["speaker"].isin(["c0s00", "c0s01", "c0s02"])
    frame.loc[rest, "text"] = frame["speaker"] + frame["text"]
    frame = frame[says]

    fold = quiet(frame[frame["speaker"] != "c0s02"], ONE_PART)[0]

    # of the one other who says t1, three emotions, unless it validates
    dropped = frame[(frame["speaker"] == "c0s01") & (frame["text"] == "t1")]
    assert fold.name == "speaker=c0s00"
    assert list(fold.dropped) == sorted(dropped["id"])
    assert not set(fold.dropped) & set(fold.train)


def test_training_that_loses_every_text_is_refused_with_the_mend() -> None:
    with pytest.raises(ProtocolError, match="speaker=c0s00 would have no.*set text_folds higher"):
        quiet(full_table(6), ONE_PART)


def test_test_sets_cut_by_texts_test_every_utterance_once() -> None:
    frame = full_table(6)
    folds = quiet(frame, ONE_PART.model_copy(update={"text_folds": 2}))

    assert len(folds) == 12
    assert sorted(name for fold in folds for name in fold.test) == sorted(frame["id"])
    for fold in folds:
        said = column(frame, "text", fold.test)
        assert len(said) == 2
        assert not said & column(frame, "text", fold.train)
        # nothing disappears: what those who are tested say in the other fold is counted
        together = [*fold.train, *fold.validation, *fold.test, *fold.dropped]
        assert sorted(together) == sorted(frame["id"])


def test_text_folds_are_cut_by_themselves_only_where_one_would_leave_nothing() -> None:
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True)
    shared = full_table(6)
    own = shared.assign(text=shared["speaker"] + shared["text"])

    assert [fold.name for fold in quiet(shared, protocol)][:2] == [
        "speaker=c0s00,texts=1",
        "speaker=c0s00,texts=2",
    ]
    assert [fold.name for fold in quiet(own, protocol)][:2] == ["speaker=c0s00", "speaker=c0s01"]
    assert all(not fold.dropped for fold in quiet(own, protocol))


def test_validation_keeps_the_texts_of_the_test_set() -> None:
    frame = full_table(6)
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True)

    for fold in quiet(frame, protocol):
        assert column(frame, "text", fold.validation) == {"t0", "t1", "t2", "t3"}


def test_an_utterance_without_a_text_is_refused_and_counted() -> None:
    frame = full_table(4)
    frame.loc[:2, "text"] = ""
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True)

    with pytest.raises(ProtocolError, match="3 of 96 have none, 'c0s00-anger-0-0' for one"):
        quiet(frame, protocol)


def test_more_text_folds_than_texts_are_refused() -> None:
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True, text_folds=5)

    with pytest.raises(ProtocolError, match="text_folds is 5 but the corpus has only 4"):
        quiet(full_table(6), protocol)


def test_held_speakers_are_cut_from_training() -> None:
    frame = full_table(8)
    plain = quiet(frame, SPEAKERS)
    folds = quiet(frame, SPEAKERS.model_copy(update={"held_speakers": 2}))

    for without, fold in zip(plain, folds, strict=True):
        assert len(column(frame, "speaker", fold.held)) == 2
        assert column(frame, "emotion", fold.held) == set(EMOTIONS)
        assert sorted([*fold.train, *fold.held]) == list(without.train)
        assert (fold.validation, fold.test) == (without.validation, without.test)
    assert len({fold.held for fold in folds}) > 1


def test_held_speakers_of_sessions_come_from_training_sessions() -> None:
    frame = full_table(8)
    protocol = LeaveOneSessionOut(kind="leave-one-session-out", held_speakers=1)

    for fold in quiet(frame, protocol):
        held, fitted = column(frame, "session", fold.held), column(frame, "session", fold.train)
        assert held <= fitted
        assert len(column(frame, "speaker", fold.held)) == 1


def test_holding_everybody_is_refused() -> None:
    with pytest.raises(ProtocolError, match="held_speakers is 5, which leaves none"):
        quiet(full_table(8), SPEAKERS.model_copy(update={"held_speakers": 5}))


def test_validation_is_mixed_in_gender_where_the_corpus_allows() -> None:
    frame = full_table(8)
    for seed in range(5):
        for fold in quiet(frame, SPEAKERS, seed=seed):
            assert column(frame, "gender", fold.validation) == {"female", "male"}


def test_validation_of_one_gender_only_is_said() -> None:
    frame = full_table(4)
    # whoever takes the only other woman to validation takes the last joy out of training
    frame["gender"] = frame["speaker"].map(
        {"c0s00": "female", "c0s01": "male", "c0s02": "male", "c0s03": "male"}
    )
    keep = (frame["emotion"] != "joy") | frame["speaker"].isin(["c0s00", "c0s03"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_folds(frame[keep], SPEAKERS, seed=0)

    said = [str(w.message) for w in caught if w.category is ValidationCoverageWarning]
    assert any("mixed in gender in fold speaker=c0s03" in line for line in said)


def test_speaker_folds_are_balanced_by_class() -> None:
    # four speakers are angry only, four are joyful only: hashes alone would bunch them
    weights = {f"a{n}": {"anger": 10} for n in range(4)} | {f"j{n}": {"joy": 10} for n in range(4)}
    for salt in range(20):
        place = deal_balanced(weights, 4, salt=["fold", salt])
        for group in range(4):
            own = Counter(name[0] for name, at in place.items() if at == group)
            assert own == {"a": 1, "j": 1}


def test_unequal_speakers_are_spread() -> None:
    weights = {f"big{n}": {"anger": 64} for n in range(3)}
    weights |= {f"small{n}": {"anger": 4} for n in range(6)}
    for salt in range(20):
        place = deal_balanced(weights, 3, salt=[salt])
        sizes = Counter(place.values())
        assert sorted(sizes.values()) == [3, 3, 3]


def test_a_few_rows_more_move_no_speaker() -> None:
    weights = {f"s{n}": {"anger": 10 + n % 3, "joy": 20} for n in range(12)}
    before = deal_balanced(weights, 4, salt=["fold"])
    more = weights | {"s5": {"anger": weights["s5"]["anger"], "joy": 21}}

    assert deal_balanced(more, 4, salt=["fold"]) == before


def test_repeats_deal_differently_and_say_so() -> None:
    frame = full_table(8)
    protocol = SpeakerFolds(kind="speaker-folds", folds=4, validation_speakers=1, repeats=3)
    folds = quiet(frame, protocol)

    assert [fold.name for fold in folds][3:5] == ["repeat=1,fold=4", "repeat=2,fold=1"]
    assert len(folds) == 12
    deals = [frozenset(fold.test for fold in folds[at : at + 4]) for at in (0, 4, 8)]
    assert len(set(deals)) == 3
    once = SpeakerFolds(kind="speaker-folds", folds=4, validation_speakers=1)
    assert {fold.test for fold in quiet(frame, once)} == deals[0]


def crossed(**options: object) -> CrossCorpus:
    return CrossCorpus.model_validate({"kind": "cross-corpus", **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"c0": {"c1", "c2"}, "c1": {"c0", "c2"}, "c2": {"c0", "c1"}}),
        ({"test": ["c1"]}, {"c1": {"c0", "c2"}}),
        ({"train": ["c0"]}, {"c1": {"c0"}, "c2": {"c0"}}),
        ({"train": ["c0"], "test": ["c2"]}, {"c2": {"c0"}}),
    ],
)
def test_cross_corpus_trains_on_some_and_tests_others(
    options: dict[str, object], expected: dict[str, set[str]]
) -> None:
    frame = full_table(4, corpora=3)
    folds = quiet(frame, crossed(validation_speakers=1, **options))

    assert {fold.name: column(frame, "corpus", fold.train) for fold in folds} == {
        f"corpus={test}": fitted for test, fitted in expected.items()
    }
    for fold in folds:
        corpus = fold.name.removeprefix("corpus=")
        assert list(fold.test) == sorted(frame["id"][frame["corpus"] == corpus])
        # one validation speaker of each training corpus
        who = column(frame, "speaker", fold.validation)
        assert Counter(name[:2] for name in who) == dict.fromkeys(expected[corpus], 1)


def test_cross_corpus_of_one_corpus_is_refused() -> None:
    with pytest.raises(ProtocolError, match="needs several corpora"):
        quiet(full_table(4), crossed())


def test_folds_of_a_large_corpus_are_quick_enough_to_make() -> None:
    """91 speakers as in CREMA-D: validation is chosen without weighing every pair of them."""
    frame = pd.concat([full_table(91, texts=2, each=2)], ignore_index=True)

    assert len(quiet(frame, SPEAKERS)) == 91

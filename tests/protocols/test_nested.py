"""A fold dealt again inside itself: what its search may hear, and what it may not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    Official,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
)
from orchestrator.protocols import Fold, nested_folds
from orchestrator.protocols.nested import nested_noun
from tests.protocols.tables import column, full_table, quiet, tables

SESSIONS = LeaveOneSessionOut(kind="leave-one-session-out")
SPEAKERS = LeaveOneSpeakerOut(kind="leave-one-speaker-out", validation_speakers=2)
CASES = st.one_of(
    st.tuples(
        tables(),
        st.sampled_from(
            [
                SESSIONS,
                LeaveOneSessionOut(kind="leave-one-session-out", held_speakers=1),
                LeaveOneSpeakerOut(kind="leave-one-speaker-out", validation_speakers=1),
                LeaveOneSpeakerOut(
                    kind="leave-one-speaker-out", validation_speakers=1, held_speakers=1
                ),
                LeaveOneSpeakerOut(
                    kind="leave-one-speaker-out", validation_speakers=1, text_disjoint=True
                ),
                SpeakerFolds(kind="speaker-folds", folds=2, validation_speakers=1, repeats=2),
                Official(kind="official"),
                Official(kind="official", held_share=0.2, text_disjoint=True),
                RandomFolds(kind="random-folds", folds=2, held_share=0.2),
                RandomFolds(kind="random-folds", folds=2, text_disjoint=True, text_folds=1),
            ]
        ),
    ),
    st.tuples(
        tables(corpora=2),
        st.sampled_from(
            [
                CrossCorpus(kind="cross-corpus", validation_speakers=1),
                CrossCorpus(kind="cross-corpus", validation_speakers=1, test=("c0",)),
            ]
        ),
    ),
)


def dealt(frame: pd.DataFrame, protocol: ProtocolSection, name: str = "") -> Fold:
    folds = quiet(frame, protocol)
    return next(fold for fold in folds if not name or fold.name == name)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(CASES, st.integers(2, 3), st.integers(0, 2))
def test_no_inner_fold_hears_anything_of_what_the_outer_one_tests(
    case: tuple[pd.DataFrame, ProtocolSection], count: int, seed: int
) -> None:
    frame, protocol = case
    try:
        outer = quiet(frame, protocol)
        every = [nested_folds(frame, fold, protocol, count=count, seed=seed) for fold in outer]
    except ProtocolError:
        assume(False)
        raise
    told = {name: dict(zip(frame["id"], frame[name], strict=True)) for name in frame}

    def values(name: str, ids: Iterable[str]) -> set[str]:
        return {told[name][one] for one in ids}

    for fold, inner in zip(outer, every, strict=True):
        assert [one.name for one in inner] == [
            f"{fold.name}: inner {number}" for number in range(1, count + 1)
        ]
        tested = set(fold.test)
        may = {*fold.train, *fold.held, *fold.validation}
        if protocol.text_disjoint:
            may = {name for name in may if told["text"][name] not in values("text", tested)}
        assert not may & tested
        scored: list[str] = []
        for one in inner:
            roles = [set(one.train), set(one.held), set(one.validation)]
            assert set.union(*roles) == may
            assert sum(map(len, roles)) == len(may)
            assert one.test == fold.test
            assert set(one.dropped) == set(frame["id"]) - may - tested
            scored += one.validation
            if protocol.kind not in ("official", "random-folds"):
                for a, b in itertools.combinations([*roles, tested], 2):
                    assert not values("speaker", a) & values("speaker", b)
            if protocol.kind == "leave-one-session-out":
                for a, b in ((roles[0], roles[2]), (roles[1], roles[2]), (may, tested)):
                    assert not values("session", a) & values("session", b)
            assert values("emotion", one.train) == set(frame["emotion"])
        assert sorted(scored) == sorted(may)


def test_whole_sessions_are_validation_once_each_under_leave_one_session_out() -> None:
    frame = full_table(8)
    fold = dealt(frame, SESSIONS, "session=c0p1")
    inner = nested_folds(frame, fold, SESSIONS, count=3, seed=0)

    assert [len(column(frame, "session", one.validation)) for one in inner] == [1, 1, 1]
    assert {min(column(frame, "session", one.validation)) for one in inner} == {
        "c0p0",
        "c0p2",
        "c0p3",
    }
    assert {len(column(frame, "session", one.train)) for one in inner} == {2}


def test_groups_are_the_same_for_every_seed_and_only_what_is_held_moves() -> None:
    frame = full_table(10)
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", held_speakers=2)
    fold = dealt(frame, protocol)
    by_seed = [nested_folds(frame, fold, protocol, count=3, seed=seed) for seed in range(6)]

    assert len({tuple(one.validation for one in inner) for inner in by_seed}) == 1
    assert len({tuple(one.held for one in inner) for inner in by_seed}) > 1
    # nor does it matter with which seed the outer fold was dealt
    other = quiet(frame, protocol, seed=3)[0]
    assert nested_folds(frame, other, protocol, count=3, seed=0) == by_seed[0]


def test_each_outer_fold_is_dealt_in_its_own_way() -> None:
    """Else all searches would validate on the same groups."""
    frame = full_table(12)
    found = {
        tuple(
            frozenset(column(frame, "speaker", one.validation) - {"c0s00", "c0s01"})
            for one in nested_folds(frame, fold, SPEAKERS, count=2, seed=0)
        )
        for fold in quiet(frame, SPEAKERS)[:2]
    }
    assert len(found) == 2


@pytest.mark.parametrize(
    ("protocol", "noun"),
    [
        (SESSIONS, "session"),
        (SPEAKERS, "speaker"),
        (Official(kind="official"), "dialogue"),
        (RandomFolds(kind="random-folds"), "utterance"),
    ],
)
def test_groups_are_made_of_what_the_protocol_keeps_together(
    protocol: ProtocolSection, noun: str
) -> None:
    frame = full_table(8)
    inner = nested_folds(frame, dealt(frame, protocol), protocol, count=2, seed=0)
    frame["utterance"] = frame["id"]

    assert nested_noun(frame, protocol) == noun
    assert not column(frame, noun, inner[0].validation) & column(frame, noun, inner[0].train)
    sizes = [len(column(frame, noun, one.validation)) for one in inner]
    # utterances are dealt evenly within each of three emotions
    assert max(sizes) - min(sizes) <= (3 if noun == "utterance" else 1)


def test_without_dialogues_an_official_split_is_dealt_by_utterances() -> None:
    frame = full_table(8).assign(dialogue="")
    protocol = Official(kind="official")

    assert nested_noun(frame, protocol) == "utterance"
    first, _ = nested_folds(frame, dealt(frame, protocol), protocol, count=2, seed=0)
    assert column(frame, "speaker", first.train) == column(frame, "speaker", first.validation)


def test_speakers_of_each_training_corpus_are_in_every_group() -> None:
    frame = full_table(4, corpora=3)
    protocol = CrossCorpus(kind="cross-corpus", validation_speakers=1)
    fold = dealt(frame, protocol, "corpus=c1")
    inner = nested_folds(frame, fold, protocol, count=2, seed=0)

    for one in inner:
        assert column(frame, "corpus", one.validation) == {"c0", "c2"}
        assert column(frame, "corpus", one.train) == {"c0", "c2"}
        assert len(column(frame, "speaker", one.validation)) == 4


@pytest.mark.parametrize(
    ("protocol", "count", "said"),
    [
        (SESSIONS, 4, r"inner_folds is 4 but fold session=c0p0 has only 3 sessions .* at most 3"),
        (SPEAKERS, 8, r"only 7 speakers besides what it tests; set it to at most 7"),
        (SpeakerFolds(kind="speaker-folds", folds=2), 5, r"only 4 speakers .*at most 4"),
    ],
)
def test_too_few_to_deal_are_counted_with_the_mend(
    protocol: ProtocolSection, count: int, said: str
) -> None:
    frame = full_table(8)
    with pytest.raises(ProtocolError, match=said):
        nested_folds(frame, dealt(frame, protocol), protocol, count=count, seed=0)


def test_of_one_session_nothing_can_be_left_out() -> None:
    # two sessions of four speakers
    frame = full_table(8)
    frame["session"] = (frame["session"] > "c0p1").map({True: "b", False: "a"})
    fold = Fold(
        name="session=a",
        train=tuple(frame["id"][frame["speaker"].isin(["c0s06", "c0s07"])]),
        validation=tuple(frame["id"][frame["speaker"].isin(["c0s04", "c0s05"])]),
        test=tuple(frame["id"][frame["session"] == "a"]),
    )
    with pytest.raises(ProtocolError, match=r"only 1 session besides.*use another evaluate\.sele"):
        nested_folds(frame, fold, SESSIONS, count=2, seed=0)


def test_an_emotion_of_one_speaker_cannot_be_left_out() -> None:
    frame = full_table(6)
    only = frame["emotion"] == "joy"
    frame = frame[~only | (frame["speaker"] == "c0s03")].reset_index(drop=True)
    fold = Fold(
        name="speaker=c0s00",
        train=tuple(sorted(frame["id"][frame["speaker"] > "c0s01"])),
        validation=tuple(sorted(frame["id"][frame["speaker"] == "c0s01"])),
        test=tuple(sorted(frame["id"][frame["speaker"] == "c0s00"])),
    )
    with pytest.raises(ProtocolError, match=r"no utterance of emotion 'joy': so few speak it"):
        nested_folds(frame, fold, SPEAKERS, count=2, seed=0)


def test_speakers_who_would_all_be_held_are_refused() -> None:
    frame = full_table(6)
    protocol = LeaveOneSpeakerOut(
        kind="leave-one-speaker-out", validation_speakers=1, held_speakers=3
    )
    with pytest.raises(ProtocolError, match=r"inner 1 has 2 speakers.*held_speakers is 3"):
        nested_folds(frame, dealt(frame, protocol), protocol, count=2, seed=0)


def test_an_emotion_of_two_speakers_is_dealt_into_two_groups() -> None:
    """A dealing that puts both into one group is not the only one."""
    frame = full_table(10, each=1, texts=1)
    rare = (frame["emotion"] == "joy") & ~frame["speaker"].isin(["c0s03", "c0s07"])
    frame = frame[~rare].reset_index(drop=True)
    folds = [
        Fold(
            name=f"speaker={who}",
            train=tuple(sorted(frame["id"][~frame["speaker"].isin([who, "c0s09"])])),
            validation=tuple(sorted(frame["id"][frame["speaker"] == "c0s09"])),
            test=tuple(sorted(frame["id"][frame["speaker"] == who])),
        )
        for who in ("c0s00", "c0s01", "c0s02", "c0s04", "c0s05", "c0s06", "c0s08")
    ]
    for fold in folds:
        for one in nested_folds(frame, fold, SPEAKERS, count=2, seed=0):
            assert "joy" in column(frame, "emotion", one.train)

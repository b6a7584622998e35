"""Folds: whose speakers are where, that they rotate, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import (
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
)
from orchestrator.protocols import (
    Fold,
    SpeakerDependentWarning,
    ValidationCoverageWarning,
    check_fold,
    inner_folds,
    make_folds,
    protocol_string,
)

EMOTIONS = ("anger", "joy", "neutral")

SESSIONS = LeaveOneSessionOut(kind="leave-one-session-out")
SPEAKERS = LeaveOneSpeakerOut(kind="leave-one-speaker-out")
GROUPS = SpeakerFolds(kind="speaker-folds", folds=3, validation_speakers=1)
RANDOM = RandomFolds(kind="random-folds", folds=3)


def table(speakers: int = 8, *, emotions: Iterable[str] = EMOTIONS, each: int = 2) -> pd.DataFrame:
    """Two speakers a session, ``each`` utterances of every emotion."""
    rows = [
        (f"{speaker:02}-{emotion}-{take}", f"{speaker:02}", f"{speaker // 2 + 1}", emotion)
        for speaker in range(speakers)
        for emotion in emotions
        for take in range(each)
    ]
    return pd.DataFrame(rows, columns=["id", "speaker", "session", "emotion"])


def without(frame: pd.DataFrame, speaker: str, emotion: str) -> pd.DataFrame:
    return frame[~((frame["speaker"] == speaker) & (frame["emotion"] == emotion))]


def quiet(frame: pd.DataFrame, protocol: ProtocolSection, *, seed: int = 0) -> tuple[Fold, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_folds(frame, protocol, seed=seed)


def column(frame: pd.DataFrame, name: str, ids: Iterable[str]) -> set[str]:
    return set(frame.set_index("id").loc[list(ids), name])


# What every protocol promises


@st.composite
def corpora(draw: st.DrawFn) -> pd.DataFrame:
    """Corpora of uneven speakers, some of whom lack emotions."""
    rows = []
    for speaker in range(draw(st.integers(4, 9))):
        for emotion in EMOTIONS:
            for take in range(draw(st.integers(0, 3))):
                name = f"u{speaker}{emotion[0]}{take}"
                rows.append((name, f"s{speaker}", f"{speaker // 2}", emotion))
    assume(rows)
    return pd.DataFrame(rows, columns=["id", "speaker", "session", "emotion"])


@settings(max_examples=60, deadline=None)
@given(
    corpora(),
    st.sampled_from([SESSIONS, SPEAKERS, GROUPS, RANDOM]),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_laws_of_every_protocol(
    frame: pd.DataFrame, protocol: ProtocolSection, seed: int, random: object
) -> None:
    try:
        folds = quiet(frame, protocol, seed=seed)
    except ProtocolError:
        assume(False)
    everyone = sorted(frame["id"])

    # every utterance is tested exactly once, and has one role in each fold
    assert sorted(name for fold in folds for name in fold.test) == everyone
    for fold in folds:
        assert sorted([*fold.train, *fold.validation, *fold.test]) == everyone
        assert column(frame, "emotion", fold.train) == set(frame["emotion"])
        for role in (fold.train, fold.validation, fold.test):
            assert role == tuple(sorted(role))
            assert role
        for unit in {SESSIONS: ["speaker", "session"], RANDOM: []}.get(protocol, ["speaker"]):
            held = [column(frame, unit, r) for r in (fold.train, fold.validation, fold.test)]
            assert sum(map(len, held)) == len(set.union(*held))

    # the order of rows means nothing
    order = list(range(len(frame)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert quiet(frame.iloc[order], protocol, seed=seed) == folds
    # every seed measures the same test sets
    other = quiet(frame, protocol, seed=seed + 1)
    assert [(fold.name, fold.test) for fold in other] == [(fold.name, fold.test) for fold in folds]


def test_folds_hold_no_labels() -> None:
    assert [field.name for field in dataclasses.fields(Fold)] == [
        "name",
        "train",
        "validation",
        "test",
        "held",
        "dropped",
    ]


@pytest.mark.parametrize("protocol", [SESSIONS, SPEAKERS, GROUPS])
def test_validation_covers_every_class_where_the_corpus_allows(protocol: ProtocolSection) -> None:
    frame = table()
    for speaker in ("01", "04", "07"):
        frame = without(frame, speaker, "joy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ValidationCoverageWarning)
        for seed in range(6):
            for fold in make_folds(frame, protocol, seed=seed):
                assert column(frame, "emotion", fold.validation) == set(EMOTIONS)


@pytest.mark.parametrize("protocol", [SESSIONS, SPEAKERS, GROUPS, RANDOM])
def test_validation_rotates_by_fold_and_seed(protocol: ProtocolSection) -> None:
    folds = {seed: quiet(table(), protocol, seed=seed) for seed in range(4)}

    assert len({folds[seed][0].validation for seed in folds}) > 1
    assert len({column(table(), "speaker", fold.validation).pop() for fold in folds[0]}) > 1


def test_every_speaker_validates_somewhere_over_folds_and_seeds() -> None:
    frame = table()
    validated = {
        speaker
        for seed in range(3)
        for fold in make_folds(frame, SPEAKERS, seed=seed)
        for speaker in column(frame, "speaker", fold.validation)
    }

    assert validated == set(frame["speaker"])


def test_choices_do_not_depend_on_the_process() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/protocols'); import test_making as t;"
        "print([f.validation for f in t.make_folds(t.table(), t.SPEAKERS, seed=3)])"
    )
    here = str([fold.validation for fold in make_folds(table(), SPEAKERS, seed=3)])
    for salt in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


# Each protocol by itself


def test_leave_one_session_out_tests_each_session_and_validates_on_a_whole_other() -> None:
    frame = table()
    folds = make_folds(frame, SESSIONS, seed=0)

    assert [fold.name for fold in folds] == ["session=1", "session=2", "session=3", "session=4"]
    for number, fold in enumerate(folds, start=1):
        assert column(frame, "session", fold.test) == {str(number)}
        assert len(column(frame, "session", fold.validation)) == 1
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (24, 12, 12)


def test_leave_one_speaker_out_tests_each_speaker() -> None:
    frame = table(4)
    folds = make_folds(frame, SPEAKERS, seed=0)

    assert [fold.name for fold in folds] == [f"speaker=0{place}" for place in range(4)]
    for fold in folds:
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (6, 12, 6)


def test_speaker_folds_deal_speakers_evenly() -> None:
    frame = table(8)
    folds = make_folds(frame, GROUPS, seed=0)

    assert [fold.name for fold in folds] == ["fold=1", "fold=2", "fold=3"]
    assert sorted(len(column(frame, "speaker", fold.test)) for fold in folds) == [2, 3, 3]


def test_random_folds_warn_and_deal_evenly_within_each_emotion() -> None:
    frame = table(6, each=2)
    with pytest.warns(SpeakerDependentWarning, match="says? nothing about new speakers"):
        folds = make_folds(frame, RANDOM, seed=0)

    for fold in folds:
        emotions = frame.set_index("id")["emotion"]
        assert emotions[list(fold.test)].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 4)
        # a tenth of the other eight is one
        assert emotions[list(fold.validation)].value_counts().to_dict() == dict.fromkeys(
            EMOTIONS, 1
        )


def test_a_new_speaker_moves_only_validation_that_it_takes_itself() -> None:
    frame = table(9)
    before = make_folds(frame[frame["speaker"] != "08"], SPEAKERS, seed=1)
    after = make_folds(frame, SPEAKERS, seed=1)[:8]
    moved = [
        (old, new)
        for old, new in zip(before, after, strict=True)
        if old.validation != new.validation
    ]

    assert len(moved) < 6
    for old, new in moved:
        was, now = (column(frame, "speaker", fold.validation) for fold in (old, new))
        assert "08" in now
        assert len(was & now) == 1


# What is refused


def test_one_speaker_only_is_refused() -> None:
    for protocol in (SESSIONS, SPEAKERS, GROUPS):
        with pytest.raises(ProtocolError, match=r"several speakers.*only \['00'\].*random-folds"):
            make_folds(table(1), protocol, seed=0)


def test_a_corpus_without_sessions_is_refused_under_sessions() -> None:
    frame = table()
    frame["session"] = ""
    with pytest.raises(ProtocolError, match="48 of 48 have none.*corpora: columns: session"):
        make_folds(frame, SESSIONS, seed=0)


def test_some_utterances_without_a_session_are_refused_and_counted() -> None:
    frame = table()
    frame.loc[frame["speaker"] == "03", "session"] = ""
    with pytest.raises(ProtocolError, match="6 of 48 have none, '03-anger-0' for one"):
        make_folds(frame, SESSIONS, seed=0)


def test_fewer_speakers_than_folds_are_refused() -> None:
    with pytest.raises(ProtocolError, match="folds is 3 but the corpus has only 2 speakers"):
        make_folds(table(2), GROUPS, seed=0)


@pytest.mark.parametrize(
    ("protocol", "speakers", "said"),
    [
        (SPEAKERS, 3, "has 2 speakers besides those it tests and validation_speakers is 2"),
        (SESSIONS, 4, "has 1 session besides those it tests and validation_sessions is 1"),
        (SESSIONS, 2, "has 0 sessions besides those it tests and validation_sessions is 1"),
    ],
)
def test_a_fold_with_nobody_left_for_training_is_refused(
    protocol: ProtocolSection, speakers: int, said: str
) -> None:
    with pytest.raises(ProtocolError, match=f"{said}, which leaves none for training; lower"):
        make_folds(table(speakers), protocol, seed=0)


def test_random_folds_with_an_empty_role_are_refused() -> None:
    frame = table(1, emotions=["anger"], each=2)
    with pytest.raises(ProtocolError, match="no utterances for"):
        quiet(frame, RANDOM)


@pytest.mark.parametrize("protocol", [SPEAKERS, SESSIONS, GROUPS])
def test_a_class_of_one_speaker_only_is_refused(protocol: ProtocolSection) -> None:
    frame = table()
    frame = frame[(frame["emotion"] != "joy") | (frame["speaker"] == "05")]
    with pytest.raises(ProtocolError, match=r"training of fold .* no utterance of emotion 'joy'"):
        make_folds(frame, protocol, seed=0)


def test_a_class_that_validation_must_take_from_training_is_refused() -> None:
    frame = table(4)
    frame = frame[(frame["emotion"] != "joy") | frame["speaker"].isin(["00", "01"])]
    frame = frame[(frame["emotion"] != "anger") | frame["speaker"].isin(["02", "03"])]
    protocol = LeaveOneSpeakerOut(kind="leave-one-speaker-out", validation_speakers=2)
    with pytest.raises(ProtocolError, match="no choice of 2 speakers.*lower validation_speakers"):
        make_folds(frame, protocol, seed=0)


def test_validation_that_must_lack_a_class_is_said() -> None:
    frame = table(5)
    frame = frame[(frame["emotion"] != "joy") | frame["speaker"].isin(["00", "01"])]
    with pytest.warns(ValidationCoverageWarning, match=r"speaker=00 \(joy\)"):
        folds = make_folds(frame, SPEAKERS, seed=0)

    for fold in folds:
        assert "joy" in column(frame, "emotion", fold.train)


def test_a_speaker_of_two_sessions_is_refused_under_sessions() -> None:
    frame = table()
    frame.loc[frame["id"] == "03-joy-0", "session"] = "4"
    with pytest.raises(ProtocolError, match="share speaker '03'"):
        make_folds(frame, SESSIONS, seed=0)


# The assertion of laws 1 and 2 stands by itself


def fold_of(frame: pd.DataFrame, train: str, validation: str, test: str) -> Fold:
    def of(speakers: str) -> tuple[str, ...]:
        return tuple(frame["id"][frame["speaker"].isin(speakers.split())])

    return Fold("speaker=x", of(train), of(validation), of(test))


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("00 01", "02", "02 03"), "validation and test share utterance '02-anger-0'"),
        (("00 01", "01", "03"), "train and validation share utterance"),
        (("00 01", "", "03"), "no utterances for validation"),
        (("00 01", "02", ""), "no utterances for test"),
    ],
)
def test_roles_that_share_or_lack_are_refused(roles: tuple[str, str, str], said: str) -> None:
    frame = table(4)
    with pytest.raises(ProtocolError, match=said):
        check_fold(fold_of(frame, *roles), frame, SPEAKERS)


def test_roles_that_share_a_speaker_but_no_utterance_are_refused() -> None:
    frame = table(4)
    fold = fold_of(frame, "00 01", "02", "03")
    moved = dataclasses.replace(fold, train=fold.train[1:], test=(*fold.test, fold.train[0]))
    with pytest.raises(ProtocolError, match="train and test share speaker '00'"):
        check_fold(moved, frame, SPEAKERS)
    check_fold(moved, frame, RANDOM)


def test_roles_that_share_a_session_are_refused_under_sessions_only() -> None:
    frame = table(4)
    fold = fold_of(frame, "00 01", "02", "03")
    check_fold(fold, frame, SPEAKERS)
    with pytest.raises(ProtocolError, match="validation and test share session '2'"):
        check_fold(fold, frame, SESSIONS)


def test_an_utterance_the_corpus_lacks_is_refused() -> None:
    frame = table(4)
    fold = dataclasses.replace(fold_of(frame, "00 01", "02", "03"), test=("ghost",))
    with pytest.raises(ProtocolError, match="'ghost'"):
        check_fold(fold, frame, SPEAKERS)


# Inner folds


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 3))
def test_inner_folds_hold_every_training_utterance_once(
    speakers: int, folds: int, seed: int
) -> None:
    frame = table(10)
    ids = frame["id"][frame["speaker"].isin([f"{place:02}" for place in range(speakers)])]
    pairs = inner_folds(frame, ids, folds=folds, seed=seed)

    assert len(pairs) == min(folds, speakers)
    assert sorted(name for _, held in pairs for name in held) == sorted(ids)
    for fitted, held in pairs:
        assert sorted([*fitted, *held]) == sorted(ids)
        assert not column(frame, "speaker", fitted) & column(frame, "speaker", held)
    assert inner_folds(frame.iloc[::-1], list(ids)[::-1], folds=folds, seed=seed) == pairs


def test_inner_folds_of_one_speaker_are_refused() -> None:
    frame = table(3)
    ids = frame["id"][frame["speaker"] == "01"]
    with pytest.raises(ProtocolError, match=r"only \['01'\]; ") as caught:
        inner_folds(frame, ids, folds=3, seed=0)
    # whoever asked for them finds the key of his own, and what to write there
    for told in (
        "recipe.knowledge: cross-fitted",
        "recipe.curriculum.knowledge: cross-fitted",
        "recipe.curriculum.difficulty: cross-validated-loss",
        "in-sample knowledge, another difficulty, or validate on fewer speakers",
    ):
        assert told in str(caught.value)


# The protocol string


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (SESSIONS, "leave-one-session-out (4 folds) | validation: 1 other whole session, "),
        (SPEAKERS, "leave-one-speaker-out (8 folds) | validation: 2 other speakers, "),
        (GROUPS, "speaker-folds (3 folds) | validation: 1 other speaker, "),
        (
            RANDOM,
            "random-folds (3 folds) | speaker-dependent: train, validation and test share speakers"
            " | validation: 10 % of the other utterances, ",
        ),
    ],
)
def test_protocol_string_of_each_protocol(protocol: ProtocolSection, expected: str) -> None:
    assert protocol_string(protocol, table(), name="made up") == (
        f"made up | {expected}rotating by fold and seed | 3 emotions: anger, joy, neutral | "
        "8 speakers | n=48"
    )


def test_protocol_string_says_how_labels_were_merged() -> None:
    said = protocol_string(
        SPEAKERS, table(), name="x", labels={"excited": "joy", "joy": "joy", "rage": "anger"}
    )

    assert "| labels merged: excited as joy, rage as anger |" in said

"""Planted leaks are found, and named for what the protocol promises."""

from __future__ import annotations

import pandas as pd

from orchestrator.experiment.protocol import (
    LeaveOneSessionOut,
    LeaveOneSpeakerOut,
    Official,
    ProtocolSection,
    RandomFolds,
)
from orchestrator.protocols.fold import Rows
from orchestrator.protocols.leaks import Leak, corpus_leaks, fold_leaks
from orchestrator.protocols.making import deal_folds
from tests.protocols.tables import full_table

SESSIONS = LeaveOneSessionOut(kind="leave-one-session-out")
SPEAKERS = LeaveOneSpeakerOut(kind="leave-one-speaker-out")


def own_texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(text=frame["speaker"] + frame["text"])


def leaks(frame: pd.DataFrame, protocol: ProtocolSection) -> list[Leak]:
    folds = deal_folds(Rows.of(frame), protocol, seed=0)
    return fold_leaks(folds, frame, protocol, seed=0)


def test_a_clean_corpus_has_none() -> None:
    frame = own_texts(full_table(8))

    assert leaks(frame, SESSIONS) == []
    assert corpus_leaks(frame, SESSIONS) == []


def test_the_same_audio_under_two_speakers() -> None:
    frame = own_texts(full_table(8))
    frame.loc[frame["id"] == "c0s07-joy-0-0", "content"] = "sound of c0s00-anger-0-0"

    (whole, *_) = corpus_leaks(frame, SPEAKERS)
    assert (whole.what, whole.where, whole.fold, whole.broken) == ("audio", ("speaker",), "", True)
    assert whole.utterances == ("c0s00-anger-0-0", "c0s07-joy-0-0")

    found = leaks(frame, SPEAKERS)
    # each of the eight folds holds both sounds; they share a role where both speakers do
    assert {leak.what for leak in found if leak.broken} == {"audio"}
    found = [leak for leak in found if leak.what == "audio"]
    assert {"speaker=c0s00", "speaker=c0s07"} <= {leak.fold for leak in found}
    assert all(leak.broken and leak.values == ("sound of c0s00-anger-0-0",) for leak in found)


def test_a_speaker_in_two_sessions_breaks_leave_one_session_out_only() -> None:
    frame = own_texts(full_table(8))
    own = frame["speaker"] == "c0s00"
    frame.loc[own & (frame["text"].str.endswith("t3")), "session"] = "c0p3"

    (whole,) = corpus_leaks(frame, SESSIONS)
    assert (whole.what, whole.where, whole.values) == ("speaker", ("session",), ("c0s00",))
    assert whole.broken
    assert len(whole.utterances) == 24
    found = leaks(frame, SESSIONS)
    assert {(leak.what, leak.values, leak.broken) for leak in found} == {
        ("speaker", ("c0s00",), True)
    }
    assert {"session=c0p0", "session=c0p3"} <= {leak.fold for leak in found}

    (whole,) = corpus_leaks(frame, SPEAKERS)
    assert not whole.broken


def test_a_text_in_train_and_test_is_counted_and_broken_only_where_promised() -> None:
    frame = own_texts(full_table(8))
    frame.loc[frame["id"] == "c0s00-joy-0-0", "text"] = "shared"
    frame.loc[frame["id"] == "c0s05-joy-1-0", "text"] = "shared"

    # the two speakers of a session are in different roles, which is no matter here
    found = [leak for leak in leaks(frame, SPEAKERS) if leak.what != "session"]
    assert {(leak.what, leak.values) for leak in found} == {("text", ("shared",))}
    assert not any(leak.broken for leak in found)
    by_test = [leak for leak in found if leak.fold == "speaker=c0s00" and "test" in leak.where]
    assert [leak.utterances for leak in by_test] == [("c0s00-joy-0-0", "c0s05-joy-1-0")]

    disjoint = SPEAKERS.model_copy(update={"text_disjoint": True})
    found = [leak for leak in leaks(frame, disjoint) if leak.what == "text"]
    assert not any(set(leak.where) == {"train", "test"} for leak in found)


def test_shared_speakers_are_no_broken_promise_of_the_official_split() -> None:
    frame = own_texts(full_table(8))
    frame.loc[frame["id"] == "c0s00-joy-0-0", "split"] = "test"

    whole = corpus_leaks(frame, Official(kind="official"))
    assert [(leak.what, leak.where, leak.broken) for leak in whole] == [
        ("speaker", ("split",), False)
    ]
    found = leaks(frame, Official(kind="official"))
    assert ("speaker", ("c0s00",)) in {(leak.what, leak.values) for leak in found}
    assert not any(leak.broken for leak in found)


def test_random_folds_share_everything_and_promise_nothing_but_audio() -> None:
    frame = full_table(4)
    found = leaks(frame, RandomFolds(kind="random-folds", folds=2))

    assert {leak.what for leak in found} == {"speaker", "session", "dialogue", "text"}
    assert not any(leak.broken for leak in found)


def test_unknown_texts_and_sessions_are_not_shared() -> None:
    frame = full_table(6).assign(text="", session="", dialogue="")

    assert leaks(frame, SPEAKERS) == []
    assert corpus_leaks(frame, SPEAKERS) == []

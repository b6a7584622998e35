"""What a fold run is given, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.training.task import Silent, Unlabelled, Utterances

TABLE = pd.DataFrame(
    {
        "id": ["c", "a", "b"],
        "content": ["cc", "aa", "bb"],
        "speaker": ["s2", "s1", "s1"],
        "emotion": ["joy", "anger", "joy"],
    }
)
EMOTIONS = ["anger", "fear", "joy"]


def test_utterances_are_sorted_and_emotions_numbered() -> None:
    found = Utterances.of(TABLE, ["c", "a"], emotions=EMOTIONS)

    assert found == Utterances(("a", "c"), ("aa", "cc"), (0, 2), ("s1", "s2"))
    assert found.counts(3).tolist() == [1, 0, 1]


def test_votes_become_shares_of_the_emotions_that_are_learned() -> None:
    votes = ['{"joy": 2, "anger": 1, "bored": 5}', "", '{"bored": 1}']
    found = Utterances.of(TABLE.assign(votes=votes), ["a", "b", "c"], emotions=EMOTIONS)

    # sorted: a has none and keeps its label, b's only vote is for what is not learned
    assert found.votes == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1 / 3, 0.0, 2 / 3))
    assert found.subset(["c"]).votes == ((1 / 3, 0.0, 2 / 3),)
    assert Utterances.of(TABLE, ["a"], emotions=EMOTIONS).votes == ()


def test_an_emotion_that_nobody_shows_is_counted_zero_times() -> None:
    assert Utterances((), (), (), ()).counts(2).tolist() == [0, 0]
    assert Utterances(("a",), ("aa",), (0,), ("s1",)).counts(3).dtype == np.int64


def test_a_subset_keeps_the_order_and_every_column() -> None:
    whole = Utterances.of(TABLE, ["a", "b", "c"], emotions=EMOTIONS)

    assert whole.subset(["c", "a", "nobody"]) == Utterances.of(TABLE, ["a", "c"], emotions=EMOTIONS)
    assert whole.subset([]).ids == ()


def test_agreement_goes_along_and_is_nobodys_where_nobody_was_asked() -> None:
    agreement = [0.8, math.nan, 0.6]
    found = Utterances.of(TABLE.assign(agreement=agreement), ["a", "b", "c"], emotions=EMOTIONS)

    # by id: a, b, c
    assert math.isnan(found.agreement[0])
    assert found.agreement[1:] == (0.6, 0.8)
    assert found.subset(["c", "b"]).agreement == (0.6, 0.8)
    unknown = TABLE.assign(agreement=math.nan)
    assert Utterances.of(unknown, ["a"], emotions=EMOTIONS).agreement == ()
    assert Utterances.of(TABLE, ["a"], emotions=EMOTIONS).subset(["a"]).agreement == ()


VOTES = ['{"joy": 2, "anger": 2}', '{"anger": 1}', '{"joy": 3}']


@pytest.mark.parametrize("columns", [{}, {"votes": VOTES, "agreement": [0.5, 1.0, 0.9]}])
def test_two_parts_together_are_the_whole(columns: dict[str, Any]) -> None:
    table = TABLE.assign(**columns)
    one, other = (Utterances.of(table, ids, emotions=EMOTIONS) for ids in (["b"], ["c", "a"]))
    whole = Utterances.of(table, ["a", "b", "c"], emotions=EMOTIONS)

    assert one.with_others(other) == other.with_others(one) == whole
    assert whole.with_others(Utterances((), (), (), ())) == whole


def test_the_part_without_votes_keeps_its_labels_and_knows_no_agreement() -> None:
    told = TABLE.assign(votes=VOTES, agreement=[0.5, 1.0, 0.9])
    one = Utterances.of(told, ["a", "c"], emotions=EMOTIONS)
    other = Utterances.of(TABLE, ["b"], emotions=EMOTIONS)

    for both in (one.with_others(other), other.with_others(one)):
        assert both.ids == ("a", "b", "c")
        assert both.votes == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.0, 0.5))
        assert both.agreement[::2] == (1.0, 0.5)
        assert math.isnan(both.agreement[1])


def test_the_unlabelled_have_neither_labels_nor_speakers() -> None:
    found = Unlabelled.of_table(TABLE, ["c", "a"])

    assert found == Unlabelled(("a", "c"), ("aa", "cc"))
    assert [field.name for field in dataclasses.fields(found)] == ["ids", "contents"]


def test_an_utterance_that_the_table_lacks_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="ghost"):
        Unlabelled.of_table(TABLE, ["ghost"])


@pytest.mark.parametrize("column", ["id", "content", "emotion"])
def test_the_key_tells_identity_sound_and_label_apart(column: str) -> None:
    changed = TABLE.assign(**{column: TABLE[column].where(TABLE["id"] != "b", "fear")})
    one = Utterances.of(TABLE, list(TABLE["id"]), emotions=EMOTIONS)
    other = Utterances.of(changed, list(changed["id"]), emotions=EMOTIONS)

    assert one.key() != other.key()
    assert one.key() == Utterances.of(TABLE.iloc[::-1], ["b", "c", "a"], emotions=EMOTIONS).key()
    assert one.key()["speakers"] == ["s1", "s2"]
    assert one.key()["n"] == 3


def test_the_key_of_the_unlabelled_does_not_hear_labels() -> None:
    changed = TABLE.assign(emotion="fear", speaker="x")

    assert Unlabelled.of_table(TABLE, ["a"]).key() == Unlabelled.of_table(changed, ["a"]).key()


def test_names_cannot_run_into_each_other_in_a_key() -> None:
    assert Unlabelled(("a", "b"), ("c", "d")).key() != Unlabelled(("a", "bc"), ("", "d")).key()


def test_silence() -> None:
    assert Silent().metrics({"loss": 1.0}, step=1) is None

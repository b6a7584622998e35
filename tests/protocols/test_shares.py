"""The official split, and random folds with what is held."""

from __future__ import annotations

import pytest

from orchestrator.errors import ProtocolError
from orchestrator.experiment.protocol import Official, RandomFolds
from orchestrator.protocols.fold import ROLES
from tests.protocols.tables import EMOTIONS, column, full_table, quiet

OFFICIAL = Official(kind="official")


def test_the_official_split_is_taken_as_it_is() -> None:
    frame = full_table(8)
    (fold,) = quiet(frame, OFFICIAL)

    assert fold.name == "official"
    for role, split in (("train", "train"), ("validation", "validation"), ("test", "test")):
        assert list(fold.role(role)) == sorted(frame["id"][frame["split"] == split])


def test_without_a_validation_part_whole_dialogues_are_taken_from_training() -> None:
    frame = full_table(8)
    frame["split"] = frame["split"].replace({"validation": "train"})
    protocol = Official(kind="official", validation_share=0.25)
    (fold,) = quiet(frame, protocol)

    train = frame[frame["split"] == "train"]
    taken = train[train["id"].isin(fold.validation)]
    # 24 dialogues of 6 utterances in 6 speakers' training: a quarter is 36 utterances
    assert len(train) == 144
    assert len(taken) == 36
    assert not set(taken["dialogue"]) & column(frame, "dialogue", fold.train)
    (other,) = quiet(frame, protocol, seed=1)
    assert other.validation != fold.validation
    assert other.test == fold.test


def test_without_dialogues_utterances_are_taken() -> None:
    frame = full_table(8).assign(dialogue="")
    frame["split"] = frame["split"].replace({"validation": "train"})
    (fold,) = quiet(frame, OFFICIAL)

    # a tenth of 144, to the next whole utterance
    assert len(fold.validation) == 15


def test_the_last_of_a_class_stays_in_training() -> None:
    frame = full_table(4, each=1, texts=6)
    frame["split"] = frame["split"].replace({"validation": "train"})
    train = frame["split"] == "train"
    last = frame.index[train & (frame["emotion"] == "joy")][0]
    frame = frame[~train | (frame["emotion"] != "joy") | (frame.index == last)]
    protocol = Official(kind="official", validation_share=0.45)

    for seed in range(5):
        (fold,) = quiet(frame, protocol, seed=seed)
        assert column(frame, "emotion", fold.train) == set(EMOTIONS)
        assert fold.validation


def test_held_dialogues_are_cut_from_training() -> None:
    frame = full_table(8)
    (plain,) = quiet(frame, OFFICIAL)
    (fold,) = quiet(frame, Official(kind="official", held_share=0.2))

    assert sorted([*fold.train, *fold.held]) == list(plain.train)
    assert len(fold.held) >= 0.2 * len(plain.train)
    assert not column(frame, "dialogue", fold.held) & column(frame, "dialogue", fold.train)


def test_text_disjoint_counts_what_official_training_loses() -> None:
    frame = full_table(8)
    frame.loc[frame["split"] == "test", "text"] = "t1"
    (fold,) = quiet(frame, Official(kind="official", text_disjoint=True))

    lost = frame[(frame["split"] == "train") & (frame["text"] == "t1")]
    assert list(fold.dropped) == sorted(lost["id"])
    assert "t1" not in column(frame, "text", fold.train)


def test_a_corpus_without_a_split_is_refused_and_counted() -> None:
    frame = full_table(8)
    frame.loc[0, "split"] = ""

    with pytest.raises(ProtocolError, match="1 of 192 have none, 'c0s00-anger-0-0' for one"):
        quiet(frame, OFFICIAL)


def test_random_folds_hold_a_share_of_every_emotion() -> None:
    frame = full_table(8)
    folds = quiet(frame, RandomFolds(kind="random-folds", folds=4, held_share=0.25))

    for fold in folds:
        assert column(frame, "emotion", fold.held) == set(EMOTIONS)
        # 16 an emotion and fold are tested; a tenth of 48 is 5; a quarter of 43 is 11
        assert (len(fold.test), len(fold.validation), len(fold.held)) == (48, 15, 33)


def test_copies_of_one_sound_stay_together_under_random_folds() -> None:
    frame = full_table(8)
    twins = [f"c0s00-joy-{text}-0" for text in range(4)]
    frame.loc[frame["id"].isin(twins), "content"] = "one sound"
    protocol = RandomFolds(kind="random-folds", folds=4, validation_share=0.4, held_share=0.3)

    for seed in range(4):
        for fold in quiet(frame, protocol, seed=seed):
            places = [role for role in ROLES if set(twins) & set(fold.role(role))]
            assert len(places) == 1
            assert set(twins) <= set(fold.role(places[0]))


def test_copies_stay_together_where_validation_is_cut_from_official_training() -> None:
    frame = full_table(8).assign(dialogue="")
    frame["split"] = frame["split"].replace({"validation": "train"})
    twins = [f"c0s00-joy-{text}-0" for text in range(4)]
    frame.loc[frame["id"].isin(twins), "content"] = "one sound"

    for seed in range(8):
        (fold,) = quiet(frame, Official(kind="official", validation_share=0.45), seed=seed)
        assert sum(bool(set(twins) & set(fold.role(role))) for role in ROLES) == 1

"""Protocol strings of what the older protocols do not say."""

from __future__ import annotations

import pytest

from orchestrator.experiment.protocol import (
    CrossCorpus,
    LeaveOneSpeakerOut,
    Official,
    ProtocolSection,
    RandomFolds,
    SpeakerFolds,
)
from orchestrator.protocols import protocol_string
from tests.protocols.tables import full_table

END = "3 emotions: anger, joy, neutral | 8 speakers | n=192"


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            Official(kind="official"),
            "official (1 fold) | speakers may be shared: 0 of 2 test speakers also speak in "
            f"training or validation | validation: the corpus's own | {END} | tested: n=48",
        ),
        (
            SpeakerFolds(kind="speaker-folds", folds=4, repeats=3, held_speakers=1),
            "speaker-folds (4 folds, dealt 3 times) | validation: 2 other speakers, rotating by "
            f"fold and seed | held for meta-learning: 1 speaker | {END} | tested: n=576 (every "
            "utterance 3 times)",
        ),
        (
            LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True),
            "leave-one-speaker-out (16 folds) | validation: 2 other speakers, rotating by fold and "
            "seed | text-disjoint: test sets cut by 2 groups of texts, training without the texts "
            f"of the test set | {END}",
        ),
        (
            LeaveOneSpeakerOut(kind="leave-one-speaker-out", text_disjoint=True, text_folds=4),
            "leave-one-speaker-out (32 folds) | validation: 2 other speakers, rotating by fold and "
            "seed | text-disjoint: test sets cut by 4 groups of texts, training without the texts "
            f"of the test set | {END}",
        ),
        (
            RandomFolds(kind="random-folds", held_share=0.1),
            "random-folds (5 folds) | speaker-dependent: train, validation and test share speakers"
            " | validation: 10 % of the other utterances, rotating by fold and seed | held for "
            f"meta-learning: 10 % of training | {END}",
        ),
    ],
)
def test_what_each_protocol_says(protocol: ProtocolSection, expected: str) -> None:
    assert protocol_string(protocol, full_table(8), name="x") == f"x | {expected}"


def test_an_official_split_without_validation_says_what_is_taken() -> None:
    frame = full_table(8)
    frame["split"] = frame["split"].replace({"validation": "train"})

    said = protocol_string(Official(kind="official"), frame, name="x")
    assert "| validation: 10 % of the training dialogues, rotating by seed |" in said
    said = protocol_string(Official(kind="official"), frame.assign(dialogue=""), name="x")
    assert "| validation: 10 % of the training utterances, rotating by seed |" in said


def test_cross_corpus_says_who_trains_and_who_is_tested() -> None:
    frame = full_table(4, corpora=3)
    said = protocol_string(CrossCorpus(kind="cross-corpus", test=("c2",)), frame, name="x")

    assert said == (
        "x | cross-corpus (trained on c0, c1, tested on c2) | validation: 2 speakers of each "
        "training corpus, rotating by fold and seed | 3 emotions: anger, joy, neutral | "
        "12 speakers | n=288 | tested: n=96"
    )


def test_what_was_left_out_is_said() -> None:
    said = protocol_string(
        SpeakerFolds(kind="speaker-folds"),
        full_table(8),
        name="x",
        labels={"exc": "joy", "joy": "joy"},
        said=("label set 4", "improvised only"),
        not_used={"scripted": 7, "fear": 2},
        set_aside=3,
    )

    assert said.startswith("x | label set 4 | improvised only | speaker-folds")
    assert "| labels merged: exc as joy | not used: fear 2, scripted 7 | set aside: 3 |" in said

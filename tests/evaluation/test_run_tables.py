"""Tables of classes and speakers: values worked out by hand, and what has none."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.evaluation.metrics import speaker_rows
from orchestrator.evaluation.run_tables import classes_csv, confusion_csv, speakers_csv


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_scores_of_each_class() -> None:
    # anger: 3 of 4 found, 3 of 5 right; neutral: 4 of 6 found, 4 of 5 right
    table = classes_csv(np.array([[3, 1], [2, 4]]), ["anger", "neutral"])

    assert table.decode() == (
        "emotion,n,precision,recall,f1\n"
        "anger,4,0.6,0.75,0.6666666666666666\n"
        "neutral,6,0.8,0.6666666666666666,0.7272727272727273\n"
    )


def test_what_cannot_be_divided_is_empty_and_never_zero() -> None:
    # b is predicted and never spoken, c spoken and never predicted, d neither
    rows = read(
        classes_csv([[1, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]], ["a", "b", "c", "d"])
    )

    assert [list(row.values()) for row in rows[1:]] == [
        ["b", "0", "0.0", "", ""],
        ["c", "2", "", "0.0", "0.0"],
        ["d", "0", "", "", ""],
    ]


def test_counts_have_a_row_a_reference_emotion() -> None:
    table = confusion_csv(np.array([[3, 1], [2, 4]]), ["anger", "neutral"])

    assert table.decode() == "reference,anger,neutral\nanger,3,1\nneutral,2,4\n"


@pytest.mark.parametrize("table", [classes_csv, confusion_csv])
def test_a_matrix_of_other_classes_is_refused(table: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=r"2 emotions.*shape \(3, 3\)"):
        table(np.eye(3), ["a", "b"])


def test_speakers_are_a_row_each_under_the_columns_of_the_evaluation() -> None:
    rows = speaker_rows(
        [0, 0, 1, 1], [0, 1, 1, 1], ["b", "b", "a", "a"], 2, corpus="c", system="teacher", seed=0
    )

    assert speakers_csv(rows).decode() == (
        "corpus,system,seed,speaker,n,accuracy,macro_recall\n"
        "c,teacher,0,a,2,1.0,1.0\n"
        "c,teacher,0,b,2,0.5,0.5\n"
    )


def test_odd_names_and_missing_scores_survive_the_file() -> None:
    rows = [{"speaker": 'Zoë, "the" third', "n": 1}, {"speaker": "b", "accuracy": None}]

    assert read(speakers_csv(rows)) == [
        {"speaker": 'Zoë, "the" third', "n": "1", "accuracy": ""},
        {"speaker": "b", "n": "", "accuracy": ""},
    ]


def test_no_speaker_is_refused() -> None:
    with pytest.raises(ValueError, match="no speaker has a score"):
        speakers_csv([])

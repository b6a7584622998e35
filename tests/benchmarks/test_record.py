"""The record of an evaluation: what it checks and what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record as module
from benchmarks.record import check_sums, main, record
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.evaluation.metrics import score_row, scores, speaker_rows
from orchestrator.evaluation.statistics import differences, summarise
from tests import small

LABELS = {"session=1": [0, 1, 1], "session=2": [0, 1]}
PREDICTIONS = {"session=1": [0, 1, 0], "session=2": [1, 1]}


def evaluated() -> dict[str, Any]:
    """An evaluation of two folds of one speaker each, worked out by the evaluation's own parts."""
    at: dict[str, Any] = {"corpus": "synthetic", "system": "student-alone", "seed": 0}
    rows = [
        score_row(LABELS[fold], PREDICTIONS[fold], 2, fold=fold, epoch=1, parameters=9, **at)
        for fold in LABELS
    ]
    labels = [label for fold in LABELS for label in LABELS[fold]]
    predictions = [label for fold in LABELS for label in PREDICTIONS[fold]]
    speakers = speaker_rows(labels, predictions, ["a", "a", "a", "b", "b"], 2, **at)
    confusion = scores(labels, predictions, 2).confusion.tolist()
    return {
        "experiment": "small",
        "variant": None,
        "selection": "fixed",
        "protocols": {"synthetic": "synthetic | leave-one-session-out (2 folds)"},
        "fingerprints": {"synthetic": "abc"},
        "emotions": {"synthetic": ["anger", "sadness"]},
        "code": {"version": "0.1.0"},
        "seeds": [0],
        "rows": rows,
        "speakers": speakers,
        "confusion": {"synthetic": {"student-alone": {"0": confusion}}},
        "summary": summarise(rows),
        "differences": differences(speakers),
    }


def stored(tmp_path: Path, result: dict[str, Any]) -> Path:
    """An experiment file whose store holds ``result``."""
    file = small.write(tmp_path)
    place = tmp_path / "store" / "results" / "small" / "evaluation.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(result))
    return file


def test_rows_and_speakers_are_written_and_the_tables_returned(tmp_path: Path) -> None:
    tables, files = record(stored(tmp_path, evaluated()), folder=tmp_path / "results")

    assert [path.name for path in files] == ["small.csv", "small-speakers.csv"]

    rows = list(csv.DictReader(files[0].open(encoding="utf-8")))
    speakers = list(csv.DictReader(files[1].open(encoding="utf-8")))

    assert [(row["fold"], row["n"], float(row["accuracy"])) for row in rows] == [
        ("session=1", "3", pytest.approx(2 / 3)),
        ("session=2", "2", 0.5),
    ]
    assert [(row["speaker"], row["n"]) for row in speakers] == [("a", "3"), ("b", "2")]
    # recalls 1 and 1/2, then 0 and 1
    assert "| student-alone | 62.5 ± 17.7 |" in tables


def test_the_same_evaluation_leaves_the_same_bytes(tmp_path: Path) -> None:
    file = stored(tmp_path, evaluated())
    first = [path.read_bytes() for path in record(file, folder=tmp_path / "one")[1]]
    second = [path.read_bytes() for path in record(file, folder=tmp_path / "two")[1]]

    assert first == second


def test_an_evaluation_that_adds_up_passes() -> None:
    check_sums(evaluated())


def test_a_confusion_matrix_that_lacks_an_utterance_is_refused(tmp_path: Path) -> None:
    result = evaluated()
    result["confusion"]["synthetic"]["student-alone"]["0"][0][0] -= 1
    file = stored(tmp_path, result)

    with pytest.raises(UnderstudyError, match="seed 0: confusion matrix 4, n 5"):
        record(file, folder=tmp_path / "results")

    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("key", "said"), [("rows", "folds 7"), ("speakers", "speakers 7")])
def test_rows_that_stand_twice_are_refused(key: str, said: str) -> None:
    result = evaluated()
    result[key] = [*result[key], result[key][1]]

    with pytest.raises(UnderstudyError, match=f"{said}, n 5"):
        check_sums(result)


def test_an_experiment_that_was_never_evaluated_is_bad_input(tmp_path: Path) -> None:
    file = small.write(tmp_path)

    with pytest.raises(InputError, match="understudy evaluate"):
        record(file, folder=tmp_path / "results")

    assert main([str(file)]) == 2


def test_the_command_prints_the_tables_alone_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stored(tmp_path, evaluated())
    monkeypatch.setitem(record.__kwdefaults__, "folder", tmp_path / "results")

    assert main([str(file), "--variant", "none"]) == 2

    capsys.readouterr()

    assert main([str(file), "evaluate.seeds=[0]"]) == 0

    said = capsys.readouterr()

    assert said.out.startswith("- experiment: small\n")
    assert "small-speakers.csv" in said.err
    assert (tmp_path / "results" / "small.csv").is_file()


def test_records_go_beside_the_program_unless_told_otherwise() -> None:
    assert Path(module.__file__).parent / "results" == module.FOLDER

"""Whole evaluations across corpora, and on an official split with files set aside."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from orchestrator.evaluation.evaluate import run_evaluation
from orchestrator.evaluation.report import markdown
from orchestrator.experiment import Experiment, load_experiment
from tests import small
from tests.evaluation.test_evaluate import silent

EMOTIONS = ("anger", "joy")


def result_of(experiment: Experiment) -> dict[str, Any]:
    outcome = run_evaluation(experiment, console=silent())
    assert json.loads(json.dumps(outcome.result)) == outcome.result
    return outcome.result


@pytest.mark.slow
def test_training_on_one_corpus_and_testing_on_another(
    ray_cluster: None, without_pictures: None, tmp_path: Path, tracking_database: Path
) -> None:
    one = "{kind: synthetic, name: one, sessions: 2, utterances_per_emotion: 1}"
    two = (
        "{kind: synthetic, name: two, seed: 1, sessions: 2, utterances_per_emotion: 2, "
        "labels: {anger: anger, sadness: sadness, neutral: calm}}"
    )
    experiment = small.load(
        tmp_path,
        f"corpora=[{one}, {two}]",
        "protocol={kind: cross-corpus, validation_speakers: 1}",
        "evaluate.systems=[student-alone, distilled]",
        "resources.concurrent=2",
        database=tracking_database,
    )

    result = result_of(experiment)

    assert result["emotions"] == {"one+two": ["anger", "sadness"]}
    assert {(row["fold"], row["n"]) for row in result["rows"]} == {
        ("corpus=one", 8),
        ("corpus=two", 16),
    }
    assert result["not_used"] == {
        "one+two": {
            "one/happiness": 4,
            "one/neutral": 4,
            "two/calm": 8,
            "two/happiness": 8,
        }
    }
    said = result["protocols"]["one+two"]
    assert "trained on two, tested on one; trained on one, tested on two" in said
    assert said.endswith("8 speakers | n=24")
    # the features of each corpus were made once, under ids of its own
    assert {row["speaker"] for row in result["speakers"]} == {
        f"{corpus}/s{session}{who}"
        for corpus in ("one", "two")
        for session in (1, 2)
        for who in "mw"
    }


@pytest.fixture
def official_table(tmp_path: Path) -> Path:
    """Twelve dialogues of four utterances; one file is silent, votes are split."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = []
    for dialogue in range(12):
        split = ("train",) * 6 + ("dev",) * 3 + ("test",) * 3
        for turn in range(4):
            name = f"d{dialogue:02}-{turn}.wav"
            audio = 0.1 * draw.standard_normal(8000)
            if (dialogue, turn) == (0, 0):
                audio *= 0.0
            soundfile.write(folder / name, audio, 16000)
            rows.append(
                {
                    "path": name,
                    "speaker": f"s{turn % 2}",
                    "emotion": EMOTIONS[turn // 2],
                    "dialogue": f"d{dialogue:02}",
                    "split": split[dialogue],
                    "A": 2 - turn // 2,
                    "J": turn // 2 + 1,
                }
            )
    file = folder / "all.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def official(tmp_path: Path, table: Path, database: Path, *overrides: str) -> Experiment:
    corpus = (
        f"{{kind: table, name: mine, file: '{table}', problems: set-aside, "
        "votes_columns: {anger: A, joy: J}}"
    )
    file = small.write(tmp_path, database=database)
    return load_experiment(
        file,
        overrides=[
            f"corpora=[{corpus}]",
            "protocol={kind: official}",
            "resources.concurrent=2",
            *overrides,
        ],
    )


@pytest.mark.slow
def test_an_official_split_says_its_test_size_and_what_was_set_aside(
    ray_cluster: None, official_table: Path, tmp_path: Path, tracking_database: Path
) -> None:
    experiment = official(
        tmp_path, official_table, tracking_database, "recipe.training.targets=votes"
    )

    result = result_of(experiment)

    said = result["protocols"]["mine"]
    assert "official (1 fold)" in said
    assert "speakers may be shared: 2 of 2 test speakers" in said
    assert said.endswith("set aside: 1 | 2 speakers | n=47 | tested: n=12")
    assert {row["n"] for row in result["rows"]} == {12}
    (aside,) = result["set_aside"]["mine"]
    assert (aside["kind"], aside["id"]) == ("silent", "d00-0.wav")
    # dialogues are the units of claims, since the speakers are shared
    assert result["units"] == {"mine": "dialogue"}
    assert {(one["unit"], one["metric"], one["n"]) for one in result["differences"]} == {
        ("dialogue", "accuracy", 3)
    }
    assert "set aside: 1 utterances (1 silent): " in markdown(result)
    # where the files lie on this machine is told to nobody
    assert aside["text"].startswith("d00-0.wav is silent")
    assert str(tmp_path) not in json.dumps(result)

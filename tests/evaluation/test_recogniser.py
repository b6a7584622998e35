"""A recogniser's own file: fitted and tested on every fold and seed, told, and told again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import cli
from orchestrator.corpora.listing import Problem
from orchestrator.errors import ProtocolError, TrainingError
from orchestrator.evaluation.recogniser import (
    describe,
    recogniser_folder,
    run_recogniser,
    speaker_groups,
    stored_recogniser,
)
from orchestrator.experiment.loading import load_recogniser_experiment
from orchestrator.experiment.recogniser import RecogniserExperiment
from orchestrator.speech_sources import heard_corpus
from tests import small, tones
from tests.cli.said import Said

SPEAKERS = ("ann", "bob", "cem")
LABELS = {"ann": 12, "bob": 12, "cem": 7}
"""Words of each speaker: six utterances of one to three, of the last one only four."""
EPOCHS = 4
TOP = "recogniser spoken"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tones.write_tones(tmp_path_factory.mktemp("tones"), speakers=SPEAKERS)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith(("cem-4", "cem-5"))))
    return file


def write(folder: Path, table: Path, *, database: Path | None = None, text: str = "") -> Path:
    """The file in ``folder``, with its store and tracking database beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    if database is not None:
        shutil.copy(database, folder / "runs.db")
    plain = {
        "name": "spoken",
        "corpora": [tones.section(table)],
        "protocol": {"kind": "leave-one-speaker-out", "validation_speakers": 1},
        "features": tones.FEATURES,
        "recogniser": {
            "network": tones.NETWORK,
            "units": "words",
            "training": {**tones.TRAINING, "epochs": EPOCHS},
        },
        "evaluate": {"seeds": [0, 1]},
        "store": f"{folder}/store",
        "tracking": {"uri": f"sqlite:///{folder}/runs.db"},
    }
    file = folder / "spoken.yaml"
    # JSON is YAML
    file.write_text(json.dumps(plain) + text)
    return file


def loaded(file: Path, *overrides: str) -> RecogniserExperiment:
    return load_recogniser_experiment(file, overrides=overrides)


def silent() -> Console:
    return Console(file=io.StringIO())


def result_file(folder: Path, name: str = "evaluation.json", result: str = "spoken") -> Path:
    return folder / "store" / "results" / result / name


@pytest.fixture(scope="module")
def first(
    ray_cluster: None,
    tmp_path_factory: pytest.TempPathFactory,
    table: Path,
    tracking_database: Path,
) -> tuple[Path, dict[str, Any]]:
    """The folder of an evaluation, and its result."""
    folder = tmp_path_factory.mktemp("first")
    experiment = loaded(write(folder, table, database=tracking_database))
    outcome = run_recogniser(experiment, console=silent())
    assert outcome.pending == 0
    return folder, outcome.result


@pytest.fixture
def understudy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(code is not None), *captured)

    return run


# What is found


@pytest.mark.slow
def test_every_speaker_is_tested_once_a_seed_by_a_stranger(
    first: tuple[Path, dict[str, Any]],
) -> None:
    rows = first[1]["rows"]

    assert [(row["fold"], row["seed"]) for row in rows] == [
        (f"speaker={name}", seed) for name in SPEAKERS for seed in (0, 1)
    ]
    for row in rows:
        assert row["fold"] == f"speaker={row['tested']}"
        assert row["validation"] in set(SPEAKERS) - {row["tested"]}
        assert row["utterances"] == (4 if row["tested"] == "cem" else 6)
        assert row["labels"] == LABELS[row["tested"]]
        errors = [row[kind] for kind in ("substitutions", "deletions", "insertions")]
        assert row["errors"] == sum(errors)
        assert row["error_rate"] == row["errors"] / row["labels"]
        assert 1 <= row["epoch"] <= EPOCHS
        assert row["parameters"] == rows[0]["parameters"] > 1000
    # so that what follows can tell one mean from another
    assert len({row["error_rate"] for row in rows}) > 2


@pytest.mark.slow
def test_seeds_are_averaged_inside_a_fold_and_folds_after(
    first: tuple[Path, dict[str, Any]],
) -> None:
    _, result = first
    rate = {(row["tested"], row["seed"]): row["error_rate"] for row in result["rows"]}
    errors = sum(row["errors"] for row in result["rows"])
    by_fold = [(rate[name, 0] + rate[name, 1]) / 2 for name in SPEAKERS]
    found = result["summary"]

    assert found["mean"] == pytest.approx(sum(by_fold) / 3)
    assert found["std"] == pytest.approx(statistics.stdev(by_fold))
    assert (found["folds"], found["seeds"]) == (3, 2)
    # of all labels, each heard with two seeds
    assert found["pooled"] == errors / (2 * (12 + 12 + 7))
    assert found["pooled"] != pytest.approx(found["mean"])


@pytest.mark.slow
def test_the_files_hold_the_result(first: tuple[Path, dict[str, Any]], table: Path) -> None:
    folder, result = first
    written = json.loads(result_file(folder).read_text())
    rows = list(csv.DictReader(result_file(folder, "rows.csv").open()))

    assert written == result
    assert rows == [{key: str(value) for key, value in row.items()} for row in result["rows"]]
    assert result["kind"] == "recogniser"
    assert result["recogniser"]["network"]["dim"] == 16
    assert result["protocol"] == (
        "tones | leave-one-speaker-out (3 folds, 2 seeds) | validation: 1 other speaker | "
        "16 utterances | error rate of words"
    )
    assert result["fingerprint"] == tones.load(table).fingerprint


@pytest.mark.parametrize(
    ("protocol", "groups"),
    [
        (
            "{kind: leave-one-speaker-out}",
            {"speaker=ann": ("ann",), "speaker=bob": ("bob",), "speaker=cem": ("cem",)},
        ),
        ("{kind: speaker-folds, folds: 3}", 3),
        ("{kind: speaker-folds, folds: 2}", 2),
    ],
)
def test_every_speaker_is_in_one_fold(
    table: Path, tmp_path: Path, protocol: str, groups: dict[str, tuple[str, ...]] | int
) -> None:
    experiment = loaded(write(tmp_path, table), f"protocol={protocol}")
    corpus = tones.load(table)
    found = speaker_groups(corpus, experiment.protocol)
    shuffled = dataclasses.replace(corpus, table=corpus.table[::-1])

    assert sorted(name for group in found.values() for name in group) == list(SPEAKERS)
    assert speaker_groups(shuffled, experiment.protocol) == found
    if isinstance(groups, int):
        assert list(found) == [f"fold={number}" for number in range(groups)]
        assert {len(group) for group in found.values()} <= {1, 2}
    else:
        assert found == groups


def test_fewer_speakers_than_folds_are_refused(table: Path, tmp_path: Path) -> None:
    corpus = tones.load(table)
    four = loaded(write(tmp_path, table), "protocol={kind: speaker-folds, folds: 4}")
    with pytest.raises(ProtocolError, match="'tones' has 3 speakers, too few for 4 folds"):
        speaker_groups(corpus, four.protocol)
    alone = dataclasses.replace(corpus, table=corpus.table[corpus.table["speaker"] == "ann"])
    with pytest.raises(ProtocolError, match="'tones' has 1 speakers, too few for 2 folds"):
        speaker_groups(alone, loaded(write(tmp_path, table)).protocol)


def test_strings_and_some_folds_are_in_the_protocol_string(table: Path, tmp_path: Path) -> None:
    strings = "recogniser.strings={seconds: 1.0, passes: 3}"
    experiment = loaded(write(tmp_path, table), strings, "evaluate.folds=[speaker=cem]")
    corpus = tones.load(table)
    heard = heard_corpus(corpus, experiment.recogniser)

    assert describe(experiment, corpus, heard) == (
        "tones | leave-one-speaker-out (3 folds, 2 seeds) | validation: 1 other speaker | "
        f"16 utterances in {len(heard.table)} strings (3x) | error rate of words | "
        "some folds only: speaker=cem"
    )
    assert recogniser_folder(experiment) == "results/spoken.some-folds"


def test_who_chose_the_epoch_and_what_was_set_aside_are_in_it_too(
    table: Path, tmp_path: Path
) -> None:
    experiment = loaded(
        write(tmp_path, table),
        "protocol={kind: speaker-folds, folds: 2, validation_speakers: 0}",
        "recogniser.training.epoch_choice=last",
        "evaluate.seeds=[3]",
    )
    problem = Problem(kind="silent", text="cem-3.wav is silent", id="cem-3")
    corpus = dataclasses.replace(tones.load(table), set_aside=(problem,))

    assert describe(experiment, corpus, corpus) == (
        "tones | speaker-folds (2 folds, 1 seed) | validation: none, last epoch | 16 utterances | "
        "set aside: 1 | error rate of words"
    )


# What MLflow holds


def history(folder: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/runs.db")
    return sorted((one.step, one.value) for one in client.get_metric_history(run_id, metric))


@pytest.mark.slow
def test_every_fit_is_a_run_with_its_course_and_its_test(
    first: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = first
    runs = small.runs(folder, "spoken")
    by_name = {run.info.run_name: run for run in runs}

    assert {run.info.status for run in runs} == {"FINISHED"}
    assert small.tree(runs) == sorted(
        [
            (TOP,),
            *((TOP, f"tones speaker={name} seed {seed}") for name in SPEAKERS for seed in (0, 1)),
        ]
    )
    for row in result["rows"]:
        run = by_name[f"tones {row['fold']} seed {row['seed']}"]
        course = history(folder, run.info.run_id, "train/ctc")
        assert [step for step, _ in course] == list(range(1, EPOCHS + 1))
        assert course[-1][1] < course[0][1]
        for name in ("error_rate", "labels", "errors"):
            ((step, value),) = history(folder, run.info.run_id, f"test/{name}")
            assert step == row["epoch"]
            assert value == pytest.approx(row[name])
        assert run.data.params["fold"] == row["fold"]
    top = by_name[TOP]
    assert top.data.metrics == {
        f"test/error_rate_{what}": pytest.approx(result["summary"][what])
        for what in ("mean", "std", "pooled")
    }
    assert top.data.tags["understudy.protocol"] == result["protocol"]
    assert top.data.tags["understudy.corpus"] == f"tones {result['fingerprint']}"
    assert top.data.params["recogniser.network.dim"] == "16"


# Again


@pytest.mark.slow
def test_a_second_time_everything_is_reused_and_told_to_people(
    first: tuple[Path, dict[str, Any]], understudy: Callable[..., Said]
) -> None:
    folder, result = first
    stages = ("features", "recogniser", "recognition")
    before = {stage: small.artifacts(folder / "store", stage) for stage in stages}
    files = [result_file(folder, name).read_bytes() for name in ("evaluation.json", "rows.csv")]

    said = understudy("evaluate", folder / "spoken.yaml")

    assert said.code == 0
    assert {stage: small.artifacts(folder / "store", stage) for stage in stages} == before
    assert [len(before[stage]) for stage in stages[1:]] == [6, 6]
    assert files == [
        result_file(folder, name).read_bytes() for name in ("evaluation.json", "rows.csv")
    ]
    runs = small.runs(folder, "spoken")
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.info.run_name != TOP:
            # neither lost nor doubled
            assert len(history(folder, run.info.run_id, "train/ctc")) == EPOCHS
    rates = result["summary"]
    for text in (
        result["protocol"],
        "speaker=bob",
        f"error rate {100 * rates['mean']:.1f} ± {100 * rates['std']:.1f} % (mean ± std over",
        "3 folds",
        "2 seeds averaged within each",
        f"{100 * rates['pooled']:.1f} % over all labels",
        "/store/results/spoken/evaluation.json",
        "Dashboard: understudy dashboard ",
    ):
        assert text in said.out


@pytest.mark.slow
def test_some_folds_are_those_of_the_whole_and_lie_elsewhere(
    first: tuple[Path, dict[str, Any]], understudy: Callable[..., Said]
) -> None:
    folder, result = first
    before = small.artifacts(folder / "store", "recogniser")
    some = ("evaluate.folds=[speaker=cem]", "evaluate.seeds=[1]")
    said = understudy("evaluate", folder / "spoken.yaml", *some, "--json")
    found = json.loads(said.out)

    assert said.code == 0
    assert found["rows"] == [
        row for row in result["rows"] if (row["tested"], row["seed"]) == ("cem", 1)
    ]
    assert small.artifacts(folder / "store", "recogniser") == before
    assert found["summary"]["std"] is None
    told = result["protocol"].replace("2 seeds", "1 seed")
    assert found["protocol"] == f"{told} | some folds only: speaker=cem"
    assert json.loads(result_file(folder, result="spoken.some-folds").read_text()) == found
    assert json.loads(result_file(folder).read_text()) == result


@pytest.mark.slow
def test_without_anyone_to_choose_the_epoch_all_others_train(
    ray_cluster: None, table: Path, tmp_path: Path, tracking_database: Path
) -> None:
    experiment = loaded(
        write(tmp_path, table, database=tracking_database),
        "protocol={kind: speaker-folds, folds: 2, validation_speakers: 0}",
        "recogniser.training.epoch_choice=last",
        "evaluate.seeds=[0]",
    )
    rows = run_recogniser(experiment, console=silent()).result["rows"]

    assert [row["fold"] for row in rows] == ["fold=0", "fold=1"]
    assert sorted(" ".join(row["tested"] for row in rows).split()) == list(SPEAKERS)
    assert [(row["validation"], row["epoch"]) for row in rows] == [("", EPOCHS)] * 2


def test_a_fold_that_is_not_there_is_named_with_those_that_are(
    table: Path, tmp_path: Path, understudy: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(resources: object) -> None:
        pytest.fail("Ray was started before the input was checked")

    monkeypatch.setattr("orchestrator.evaluation.recogniser.connect", connect)
    file = write(tmp_path, table)
    experiment = loaded(file, "evaluate.folds=[speaker=dan]")
    with pytest.raises(ProtocolError, match=r"no fold 'speaker=dan'; the folds are speaker=ann, "):
        run_recogniser(experiment, console=silent())

    said = understudy("evaluate", file, "evaluate.folds=[speaker=dan]")
    assert (said.code, said.out) == (2, "")
    assert "evaluate.folds: there is no fold 'speaker=dan'" in said.err
    high = understudy("evaluate", file, "features.sample_rate=16000")
    assert high.code == 2
    assert "set features.highest_hz: 4000" in high.err


@pytest.mark.slow
def test_a_fit_that_fails_fails_the_evaluation_and_leaves_no_run_open(
    ray_cluster: None, tmp_path: Path, tracking_database: Path
) -> None:
    said = " ".join(["do", "mi"] * 20)
    crowded = tones.write_tones(tmp_path / "tones", speakers=SPEAKERS, changes={"ann-0": said})
    experiment = loaded(write(tmp_path, crowded, database=tracking_database), "evaluate.seeds=[0]")
    with pytest.raises(TrainingError, match=r"utterance 'ann-0': its transcript .*network\.stride"):
        run_recogniser(experiment, console=silent())

    statuses = {run.info.run_name: run.info.status for run in small.runs(tmp_path, "spoken")}
    assert statuses[TOP] == "FAILED"
    assert "RUNNING" not in statuses.values()
    assert not result_file(tmp_path).exists()
    assert stored_recogniser(experiment) is None


# Told to people


@pytest.mark.slow
def test_a_report_shows_it_again(
    first: tuple[Path, dict[str, Any]], understudy: Callable[..., Said]
) -> None:
    folder, result = first
    file = folder / "spoken.yaml"
    plain, as_json, written = (
        understudy("report", file, *option) for option in ((), ("--json",), ("--markdown",))
    )

    assert (plain.code, as_json.code, written.code) == (0, 0, 0)
    assert result["protocol"] in plain.out
    assert "speaker=cem" in plain.out
    assert json.loads(as_json.out) == {"evaluation": result}
    row = result["rows"][5]
    line = (
        f"| speaker=cem | 1 | 7 | {row['substitutions']} | {row['deletions']} | "
        f"{row['insertions']} | {100 * row['error_rate']:.1f} | {row['epoch']} |"
    )
    assert line in written.out.splitlines()
    assert written.out.startswith(result["protocol"] + "\n\n| fold | seed |")
    assert f"error rate {100 * result['summary']['mean']:.1f} ±" in written.out


def test_a_report_of_nothing_says_what_to_run(
    table: Path, tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    file = write(tmp_path, table)
    said = understudy("report", file)
    as_json = understudy("report", file, "--json")

    assert said.code == as_json.code == 1
    assert f"Nothing has run yet for spoken: use understudy evaluate {file}." in said.out
    assert json.loads(as_json.out) == {"evaluation": None}


def test_there_is_no_sweep_to_take_the_best_of(
    table: Path, tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    said = understudy("evaluate", write(tmp_path, table), "--best-of", "spoken")

    assert (said.code, said.out) == (2, "")
    assert "--best-of spoken: a speech recogniser's file has no sweep; leave it out" in said.err

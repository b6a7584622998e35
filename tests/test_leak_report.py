"""An experiment's leaks, from files on disk to what is promised."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.errors import CorpusError
from orchestrator.experiment import Experiment, load_experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.leak_report import find_leaks
from tests import small

Build = Callable[..., Experiment]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """An experiment on eight utterances of each of six speakers, two a session."""

    def make(
        *overrides: str,
        sound: dict[str, str] | None = None,
        session: dict[str, str] | None = None,
        text: dict[str, str] | None = None,
        silent: tuple[str, ...] = (),
        policy: str = "refuse",
    ) -> Experiment:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        rows = []
        for speaker in range(6):
            for number in range(8):
                name = f"s{speaker}-{number}"
                seed = (sound or {}).get(name, name)
                draw = np.random.default_rng(list(seed.encode()))
                audio = (0.0 if name in silent else 0.1) * draw.standard_normal(4000)
                soundfile.write(folder / f"{name}.wav", audio, 16000)
                rows.append(
                    {
                        "id": name,
                        "path": f"{name}.wav",
                        "speaker": f"s{speaker}",
                        "emotion": ("anger", "joy")[number % 2],
                        "session": (session or {}).get(name, f"p{speaker // 2}"),
                        "text": (text or {}).get(name, f"said in {name}"),
                    }
                )
        file = folder / "all.csv"
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        corpus = f"{{kind: table, name: mine, file: '{file}', problems: {policy}}}"
        return load_experiment(small.write(tmp_path), overrides=[f"corpora=[{corpus}]", *overrides])

    return make


SPEAKERS = "protocol={kind: leave-one-speaker-out, validation_speakers: 1}"


def test_a_clean_corpus_shares_nothing_under_sessions(build: Build) -> None:
    (report,) = find_leaks(build())

    assert (report.corpus, report.protocol, report.kind) == (
        "mine",
        "protocol",
        "leave-one-session-out",
    )
    assert (report.folds, report.utterances, report.set_aside) == (3, 48, 0)
    assert report.leaks == ()


def test_the_same_sound_under_two_speakers_is_found_though_the_corpus_is_refused(
    build: Build,
) -> None:
    experiment = build(SPEAKERS, sound={"s5-1": "s0-0"})
    (report,) = find_leaks(experiment)

    whole = report.leaks[0]
    assert (whole.what, whole.where, whole.utterances) == ("audio", ("speaker",), ("s0-0", "s5-1"))
    assert {"speaker=s0", "speaker=s5"} <= {leak.fold for leak in report.broken}
    assert report.utterances == 48


def test_what_the_experiment_sets_aside_leaks_nowhere(build: Build) -> None:
    (report,) = find_leaks(build(sound={"s5-1": "s0-0"}, policy="set-aside"))

    assert (report.utterances, report.set_aside) == (46, 2)
    assert report.broken == ()


def test_silence_is_no_sound_of_anybody(build: Build) -> None:
    (report,) = find_leaks(build(silent=("s0-0", "s5-1")))

    assert (report.utterances, report.set_aside) == (46, 2)
    assert report.leaks == ()


def test_a_speaker_in_two_sessions_breaks_sessions(build: Build) -> None:
    (report,) = find_leaks(build(session={"s0-7": "p2"}))

    assert {(leak.what, leak.values) for leak in report.broken} == {("speaker", ("s0",))}
    assert {"", "session=p0", "session=p2"} <= {leak.fold for leak in report.broken}


def test_a_text_in_train_and_test_is_counted(build: Build) -> None:
    (report,) = find_leaks(build(text={"s0-0": "hello", "s5-1": "hello"}))

    assert {leak.what for leak in report.leaks} == {"text"}
    assert {leak.utterances for leak in report.leaks} == {("s0-0", "s5-1")}
    assert report.broken == ()


def test_the_protocol_of_the_search_is_looked_at_too(build: Build) -> None:
    search = "search.protocol={kind: speaker-folds, folds: 2, validation_speakers: 1}"
    reports = find_leaks(build(search, "search.seeds=[3, 4]", "evaluate.seeds=[0]"))

    assert [(one.protocol, one.kind, one.seeds) for one in reports] == [
        ("protocol", "leave-one-session-out", (0,)),
        ("search.protocol", "speaker-folds", (3, 4)),
    ]


def test_a_corpus_with_its_own_protocol_is_dealt_by_it_alone(build: Build) -> None:
    own = "corpora.0.protocol={kind: leave-one-speaker-out, validation_speakers: 1}"
    search = "search.protocol={kind: speaker-folds, folds: 2, validation_speakers: 1}"
    (report,) = find_leaks(build(own, search, "search.seeds=[3]", "evaluate.seeds=[0]"))

    assert (report.protocol, report.kind) == ("corpora.0.protocol", "leave-one-speaker-out")
    assert (report.seeds, report.folds) == ((0, 3), 6)


def test_unlabelled_speech_that_is_not_apart_is_refused_if_it_is_asked_for(
    build: Build, tmp_path: Path
) -> None:
    plain = build()
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "corpus" / "s0-0.wav", tmp_path / "more" / "copy.wav")
    file = plain.corpora[0].model_dump(mode="json")
    more = {"kind": "folder", "root": str(tmp_path / "more"), "speakers_apart": True}
    both = plain.model_dump(mode="json") | {"corpora": [file, more], "search": None}
    wanted = Experiment.model_validate(both)
    asked = override_recipe(wanted, {"recipe.unlabelled.kind": "first"})

    assert [report.corpus for report in find_leaks(wanted)] == ["mine"]
    with pytest.raises(CorpusError, match=r"copy\.wav is heard again as 's0-0' of 'mine'"):
        find_leaks(asked)


def test_a_corpus_that_is_not_there_is_still_refused(build: Build, tmp_path: Path) -> None:
    experiment = build()
    (tmp_path / "corpus" / "all.csv").unlink()

    with pytest.raises(CorpusError, match="is no file"):
        find_leaks(experiment)

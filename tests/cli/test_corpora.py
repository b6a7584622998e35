"""The corpora commands: check, fetch, leaks."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import small
from tests.cli.said import Said, tone
from tests.corpora.file_server import serving


def test_a_corpus_is_checked(emodb: Path, understudy: Callable[..., Said]) -> None:
    plain = understudy("corpora", "check", "emodb", emodb)
    as_json = understudy("corpora", "check", "emodb", emodb, "--json")
    report = json.loads(as_json.out)

    assert plain.code == 0
    assert "9 utterances" in plain.out
    assert "listed 9 = used 9 + not used 0 + set aside 0" in plain.out
    assert "speakers: 03 3, 08 3, 09 3" in plain.out
    assert re.search(r"utterances +│ +│ +535 │ +9", plain.out)
    assert "licence: CC0 1.0" in plain.out
    assert report["speakers"] == {"03": 3, "08": 3, "09": 3}
    assert report["set_aside"] == {"utterances": 0, "counts": {}, "found": []}
    # No progress where no one looks on.
    assert (plain.err, as_json.err) == ("", "")
    assert understudy("corpora", "check", "emodbb").code == 2


def test_a_folder_without_labels_is_checked(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    tone(tmp_path / "speech" / "a.wav", 100)
    tone(tmp_path / "speech" / "b.wav", 120)
    (tmp_path / "speech" / "notes.txt").write_text("not heard")
    said = understudy("corpora", "check", "folder", tmp_path / "speech")
    listed = understudy("corpora", "list")
    refused = understudy("corpora", "check", "folder", tmp_path / "speech", "role=labelled")

    assert (said.code, refused.code) == (0, 2)
    assert "listed 2 = used 2 + not used 0 + set aside 0" in said.out
    assert "not read, being no audio by their endings: 1 .txt" in said.out
    assert "emotions" not in said.out
    assert "a folder of audio files without labels" in listed.out
    assert "use role: unlabelled, or kind: table" in refused.err


def test_what_is_wrong_with_a_corpus_is_named(emodb: Path, understudy: Callable[..., Said]) -> None:
    (emodb / "wav" / "03a01Wa.wav").write_text("no audio")
    soundfile.write(emodb / "wav" / "03a01Fa.wav", np.ones(4000), 16000)
    tone(emodb / "wav" / "08a01Wa.wav", 100, peak=5.0)

    refused = understudy("corpora", "check", "emodb", emodb)
    aside = understudy("corpora", "check", "emodb", emodb, "problems=set-aside")
    nothing = understudy("corpora", "check", "emodb", emodb, "problem=set-aside")

    assert (refused.code, aside.code, nothing.code) == (2, 0, 2)
    assert "problem: 1 unreadable (the utterance is refused)" in refused.out
    assert "03a01Wa.wav is no readable audio" in refused.out
    assert "problem: 1 silent (the utterance is refused)" in refused.out
    assert "problem: 1 clipped (used all the same)" in refused.out
    assert "08a01Wa.wav is clipped" in refused.out
    assert "set problems=set-aside to go on without them" in refused.out
    assert "listed 9 = used 7 + not used 0 + set aside 2" in aside.out
    assert "problem: 1 silent (the utterance is set aside)" in aside.out
    assert "did you mean 'problems'?" in nothing.err


def test_a_corpus_is_drawn_and_written(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    plot, table = tmp_path / "emodb.png", tmp_path / "emodb.csv"

    said = understudy("corpora", "check", "emodb", emodb, "--plot", plot, "--table", table)

    assert said.code == 0
    assert f"wrote {plot}" in said.out
    assert plot.read_bytes()[1:4] == b"PNG"
    assert len(table.read_text().splitlines()) == 1 + 9

    for file in (emodb / "wav").iterdir():
        file.write_bytes(b"")
    nothing = understudy("corpora", "check", "emodb", emodb, "--plot", tmp_path / "other.png")

    assert nothing.code == 2
    assert "Nothing can be used, so" in nothing.out
    assert not (tmp_path / "other.png").exists()


def test_sessions_are_shown_against_emotions(understudy: Callable[..., Said]) -> None:
    said = understudy("corpora", "check", "synthetic", "sessions=2", "utterances_per_emotion=3")

    assert said.code == 0
    assert re.search(r"2 +│ +6 │ +6 │ +6 │ +6 │ +24", said.out)
    assert re.search(r"all +│ +12 │ +12 │ +12 │ +12 │ +48", said.out)


def test_a_corpus_that_is_not_there_says_where_to_get_it(
    tmp_path: Path, understudy: Callable[..., Said]
) -> None:
    said = understudy("corpora", "check", "iemocap", tmp_path / "nowhere")

    assert said.code == 2
    assert "How to obtain the corpus: " in said.err


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_corpus_is_fetched_once_and_checked(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    wavs = {f"wav/{file.name}": file.read_bytes() for file in (emodb / "wav").iterdir()}
    with serving() as server:
        server.files["/download/download.zip"] = zipped(**wavs)
        fetch = ("corpora", "fetch", "emodb", tmp_path / "data", "--mirror", server.url)
        first, again = understudy(*fetch), understudy(*fetch, "--json")

    assert (first.code, again.code) == (0, 0)
    assert f"emodb is there: 9 files, 0.1 MB in {tmp_path / 'data' / 'emodb'}" in first.out
    assert "Next: understudy corpora check emodb" in first.out
    assert json.loads(again.out)["already"] is True
    assert understudy("corpora", "check", "emodb", tmp_path / "data" / "emodb").code == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iemocap", "given only to those who ask"),
        ("savee", "given only to those who ask"),
        ("synthetic", "nothing to fetch"),
        ("ravdes", "did you mean 'ravdess'?"),
    ],
)
def test_what_cannot_be_fetched_says_where_to_ask(
    tmp_path: Path, understudy: Callable[..., Said], name: str, said: str
) -> None:
    refused = understudy("corpora", "fetch", name, tmp_path)

    assert refused.code == 2
    assert said in refused.err
    assert list(tmp_path.iterdir()) == []


def test_leaks_end_with_1_only_where_a_promise_is_broken(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    file = small.write(tmp_path / "clean")
    corpus = f"corpora=[{{kind: emodb, root: '{emodb}'}}]"
    speakers = "protocol={kind: leave-one-speaker-out, validation_speakers: 1}"

    clean = understudy("corpora", "leaks", file)
    texts = understudy("corpora", "leaks", file, corpus, speakers)
    as_json = understudy("corpora", "leaks", file, corpus, speakers, "--json")

    assert (clean.code, texts.code, as_json.code) == (0, 0, 0)
    assert "synthetic, protocol: leave-one-session-out" in clean.out
    assert "nothing is shared" in clean.out
    assert "9 utterances in 3 folds, seed 0" in texts.out
    # everybody says the same text, which is counted and not promised
    assert "text: train and test share 1, in 3 of 3 folds, such as speaker=03: " in texts.out
    (report,) = json.loads(as_json.out)
    assert {leak["what"] for leak in report["leaks"]} == {"text"}

    (emodb / "wav" / "09a01Wa.wav").write_bytes((emodb / "wav" / "03a01Wa.wav").read_bytes())
    broken = understudy("corpora", "leaks", file, corpus, speakers)

    assert broken.code == 1
    assert "BROKEN: audio: the corpus has 1 with more than one speaker" in broken.out
    assert "such as 03a01Wa = 09a01Wa" in broken.out
    assert "The protocol promises that these are apart." in broken.out


def test_what_labels_leave_out_is_listened_to_as_well(
    emodb: Path, understudy: Callable[..., Said]
) -> None:
    (emodb / "wav" / "03a01Na.wav").write_bytes(b"")
    learned = "labels={anger: anger, happiness: happiness}"

    said = understudy("corpora", "check", "emodb", emodb, learned)

    assert said.code == 0
    assert "problem: 1 zero-length (not used here)" in said.out
    assert "03a01Na.wav is empty" in said.out


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_heard(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    plot = understudy("corpora", "check", "emodb", emodb, "--plot", tmp_path / "x.xyz")
    table = understudy("corpora", "check", "emodb", emodb, "--table", tmp_path / "x.xlsx")

    assert (plot.code, plot.out, table.code, table.out) == (2, "", 2, "")
    assert "give one of .csv, .parquet" in table.err


def test_folds_that_an_experiment_refuses_end_with_2(
    tmp_path: Path, emodb: Path, understudy: Callable[..., Said]
) -> None:
    corpus = f"corpora=[{{kind: emodb, root: '{emodb}'}}]"
    few = "protocol={kind: leave-one-speaker-out, validation_speakers: 2}"

    said = understudy("corpora", "leaks", small.write(tmp_path / "few"), corpus, few)

    assert said.code == 2
    assert "validation_speakers is 2, which leaves none for training" in said.err

"""Transcribed corpora: what is read of them, and what they must tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from orchestrator.corpora import Corpus, load_corpus, prepare
from orchestrator.corpora.transcribed import load_transcribed, native_rate
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import (
    EmodbCorpus,
    FolderCorpus,
    IemocapCorpus,
    SyntheticCorpus,
    TableCorpus,
)
from tests.corpora.trees_iemocap import small_iemocap

HEADER = "path,speaker,emotion,votes,split,agreement,transcript\n"


@pytest.fixture
def table(tmp_path: Path, write_tone: Callable[..., Path]) -> Callable[..., TableCorpus]:
    """A section for a table of this text, whose files ``0.wav`` to ``4.wav`` are there."""
    for place in range(5):
        write_tone(tmp_path / f"{place}.wav", hz=100.0 + 20 * place)

    def write(text: str, **more: object) -> TableCorpus:
        (tmp_path / "all.csv").write_text(text)
        file = str(tmp_path / "all.csv")
        return TableCorpus(kind="table", file=file, role="transcribed", **more)

    return write


def refusal(section: TableCorpus) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(section)
    return str(caught.value)


def test_words_are_read_and_emotions_are_not(table: Callable[..., TableCorpus]) -> None:
    # cells about labels are not looked at, whatever they hold
    rows = "0.wav,a,joy,?,?,?,Oh no!\n1.wav,b,,,,,yes\n"
    found = load_corpus(table(HEADER + rows)).table

    assert found["transcript"].tolist() == ["Oh no!", "yes"]
    assert found["text"].tolist() == ["oh no", "yes"]
    assert found["speaker"].tolist() == ["a", "b"]
    for column in ("emotion", "votes", "split"):
        assert set(found[column]) == {""}
    assert found["agreement"].isna().all()


def test_the_column_of_words_may_have_another_name(table: Callable[..., TableCorpus]) -> None:
    text = "path,speaker,words\n0.wav,a,oh no\n"

    assert load_corpus(table(text, transcript_column="words")).table["transcript"][0] == "oh no"
    assert "has no column 'transcript' (transcript_column)" in refusal(table(text))
    said = refusal(table(text, transcript_column="word"))
    assert "has no column 'word' (transcript_column); did you mean 'words'?" in said


def test_a_column_of_speakers_is_needed(table: Callable[..., TableCorpus]) -> None:
    assert "has no column 'speaker' (speaker_column)" in refusal(
        table("path,transcript\n0.wav,a\n")
    )


def test_utterances_without_words_or_speaker_are_refused_by_name(
    table: Callable[..., TableCorpus],
) -> None:
    text = "path,speaker,transcript\n0.wav,a,oh\n1.wav,a,\n2.wav,a,?!\n3.wav,,no\n"
    said = refusal(table(text))

    assert "3 of 4 utterances cannot be used (2 no-transcript, 1 no-speaker)" in said
    assert "utterance '1.wav' has no word in its transcript" in said
    assert "utterance '3.wav' has no speaker" in said
    prepared = prepare(table(text, problems="set-aside"))
    assert prepared.corpus is not None
    assert prepared.corpus.table["id"].tolist() == ["0.wav"]
    assert {one.id: one.kind for one in prepared.corpus.set_aside} == {
        "1.wav": "no-transcript",
        "2.wav": "no-transcript",
        "3.wav": "no-speaker",
    }
    assert (prepared.listed, prepared.used, prepared.set_aside) == (4, 1, 3)


def test_what_lacks_words_but_has_a_session_needs_none(table: Callable[..., TableCorpus]) -> None:
    text = "path,speaker,session,transcript\n0.wav,a,1,oh\n1.wav,b,,no\n"

    assert len(load_corpus(table(text)).table) == 2


def test_a_table_without_any_word_names_the_mend(table: Callable[..., TableCorpus]) -> None:
    said = refusal(table("path,speaker,transcript\n0.wav,a,\n1.wav,a,\n"))

    assert "role is 'transcribed', but no utterance has a transcript" in said
    assert "transcript_column" in said


@pytest.mark.parametrize("kind", ["emodb", "synthetic"])
def test_a_kind_that_tells_no_words_names_the_mend(small_emodb: Path, kind: str) -> None:
    section = (
        EmodbCorpus(kind="emodb", root=str(small_emodb), role="transcribed")
        if kind == "emodb"
        else SyntheticCorpus(kind="synthetic", role="transcribed")
    )
    with pytest.raises(CorpusError, match=f"kind '{kind}' tells no words here, so use role: unl"):
        load_corpus(section)


def test_a_folder_cannot_be_transcribed() -> None:
    with pytest.raises(ValidationError, match="nothing says which words are said in a folder"):
        FolderCorpus(kind="folder", root="there", role="transcribed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": {"joy": "joy"}}, "role is 'transcribed', so no label is read; remove labels"),
        (
            {"columns": {"emotion": {"source": "x", "map": {}}}},
            "no label is read; remove columns.emotion",
        ),
        ({"protocol": {"kind": "official"}}, "no folds are made of it; remove protocol"),
    ],
)
def test_what_is_about_labels_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TableCorpus(kind="table", file="t.csv", role="transcribed", **given)


def test_speakers_may_be_declared_apart() -> None:
    section = TableCorpus(kind="table", file="t.csv", role="transcribed", speakers_apart=True)

    assert section.speakers_apart


def test_all_turns_of_a_labelled_layout_are_read_for_their_words(tmp_path: Path) -> None:
    small_iemocap(tmp_path)
    script = tmp_path / "Session2" / "dialog" / "transcriptions" / "Ses02M_script01_1.txt"
    script.unlink()
    section = IemocapCorpus(kind="iemocap", root=str(tmp_path), role="transcribed")
    aside = load_corpus(section.model_copy(update={"problems": "set-aside"}))

    with pytest.raises(CorpusError, match="10 of 40 utterances .* .10 no-transcript."):
        load_corpus(section)
    assert len(aside.table) == 30
    assert (aside.not_used, aside.labels) == ({}, None)
    assert set(aside.table["emotion"]) == {""}
    words = dict(zip(aside.table["id"], aside.table["transcript"], strict=True))
    assert words["Ses01F_impro01_M002"] == "I am M, this is sad in session 1."


def test_it_is_apart_from_the_labelled_corpora(table: Callable[..., TableCorpus]) -> None:
    section = table("path,speaker,transcript\n0.wav,a,oh\n1.wav,b,no\n")
    given = load_transcribed(section, labelled=())
    assert len(given.table) == 2

    speaker = given.table[:1].assign(id="x", content="other")
    sound = given.table[:1].assign(id="x", speaker="stranger")
    with pytest.raises(CorpusError, match="transcribed corpus 'table': 'a' also speak in 'mine'"):
        load_transcribed(section, labelled=[Corpus("mine", "table", speaker)])
    with pytest.raises(CorpusError, match="1 utterances are heard in 'mine' too"):
        load_transcribed(section, labelled=[Corpus("mine", "table", sound)])
    aside = section.model_copy(update={"problems": "set-aside"})
    left = load_transcribed(aside, labelled=[Corpus("mine", "table", sound)])
    assert left.table["id"].tolist() == ["1.wav"]


def test_it_is_remembered_what_was_heard(tmp_path: Path, table: Callable[..., TableCorpus]) -> None:
    told: list[tuple[int, int]] = []
    section = table("path,speaker,transcript\n0.wav,a,oh\n1.wav,b,no\n")
    for _ in range(2):
        load_transcribed(
            section,
            labelled=(),
            memory=tmp_path / "memory",
            progress=lambda *now: told.append(now),
        )

    assert told == [(0, 2), (1, 2), (2, 2), (2, 2)]


def test_the_lowest_rate_is_the_native_one(
    tmp_path: Path, write_tone: Callable[..., Path], table: Callable[..., TableCorpus]
) -> None:
    write_tone(tmp_path / "1.wav", rate=8000)
    write_tone(tmp_path / "2.wav", rate=44100)
    rows = "".join(f"{place}.wav,a,oh\n" for place in range(3))

    assert native_rate(load_corpus(table("path,speaker,transcript\n" + rows))) == 8000


def test_of_a_source_that_does_not_tell_every_utterance_is_heard() -> None:
    class Tones:
        def read(self, path: str) -> tuple[np.ndarray, int]:
            return np.zeros(10, dtype=np.float32), int(path)

    rows = pd.DataFrame({"id": ["a", "b"], "path": ["16000", "11025"], "speaker": "s"})
    rows = rows.assign(emotion="", duration=1.0, content=["x", "y"])

    assert native_rate(Corpus("tones", "table", rows, source=Tones())) == 11025

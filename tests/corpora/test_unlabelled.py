"""Unlabelled corpora: what is read of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import Corpus, check_corpus, load_corpus
from orchestrator.corpora.portrait import draw, stacks
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import EmodbCorpus, TableCorpus


def test_of_a_labelled_layout_all_is_heard_and_no_emotion_read(small_emodb: Path) -> None:
    given = EmodbCorpus(kind="emodb", root=str(small_emodb), role="unlabelled")
    found = load_corpus(given)
    report = check_corpus(given)

    assert len(found.table) == 6
    assert set(found.table["emotion"]) == set(found.table["votes"]) == {""}
    assert found.table["agreement"].isna().all()
    assert set(found.table["speaker"]) == {"03", "08"}
    assert found.labels is None
    assert (report.usable, report.listed, report.used) == (True, 6, 6)
    assert (report.emotions, report.crossed) == ({}, {})


def test_of_a_table_only_the_paths_are_needed(tmp_path: Path, write_tone) -> None:
    for place in range(3):
        write_tone(tmp_path / f"{place}.wav", hz=100.0 + 20 * place)
    file = tmp_path / "all.csv"

    def read(text: str, **more: object) -> Corpus:
        file.write_text(text)
        return load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled", **more))

    bare = read("path\n0.wav\n1.wav\n2.wav\n")
    assert bare.table["id"].tolist() == ["0.wav", "1.wav", "2.wav"]
    assert set(bare.table["speaker"]) == {""}
    # cells about labels are not looked at, whatever they hold
    told = "path,talker,emotion,votes,split,agreement\n0.wav,a,joy,?,?,?\n1.wav,b,,,,\n"
    assert set(read(told, speaker_column="talker").table["speaker"]) == {"a", "b"}
    assert set(read(told, speaker_column="talker").table["emotion"]) == {""}
    with pytest.raises(CorpusError, match="has no column 'talker' .speaker_column."):
        read("path\n0.wav\n", speaker_column="talker")
    with pytest.raises(CorpusError, match="has no column 'path'"):
        read("file\n0.wav\n")


def test_copies_in_two_official_parts_do_no_harm_without_labels(tmp_path: Path, write_tone) -> None:
    for name in ("a.wav", "b.wav"):
        write_tone(tmp_path / name)
    file = tmp_path / "all.csv"
    file.write_text("path,speaker,split\na.wav,s1,train\nb.wav,s1,test\n")
    found = load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled"))

    assert len(found.table) == 2


def test_one_emotion_is_enough_where_none_is_read(tmp_path: Path, write_tone) -> None:
    write_tone(tmp_path / "a.wav")
    file = tmp_path / "all.csv"
    file.write_text("path,speaker,emotion\na.wav,s1,joy\n")

    with pytest.raises(CorpusError, match="one emotion only"):
        load_corpus(TableCorpus(kind="table", file=str(file)))
    assert len(load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled")).table) == 1


def test_a_picture_of_unlabelled_speech_says_so(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "path": ["a", "b"], "speaker": "", "emotion": ""})
    more = Corpus("more", "folder", table.assign(duration=1.0, content=["x", "y"]))

    assert stacks(more.table)[1].to_dict() == {"all": {"unlabelled": 2}}
    assert draw(more, tmp_path / "more.svg").stat().st_size > 1000

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpora import load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import ColumnMap, EmodbCorpus, SyntheticCorpus


def section(root: Path, **more: object) -> EmodbCorpus:
    return EmodbCorpus(kind="emodb", root=str(root), **more)


def refusal(root: Path, **more: object) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(section(root, **more))
    return str(caught.value)


def test_labels_rename_merge_and_count_what_is_not_used(small_emodb: Path) -> None:
    corpus = load_corpus(section(small_emodb, labels={"anger": "high", "happiness": "high"}))

    assert set(corpus.table["emotion"]) == {"high"}
    assert len(corpus.table) == 4
    assert corpus.not_used == {"neutral": 2}


def test_audio_of_utterances_that_are_not_used_is_not_asked_for(small_emodb: Path) -> None:
    (small_emodb / "wav" / "03a01Nc.wav").write_text("no audio")

    corpus = load_corpus(section(small_emodb, labels={"anger": "anger", "happiness": "joy"}))

    assert len(corpus.table) == 4


def test_label_outside_the_label_set_in_labels(small_emodb: Path) -> None:
    said = refusal(small_emodb, labels={"hapiness": "joy"})

    assert "labels names 'hapiness'" in said
    assert "did you mean 'happiness'?" in said


def test_an_emotion_that_the_corpus_knows_but_lacks_may_be_named(small_emodb: Path) -> None:
    labels = {"anger": "anger", "disgust": "disgust"}

    assert load_corpus(section(small_emodb, labels=labels)).emotions == ("anger",)


def test_labels_that_leave_nothing(small_emodb: Path) -> None:
    assert "labels leaves no utterance; the corpus has anger, happiness, neutral" in refusal(
        small_emodb, labels={"disgust": "disgust"}
    )


def test_labels_see_the_emotions_that_a_map_made(small_emodb: Path) -> None:
    arousal = ColumnMap(
        source="emotion", map={"anger": "high", "happiness": "high", "neutral": "low"}
    )

    corpus = load_corpus(
        section(small_emodb, columns={"emotion": arousal}, labels={"high": "excited"})
    )

    assert corpus.emotions == ("excited",)
    assert corpus.not_used == {"low": 2}


def test_map_without_a_value_names_column_value_and_count(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"session": ColumnMap(source="speaker", map={"03": "1"})})

    assert said == (
        f"corpus 'emodb' ({small_emodb}): columns.session.map has no value for speaker "
        "'08' (3 utterances); add it to the map"
    )


def test_map_from_an_unknown_column(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"session": ColumnMap(source="speker", map={})})

    assert "columns.session.source: there is no column 'speker'; did you mean 'speaker'?" in said


def test_map_to_a_column_that_nothing_reads(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"sesion": ColumnMap(source="speaker", map={})})

    assert "columns.sesion cannot be made by a map; did you mean 'session'?" in said


def test_maps_read_the_columns_as_listed_whatever_their_order(small_emodb: Path) -> None:
    columns = {
        "speaker": ColumnMap(source="speaker", map={"03": "x", "08": "y"}),
        "session": ColumnMap(source="speaker", map={"03": "1", "08": "2"}),
    }

    table = load_corpus(section(small_emodb, columns=columns)).table

    assert table["speaker"].tolist() == ["x", "x", "x", "y", "y", "y"]
    assert table["session"].tolist() == ["1", "1", "1", "2", "2", "2"]


def test_all_bad_files_are_counted_by_kind_and_the_first_three_named(small_emodb: Path) -> None:
    wav = small_emodb / "wav"
    for stem in ("03a01Fa", "03a01Nc", "03a01Wa"):
        (wav / f"{stem}.wav").write_text("no audio")
    (wav / "08a01Fd.wav").write_bytes(b"")

    said = refusal(small_emodb)

    assert "4 of 6 utterances cannot be used (3 unreadable, 1 zero-length)" in said
    assert "03a01Wa.wav is no readable audio" in said
    assert "08a01Fd.wav" not in said
    assert "; and 1 more. Mend these files" in said


def test_nothing_usable_at_all_is_one_clear_error(small_emodb: Path) -> None:
    for file in (small_emodb / "wav").iterdir():
        file.write_bytes(b"")

    assert "6 of 6 utterances cannot be used (6 zero-length)" in refusal(small_emodb)


def test_maps_and_labels_work_on_the_built_in_corpus() -> None:
    corpus = load_corpus(
        SyntheticCorpus(
            kind="synthetic",
            sessions=2,
            utterances_per_emotion=1,
            name="demo",
            labels={"anger": "high", "happiness": "high", "sadness": "low"},
        )
    )

    assert corpus.name == "demo"
    assert corpus.emotions == ("high", "low")
    assert corpus.not_used == {"neutral": 4}

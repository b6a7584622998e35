from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpora import check_corpus, load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import ColumnMap, EmodbCorpus


def section(root: Path, **more: object) -> EmodbCorpus:
    return EmodbCorpus(kind="emodb", root=str(root), **more)


def test_names_tell_speaker_and_emotion(small_emodb: Path) -> None:
    table = load_corpus(section(small_emodb)).table

    assert table["id"].tolist() == [
        "03a01Fa",
        "03a01Nc",
        "03a01Wa",
        "08a01Fd",
        "08a01Na",
        "08a01Wa",
    ]
    assert table["speaker"].tolist() == ["03", "03", "03", "08", "08", "08"]
    assert table["emotion"].tolist() == ["happiness", "neutral", "anger"] * 2
    assert set(table["session"]) == {""}
    assert table["path"][0] == str(small_emodb / "wav" / "03a01Fa.wav")


def test_speakers_become_sessions_by_a_map(small_emodb: Path) -> None:
    pairs = ColumnMap(source="speaker", map={"03": "1", "08": "2"})

    table = load_corpus(section(small_emodb, columns={"session": pairs})).table

    assert table["session"].tolist() == ["1", "1", "1", "2", "2", "2"]


def test_a_map_can_read_the_text(small_emodb: Path) -> None:
    text = ColumnMap(source="text", map={"a01": "all"})

    table = load_corpus(section(small_emodb, columns={"session": text})).table

    assert set(table["session"]) == {"all"}
    assert "text" not in table


def test_other_and_hidden_files_are_no_part_of_it(small_emodb: Path) -> None:
    (small_emodb / "wav" / "._03a01Fa.wav").write_bytes(b"resource fork")
    (small_emodb / "wav" / "readme.txt").write_text("about")

    assert len(load_corpus(section(small_emodb)).table) == 6


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus 'emodb': root '.*nowhere' is no folder; give"):
        load_corpus(section(tmp_path / "nowhere"))


def test_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "emodb.zip").write_bytes(b"PK")

    with pytest.raises(CorpusError, match=r"emodb\.zip' is no folder"):
        load_corpus(section(tmp_path / "emodb.zip"))


def test_root_without_wav_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no folder 'wav'"):
        load_corpus(section(tmp_path))


def test_empty_wav_folder(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()

    with pytest.raises(CorpusError, match=r"wav holds no \.wav file; unpack EmoDB there"):
        load_corpus(section(tmp_path))


def test_label_outside_the_label_set_names_letter_file_and_known(
    small_emodb: Path, write_tone
) -> None:
    write_tone(small_emodb / "wav" / "08a02Xa.wav")

    with pytest.raises(CorpusError) as caught:
        load_corpus(section(small_emodb))

    assert str(caught.value) == (
        f"corpus 'emodb' ({small_emodb}): 1 of 7 utterances cannot be used (1 unknown label): "
        f"{small_emodb}/wav/08a02Xa.wav: 'X' is no emotion of EmoDB (known: A fear, E disgust, "
        "F happiness, L boredom, N neutral, T sadness, W anger). "
        "Mend these files or take them out of the corpus."
    )


def test_a_file_of_another_corpus_has_a_strange_name(small_emodb: Path, write_tone) -> None:
    write_tone(small_emodb / "wav" / "7_jackson_32.wav")

    with pytest.raises(
        CorpusError, match=r"7_jackson_32\.wav: the name is not of the form 03a01Fa"
    ):
        load_corpus(section(small_emodb))


def test_two_spellings_of_an_ending_are_one_id_twice(small_emodb: Path, write_tone) -> None:
    write_tone(small_emodb / "wav" / "03a01Fa.WAV")

    with pytest.raises(CorpusError, match="two utterances have the id '03a01Fa'"):
        load_corpus(section(small_emodb))


@pytest.mark.real_data
def test_the_real_corpus_is_what_is_distributed(emodb_root: Path) -> None:
    report = check_corpus(section(Path(emodb_root)))

    assert report.usable
    assert report.differences == ()
    assert report.utterances == 535
    assert len(report.speakers) == 10
    assert report.emotions == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    }
    # 24 minutes 47 seconds.
    assert report.seconds == pytest.approx(1487.1, abs=0.1)

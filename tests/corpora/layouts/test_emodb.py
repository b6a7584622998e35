from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.corpora import check_corpus, load_corpus
from orchestrator.corpora.layouts.emodb import list_emodb
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import ColumnMap, EmodbCorpus
from tests.corpora import trees

HEADER = b"Nr.\tSatz\terkannt\tnatuerlich\n"
SPEAKERS = {
    "03": 49,
    "08": 58,
    "09": 43,
    "10": 38,
    "11": 55,
    "12": 35,
    "13": 61,
    "14": 69,
    "15": 56,
    "16": 71,
}


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
    assert set(table["text"]) == {"a01"}


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

    assert str(caught.value).startswith(
        f"corpus 'emodb' ({small_emodb}): 1 of 7 utterances cannot be used (1 unknown label): "
        f"{small_emodb}/wav/08a02Xa.wav: 'X' is no emotion of EmoDB (known: A fear, E disgust, "
        "F happiness, L boredom, N neutral, T sadness, W anger). "
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


def test_corpus_as_distributed_has_the_documented_counts(tmp_path: Path) -> None:
    listing = list_emodb(section(trees.emodb(tmp_path)))

    table = listing.table
    documented = KINDS["emodb"].about.documented
    assert len(table) == 535
    assert Counter(table["speaker"]) == SPEAKERS
    assert documented is not None
    assert documented.utterances == 535
    assert documented.counts == {name: Counter(table[name]) for name in ("speaker", "emotion")}
    assert table.groupby("gender")["speaker"].unique().map(sorted).to_dict() == {
        "female": ["08", "09", "13", "14", "16"],
        "male": ["03", "10", "11", "12", "15"],
    }
    assert set(table["agreement"]) == {0.8}
    assert set(table["naturalness"]) == {0.455}
    assert (listing.problems, listing.remarks) == ((), ())


def test_without_the_list_of_recognition_a_remark_says_so(small_emodb: Path) -> None:
    listing = list_emodb(section(small_emodb))

    assert listing.table["agreement"].isna().all()
    assert listing.remarks == (
        f"there is no {small_emodb}/erkennung.txt: agreement and naturalness are not known",
    )


def test_files_and_lines_without_each_other_are_counted(small_emodb: Path) -> None:
    lines = trees.emodb_recognition(
        ["03a01Fa", "03a01Nc", "03a01Wa", "08a01Fd", "08a02Ab", "08a02Wa"]
    )
    (small_emodb / "erkennung.txt").write_bytes(lines)

    listing = list_emodb(section(small_emodb))

    assert listing.table["agreement"].isna().tolist() == [False] * 4 + [True] * 2
    assert listing.remarks == (
        f"{small_emodb}/erkennung.txt rates 2 recordings that {small_emodb}/wav does not hold "
        "(08a02Ab, 08a02Wa)",
        f"{small_emodb}/erkennung.txt does not rate 2 files (08a01Na, 08a01Wa)",
    )


@pytest.mark.parametrize(
    ("line", "shares"),
    [
        (b"1\xa0\t03a01Fa.wav\t100,00\xa0\t0,00", (1.0, 0.0)),
        (b"1\t03a01Fa.wav\t62,5\t7", (0.625, 0.07)),
        (b"1\t03a01Fa.wav\t62,5\t7\r", (0.625, 0.07)),
    ],
)
def test_numbers_have_decimal_commas_and_padding(
    small_emodb: Path, line: bytes, shares: tuple[float, float]
) -> None:
    (small_emodb / "erkennung.txt").write_bytes(HEADER + line + b"\n")

    row = list_emodb(section(small_emodb)).table.iloc[0]

    assert (row["agreement"], row["naturalness"]) == pytest.approx(shares)


@pytest.mark.parametrize(
    "line",
    [
        b"1\t03a01Fa.wav\t101,00\t50,00",
        b"1\t03a01Fa.wav\t-1,00\t50,00",
        b"1\t03a01Fa.wav\tviele\t50,00",
        b"1\t03a01Fa.wav\tnan\t50,00",
        b"1\t03a01Fa.wav\t\t50,00",
        b"1\t03a01Fa.wav\t50,00",
        b"1\t\t50,00\t50,00",
        b"1 03a01Fa.wav 50,00 50,00",
        b"1\t03a01Nc.wav\t50,00\t50,00",
    ],
)
def test_lines_that_make_no_sense_are_named(small_emodb: Path, line: bytes) -> None:
    before = HEADER + b"1\t03a01Nc.wav\t50,00\t50,00\n\n"
    (small_emodb / "erkennung.txt").write_bytes(before + line + b"\n")

    listing = list_emodb(section(small_emodb))

    assert f"{small_emodb}/erkennung.txt: no sense in 1 line (line 4)" in listing.remarks
    assert listing.table["agreement"].notna().sum() == 1


def test_votes_for_a_file_with_a_problem_are_not_of_a_missing_one(small_emodb: Path) -> None:
    trees.put(small_emodb / "wav", ["08a02Xa.wav"], audio=True)
    names = [file.stem for file in (small_emodb / "wav").iterdir()]
    (small_emodb / "erkennung.txt").write_bytes(trees.emodb_recognition(names))

    listing = list_emodb(section(small_emodb))

    assert [(one.kind, one.id) for one in listing.problems] == [("unknown label", "08a02Xa")]
    assert listing.remarks == ()


def test_a_speaker_that_the_corpus_has_not_has_no_gender(small_emodb: Path) -> None:
    trees.put(small_emodb / "wav", ["07a01Fa.wav"], audio=True)

    table = list_emodb(section(small_emodb)).table.set_index("speaker")

    assert table.loc["07", "gender"] == ""


@pytest.mark.real_data
def test_the_real_corpus_is_what_is_distributed(emodb_root: Path) -> None:
    report = check_corpus(section(Path(emodb_root)))

    assert report.usable
    assert report.differences == ()
    assert report.listed == report.used == 535
    assert report.speakers == SPEAKERS
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


@pytest.mark.real_data
def test_the_real_corpus_tells_speakers_texts_and_recognition(emodb_root: Path) -> None:
    listing = list_emodb(section(Path(emodb_root)))

    table = listing.table
    assert len(table) == 535
    assert Counter(table["speaker"]) == SPEAKERS
    assert Counter(table["gender"]) == {"female": 302, "male": 233}
    assert table["text"].nunique() == 10
    # Summed by awk over the lines of erkennung.txt whose file is there.
    assert table["agreement"].notna().all()
    assert table["agreement"].mean() == pytest.approx(0.9353992523, abs=1e-9)
    assert table["agreement"].min() == pytest.approx(0.8)
    assert (table["agreement"] == 1).sum() == 184
    assert table["naturalness"].mean() == pytest.approx(0.7686685981, abs=1e-9)
    assert table["naturalness"].min() == pytest.approx(0.45)
    (remark,) = listing.remarks
    assert "erkennung.txt rates 281 recordings that" in remark

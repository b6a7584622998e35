from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import ColumnMap, TableCorpus

ROWS = "path,speaker,emotion\na.wav,03,anger\nb.wav,03,joy\nc.wav,08,anger\n"


@pytest.fixture
def folder(tmp_path: Path, write_tone) -> Path:
    for place, name in enumerate("abc"):
        write_tone(tmp_path / f"{name}.wav", hz=100.0 + 20 * place)
    return tmp_path


def table(folder: Path, text: str | None = None, **more: object) -> TableCorpus:
    file = folder / "corpus.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    return TableCorpus(kind="table", file=str(file), **more)


def refusal(section: TableCorpus) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(section)
    return str(caught.value)


def test_csv_with_default_columns(folder: Path) -> None:
    corpus = load_corpus(table(folder, ROWS))

    assert corpus.table["id"].tolist() == ["a.wav", "b.wav", "c.wav"]
    assert corpus.table["speaker"].tolist() == ["03", "03", "08"]
    assert corpus.table["emotion"].tolist() == ["anger", "joy", "anger"]
    assert set(corpus.table["session"]) == {""}
    assert corpus.table["path"][1] == str(folder / "b.wav")
    assert corpus.emotions == ("anger", "joy")


def test_session_and_id_columns_are_found_by_name(folder: Path) -> None:
    text = "id,path,speaker,emotion,session\nu1,a.wav,x,anger,1\nu2,b.wav,y,joy,2\n"

    corpus = load_corpus(table(folder, text)).table

    assert corpus["id"].tolist() == ["u1", "u2"]
    assert corpus["session"].tolist() == ["1", "2"]


def test_columns_by_other_names(folder: Path) -> None:
    text = "datei,sprecher,gefuehl,sitzung,nr\na.wav,x,anger,1,n1\nb.wav,y,joy,2,n2\n"

    corpus = load_corpus(
        table(
            folder,
            text,
            path_column="datei",
            speaker_column="sprecher",
            emotion_column="gefuehl",
            session_column="sitzung",
            id_column="nr",
        )
    ).table

    assert corpus[["id", "speaker", "session", "emotion"]].to_numpy().tolist() == [
        ["n1", "x", "1", "anger"],
        ["n2", "y", "2", "joy"],
    ]


def test_parquet_keeps_whole_numbers_whole(folder: Path) -> None:
    rows = {"path": ["a.wav", "b.wav"], "speaker": [3, 8], "emotion": ["anger", "joy"]}
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")

    corpus = load_corpus(TableCorpus(kind="table", file=str(folder / "corpus.parquet")))

    assert corpus.table["speaker"].tolist() == ["3", "8"]


def test_byte_order_mark_and_spaces_are_removed(folder: Path) -> None:
    text = "\ufeffpath, speaker ,emotion\na.wav, x,anger \nb.wav,y,anger\n"

    corpus = load_corpus(table(folder, text)).table

    assert corpus["speaker"].tolist() == ["x", "y"]
    assert set(corpus["emotion"]) == {"anger"}


def test_the_word_na_is_a_value(folder: Path) -> None:
    corpus = load_corpus(table(folder, "path,speaker,emotion\na.wav,NA,anger\n")).table

    assert corpus["speaker"].tolist() == ["NA"]


def test_absolute_paths_and_another_root(folder: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    text = f"path,speaker,emotion\n{folder}/a.wav,x,anger\nb.wav,y,joy\n"
    (elsewhere / "corpus.csv").write_text(text)

    corpus = load_corpus(
        TableCorpus(kind="table", file=str(elsewhere / "corpus.csv"), root=str(folder))
    ).table

    assert sorted(corpus["path"]) == [str(folder / "a.wav"), str(folder / "b.wav")]


def test_an_emotion_made_by_a_map_needs_no_emotion_column(folder: Path) -> None:
    arousal = ColumnMap(source="arousal", map={"hi": "high", "lo": "low"})
    text = "path,speaker,arousal\na.wav,x,hi\nb.wav,y,lo\n"

    corpus = load_corpus(table(folder, text, columns={"emotion": arousal}))

    assert corpus.emotions == ("high", "low")


def test_missing_file(folder: Path) -> None:
    assert "corpus.csv' is no file; give a .csv or .parquet" in refusal(table(folder))


def test_another_kind_of_file(folder: Path) -> None:
    (folder / "corpus.xlsx").write_bytes(b"PK")

    said = refusal(TableCorpus(kind="table", file=str(folder / "corpus.xlsx")))

    assert "ends in '.xlsx'; give a .csv or .parquet file" in said


@pytest.mark.parametrize(
    "text",
    ["", "path,speaker,emotion\na.wav,x,anger,more\n", 'path,speaker,emotion\n"a.wav,x,anger\n'],
    ids=["empty file", "more cells than columns", "open quote"],
)
def test_csv_that_cannot_be_read(folder: Path, text: str) -> None:
    assert "corpus.csv cannot be read as csv" in refusal(table(folder, text))


def test_text_named_parquet(folder: Path) -> None:
    (folder / "corpus.parquet").write_text(ROWS)

    said = refusal(TableCorpus(kind="table", file=str(folder / "corpus.parquet")))

    assert "corpus.parquet cannot be read as parquet" in said


def test_header_without_rows(folder: Path) -> None:
    assert "has no rows" in refusal(table(folder, "path,speaker,emotion\n"))


def test_missing_root(folder: Path) -> None:
    assert "root '/no/such/folder' is no folder" in refusal(
        table(folder, ROWS, root="/no/such/folder")
    )


def test_missing_column_names_the_nearest_and_the_key(folder: Path) -> None:
    said = refusal(table(folder, ROWS.replace("emotion", "emotoin")))

    assert "has no column 'emotion' (emotion_column); did you mean 'emotoin'?" in said


def test_named_session_column_that_is_missing(folder: Path) -> None:
    assert "has no column 'dialogue' (session_column)" in refusal(
        table(folder, ROWS, session_column="dialogue")
    )


def test_two_columns_of_one_name(folder: Path) -> None:
    text = "path,speaker, speaker,emotion\na.wav,x,y,anger\n"

    assert "two columns called 'speaker'" in refusal(table(folder, text))


def test_duplicate_ids_name_id_and_rows(folder: Path) -> None:
    text = "id,path,speaker,emotion\nu,a.wav,x,anger\nv,b.wav,x,joy\nu,c.wav,y,anger\n"

    said = refusal(table(folder, text))

    assert "rows 1, 3 have the same id 'u'; give each row its own id" in said
    assert "id_column" in said


def test_duplicate_paths_are_duplicate_ids(folder: Path) -> None:
    assert "rows 1, 4 have the same id 'a.wav'" in refusal(table(folder, ROWS + "a.wav,08,joy\n"))


def test_missing_audio_file(folder: Path) -> None:
    said = refusal(table(folder, ROWS + "gone.wav,08,joy\n"))

    assert "1 of 4 utterances cannot be used (1 missing)" in said
    assert f"{folder}/gone.wav does not exist" in said


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (",08,joy\n", "row 4: the path is empty"),
        ("d.wav,,joy\n", "utterance 'd.wav' has no speaker"),
        ("d.wav,08,\n", "utterance 'd.wav' has no emotion"),
        ("d.wav,08\n", "utterance 'd.wav' has no emotion"),
    ],
)
def test_empty_cells(folder: Path, write_tone, row: str, expected: str) -> None:
    write_tone(folder / "d.wav")

    assert expected in refusal(table(folder, ROWS + row))


def test_a_session_for_some_only(folder: Path) -> None:
    text = "path,speaker,emotion,session\na.wav,x,anger,1\nb.wav,y,joy,\n"

    assert "utterance 'b.wav' has no session" in refusal(table(folder, text))


def test_an_empty_session_column_is_no_session(folder: Path) -> None:
    text = "path,speaker,emotion,session\na.wav,x,anger,\nb.wav,y,joy,\n"

    assert set(load_corpus(table(folder, text)).table["session"]) == {""}

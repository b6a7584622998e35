from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import load_corpus
from orchestrator.corpora.layouts.from_table import list_table
from orchestrator.corpora.listing import Problem
from orchestrator.corpora.loading import prepare
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
    text = "\ufeffpath, speaker ,emotion\na.wav, x,anger \nb.wav,y,joy\n"

    corpus = load_corpus(table(folder, text)).table

    assert corpus["speaker"].tolist() == ["x", "y"]
    assert corpus["emotion"].tolist() == ["anger", "joy"]


def test_the_word_na_is_a_value(folder: Path) -> None:
    corpus = load_corpus(table(folder, "path,speaker,emotion\na.wav,NA,anger\nb.wav,x,joy\n")).table

    assert corpus["speaker"].tolist() == ["NA", "x"]


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

    assert "rows 1, 3 (lines 2, 4) have the same id 'u'; give each row its own id" in said
    assert "id_column" in said


def test_duplicate_paths_are_duplicate_ids(folder: Path) -> None:
    assert "rows 1, 4 (lines 2, 5) have the same id 'a.wav'" in refusal(
        table(folder, ROWS + "a.wav,08,joy\n")
    )


def test_missing_audio_file(folder: Path) -> None:
    said = refusal(table(folder, ROWS + "gone.wav,08,joy\n"))

    assert "1 of 4 utterances cannot be used (1 missing)" in said
    assert f"{folder}/gone.wav does not exist" in said


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (",08,joy\n", "row 4 (line 5): the path is empty"),
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


def told(folder: Path, text: str, **more: object) -> pd.DataFrame:
    """The listed table, by id; nothing is wrong with it."""
    listing = list_table(table(folder, text, **more))
    assert listing.problems == ()
    return listing.table.set_index("id")


def wrong(folder: Path, text: str, **more: object) -> Problem:
    """The only problem of a table, which is not in the table."""
    listing = list_table(table(folder, text, **more))
    (problem,) = listing.problems
    assert problem.id not in listing.table["id"].tolist()
    assert len(listing.table) == len(text.splitlines()) - 2
    return problem


def test_columns_of_the_standard_names_are_read(folder: Path) -> None:
    text = (
        "path,speaker,emotion,gender,dialogue,split,text,transcript,agreement,mood\n"
        "a.wav,x,anger,F,d1,Train,t1,Oh my God!,0.75,calm\n"
        "b.wav,y,joy,male,d1,DEV,t2,No.,,tense\n"
    )

    rows = told(folder, text)

    assert rows["gender"].tolist() == ["female", "male"]
    assert rows["dialogue"].tolist() == ["d1", "d1"]
    assert rows["split"].tolist() == ["train", "validation"]
    assert rows["text"].tolist() == ["t1", "t2"]
    assert rows["transcript"].tolist() == ["Oh my God!", "No."]
    assert rows["agreement"].dtype == "float64"
    assert rows["agreement"].iloc[0] == 0.75
    assert math.isnan(rows["agreement"].iloc[1])
    assert rows["mood"].tolist() == ["calm", "tense"]


def test_columns_of_other_names_are_read(folder: Path) -> None:
    text = "path,speaker,emotion,sex,talk,part,code,words,share\na.wav,x,anger,w,d,test,t,Hm,1\n"

    row = told(
        folder,
        text,
        gender_column="sex",
        dialogue_column="talk",
        split_column="part",
        text_column="code",
        transcript_column="words",
        agreement_column="share",
    ).iloc[0]

    named = ["gender", "dialogue", "split", "text", "transcript", "agreement"]
    assert row[named].tolist() == ["female", "d", "test", "t", "Hm", 1.0]
    # Under their own names too.
    assert row[["sex", "part", "share"]].tolist() == ["w", "test", "1"]


def test_columns_that_are_not_there_are_not_made(folder: Path) -> None:
    assert set(told(folder, ROWS)) == {"path", "speaker", "emotion", "session"}


@pytest.mark.parametrize(
    "key", ["gender", "dialogue", "split", "text", "transcript", "agreement", "id", "session"]
)
def test_a_named_column_that_is_missing_names_the_nearest(folder: Path, key: str) -> None:
    said = refusal(table(folder, ROWS, **{f"{key}_column": "speeker"}))

    assert f"has no column 'speeker' ({key}_column); did you mean 'speaker'?" in said


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("female", "female"),
        ("Female", "female"),
        ("f", "female"),
        ("W", "female"),
        ("MALE", "male"),
        ("m", "male"),
        ("", ""),
    ],
)
def test_words_for_gender(folder: Path, cell: str, value: str) -> None:
    text = f"path,speaker,emotion,gender\na.wav,x,anger,{cell}\n"

    assert told(folder, text)["gender"].tolist() == [value]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("train", "train"),
        ("validation", "validation"),
        ("Valid", "validation"),
        ("val", "validation"),
        ("dev", "validation"),
        ("devel", "validation"),
        ("TEST", "test"),
    ],
)
def test_words_for_splits(folder: Path, cell: str, value: str) -> None:
    text = f"path,speaker,emotion,split\na.wav,x,anger,{cell}\n"

    assert told(folder, text)["split"].tolist() == [value]


def test_an_empty_split_column_is_no_split(folder: Path) -> None:
    text = "path,speaker,emotion,split\na.wav,x,anger,\nb.wav,y,joy,\n"

    assert told(folder, text)["split"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("column", "cell", "wanted"),
    [
        ("gender", "divers", "female or male"),
        ("split", "training", "train, validation or test"),
        ("split", "", "train, validation or test"),
        ("agreement", "1.01", "a number in [0, 1]"),
        ("agreement", "-0.1", "a number in [0, 1]"),
        ("agreement", "nan", "a number in [0, 1]"),
        ("agreement", "most", "a number in [0, 1]"),
        ("votes", "3 of 4", "votes by emotion such as"),
        ("votes", "[1]", "votes by emotion such as"),
    ],
)
def test_a_value_that_makes_no_sense_names_row_column_and_value(
    folder: Path, column: str, cell: str, wanted: str
) -> None:
    fine = {"split": "train"}.get(column, "")
    text = f"path,speaker,emotion,{column}\na.wav,x,anger,{fine}\nb.wav,y,joy,{cell}\n"

    problem = wrong(folder, text)

    assert (problem.kind, problem.id) == ("strange value", "b.wav")
    assert problem.text.startswith(
        f"{folder}/corpus.csv, row 2 (line 3), column {column!r}: {cell!r} is not {wanted}"
    )


def test_a_value_that_makes_no_sense_names_the_column_of_the_file(folder: Path) -> None:
    text = "path,speaker,emotion,sex\na.wav,x,anger,?\nb.wav,y,joy,f\n"

    assert (
        "row 1 (line 2), column 'sex': '?' is not" in wrong(folder, text, gender_column="sex").text
    )


def test_a_row_with_two_faults_is_one_problem(folder: Path) -> None:
    text = "path,speaker,emotion,gender,split\na.wav,x,anger,?,?\nb.wav,y,joy,f,test\n"

    assert "column 'gender'" in wrong(folder, text).text


def test_rows_after_one_without_a_path_keep_their_numbers(folder: Path) -> None:
    text = "path,speaker,emotion,gender\n,x,anger,f\nb.wav,y,joy,?\nc.wav,y,joy,m\n"

    listing = list_table(table(folder, text))

    assert [one.kind for one in listing.problems] == ["no path", "strange value"]
    assert "row 2 (line 3), column 'gender'" in listing.problems[1].text
    assert listing.table["id"].tolist() == ["c.wav"]


def test_an_empty_path_is_named_with_its_id(folder: Path) -> None:
    text = "id,path,speaker,emotion\nu1,,x,anger\nu2,b.wav,y,joy\n"

    problem = wrong(folder, text)

    assert (problem.kind, problem.id) == ("no path", "u1")


def test_words_make_texts_where_there_are_none(folder: Path) -> None:
    text = (
        "path,speaker,emotion,words\na.wav,x,joy,Oh my GOD!\nb.wav,y,joy,oh my god\nc.wav,y,joy,\n"
    )

    rows = told(folder, text, transcript_column="words")

    assert rows["text"].tolist() == ["oh my god", "oh my god", ""]
    assert rows["transcript"].tolist() == ["Oh my GOD!", "oh my god", ""]


def test_texts_are_taken_as_they_are(folder: Path) -> None:
    text = "path,speaker,emotion,text\na.wav,x,joy,A1!\nb.wav,y,joy,a1\n"

    assert told(folder, text)["text"].tolist() == ["A1!", "a1"]


def test_votes_are_counted_in_columns(folder: Path) -> None:
    text = (
        "path,speaker,emotion,ang,joy_votes\na.wav,x,anger,2,1\nb.wav,y,joy,,0.5\nc.wav,y,joy,0,\n"
    )

    rows = told(folder, text, votes_columns={"joy": "joy_votes", "anger": "ang"})

    assert rows["votes"].tolist() == ['{"anger": 2, "joy": 1}', '{"joy": 0.5}', ""]
    assert rows["ang"].tolist() == ["2", "", "0"]


@pytest.mark.parametrize("cell", ["two", "-1", "inf", "nan"])
def test_a_number_of_votes_that_is_none(folder: Path, cell: str) -> None:
    text = f"path,speaker,emotion,ang,sad\na.wav,x,anger,2,1\nb.wav,y,joy,1,{cell}\n"

    problem = wrong(folder, text, votes_columns={"anger": "ang", "sadness": "sad"})

    assert (problem.kind, problem.id) == ("strange value", "b.wav")
    assert f"row 2 (line 3), column 'sad': {cell!r} is not a number of votes" in problem.text


def test_a_column_of_votes_that_is_missing(folder: Path) -> None:
    said = refusal(table(folder, ROWS, votes_columns={"anger": "speakr"}))

    assert "has no column 'speakr' (votes_columns.anger); did you mean 'speaker'?" in said


def test_votes_in_our_own_form_are_read(folder: Path) -> None:
    file = folder / "corpus.csv"
    votes = [json.dumps({"joy": 1, "anger": 2.0, "fear": 0}), ""]
    rows = {"path": ["a.wav", "b.wav"], "speaker": "x", "emotion": "joy", "votes": votes}
    pd.DataFrame(rows).to_csv(file, index=False)

    listing = list_table(table(folder))

    assert listing.table["votes"].tolist() == ['{"anger": 2, "joy": 1}', ""]


@pytest.mark.parametrize("name", ["content", "duration", "stated"])
def test_a_column_with_a_name_of_ours_does_not_pass_for_ours(folder: Path, name: str) -> None:
    text = f"path,speaker,emotion,{name}\na.wav,x,anger,5\nb.wav,x,joy,7\n"

    listing = list_table(table(folder, text))

    assert name not in listing.table
    assert listing.table[f"file_{name}"].tolist() == ["5", "7"]
    assert f"the column {name!r} is found under the name 'file_{name}'" in listing.remarks[0]
    # Not what the file says: the audio is read all the same.
    assert load_corpus(table(folder, text)).table["duration"].tolist() == [0.25, 0.25]


def test_words_in_a_column_called_content_are_transcripts_if_asked_for(folder: Path) -> None:
    text = "path,speaker,emotion,content\na.wav,x,anger,Hm\n"

    assert told(folder, text, transcript_column="content")["transcript"].tolist() == ["Hm"]


def test_columns_of_a_parquet_file_are_read_as_text(folder: Path) -> None:
    rows = {
        "path": ["a.wav", "b.wav"],
        "speaker": [3, 8],
        "emotion": ["anger", "joy"],
        "agreement": [0.5, None],
        "ang": [2, 0],
        "joy": [1, None],
    }
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")
    columns = {"anger": "ang", "joy": "joy"}

    listing = list_table(
        TableCorpus(kind="table", file=str(folder / "corpus.parquet"), votes_columns=columns)
    )

    assert listing.problems == ()
    assert listing.table["agreement"].tolist()[0] == 0.5
    assert math.isnan(listing.table["agreement"].tolist()[1])
    assert listing.table["votes"].tolist() == ['{"anger": 2, "joy": 1}', ""]


@pytest.mark.parametrize(
    "text",
    [
        'path,speaker,emotion,words\na.wav,x,anger,"two\nlines"\n,y,joy,\n',
        "path,speaker,emotion,words\n\na.wav,x,anger,one\n,y,joy,\n",
    ],
    ids=["cell of two lines", "empty line"],
)
def test_where_rows_are_not_lines_only_the_row_is_told(folder: Path, text: str) -> None:
    (problem,) = list_table(table(folder, text)).problems

    assert problem.text == f"{folder}/corpus.csv, row 2: the path is empty"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\r\n"])
def test_line_ends_do_not_move_lines(folder: Path, end: str) -> None:
    text = "path,speaker,emotion\r\na.wav,x,anger\r\n,y,joy" + end
    (folder / "corpus.csv").write_bytes(text.encode())

    (problem,) = list_table(table(folder)).problems

    assert problem.text == f"{folder}/corpus.csv, row 2 (line 3): the path is empty"


def test_rows_of_a_parquet_file_have_no_lines(folder: Path) -> None:
    rows = {"path": ["a.wav", ""], "speaker": "x", "emotion": "joy"}
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")

    (problem,) = list_table(TableCorpus(kind="table", file=str(folder / "corpus.parquet"))).problems

    assert problem.text == f"{folder}/corpus.parquet, row 2: the path is empty"


def test_another_code_page_is_to_be_saved_as_utf8(folder: Path) -> None:
    rows = "path,speaker,emotion\na.wav,Jos\u00e9,anger\nb.wav,y,joy\n"
    (folder / "corpus.csv").write_bytes(rows.encode("cp1252"))

    said = refusal(table(folder))

    assert f"{folder}/corpus.csv cannot be read as csv ('utf-8' codec" in said
    assert said.endswith("; save it as UTF-8")


def test_a_table_that_may_not_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    section = table(folder, ROWS)
    monkeypatch.setattr(pd, "read_csv", refuse)

    assert refusal(section).endswith(
        "corpus.csv cannot be read (Permission denied); change its permissions"
    )


def test_agreement_follows_from_the_votes_for_what_is_learned(folder: Path) -> None:
    text = (
        "path,speaker,emotion,ang,fear,joy\n"
        "a.wav,x,anger,2,1,1\nb.wav,y,joy,0,0,3\nc.wav,y,fear,1,1,2\n"
    )
    merged = {"anger": "negative", "fear": "negative", "joy": "joy"}
    columns = {"anger": "ang", "fear": "fear", "joy": "joy"}

    corpus = load_corpus(table(folder, text, votes_columns=columns, labels=merged))

    assert corpus.table["agreement"].tolist() == [0.75, 1.0, 0.5]


def test_what_is_not_learned_need_not_be_complete(folder: Path) -> None:
    text = ROWS + "d.wav,,fear\n"

    prepared = prepare(table(folder, text, labels={"anger": "anger", "joy": "joy"}))

    assert (prepared.problems, prepared.not_used) == ((), {"fear": 1})
    assert (prepared.listed, prepared.used, prepared.set_aside) == (4, 3, 0)


def test_a_row_without_an_emotion_is_a_problem_whatever_is_learned(folder: Path) -> None:
    text = ROWS + "d.wav,x,\ne.wav,,joy\nf.wav,,\n"

    prepared = prepare(table(folder, text, labels={"anger": "angry", "joy": "joy"}))

    kinds = sorted((one.kind, one.id) for one in prepared.problems)
    assert kinds == [("no-emotion", "d.wav"), ("no-speaker", "e.wav"), ("no-speaker", "f.wav")]
    assert (prepared.listed, prepared.used, prepared.set_aside) == (6, 3, 3)


def test_rows_without_any_emotion_are_problems_and_no_fault_of_labels(folder: Path) -> None:
    text = "path,speaker,emotion\na.wav,x,\nb.wav,y,\n"

    prepared = prepare(table(folder, text, labels={"anger": "anger"}))

    assert [one.kind for one in prepared.problems] == ["no-emotion", "no-emotion"]

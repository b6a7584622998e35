from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import Corpus
from orchestrator.corpora.portrait import draw, stacks, write_table
from orchestrator.errors import CorpusError


def corpus(*rows: tuple[str, str, str], duration: float = 2.0) -> Corpus:
    """From emotion, split and gender."""
    table = pd.DataFrame(list(rows), columns=["emotion", "split", "gender"])
    ids = [f"u{place:02d}" for place in range(len(table))]
    lasts = [1.0] * (len(ids) - 1) + [duration]
    return Corpus(
        name="mine",
        kind="table",
        table=table.assign(id=ids, path=ids, speaker="x", content=ids, duration=lasts),
    )


def test_bars_are_stacked_by_split_in_the_order_of_roles() -> None:
    made = corpus(
        ("joy", "test", "female"),
        ("fear", "train", "male"),
        ("joy", "train", "male"),
        ("anger", "validation", "male"),
        ("anger", "", "male"),
    )

    by, counts = stacks(made.table)

    assert by == "split"
    assert counts.columns.tolist() == ["train", "validation", "test", "unknown"]
    assert counts.index.tolist() == ["anger", "joy", "fear"]
    assert counts.to_numpy().tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0]]


def test_bars_are_stacked_by_gender_where_there_is_no_split() -> None:
    by, counts = stacks(corpus(("joy", "", "male"), ("joy", "", "female")).table)

    assert (by, counts.columns.tolist()) == ("gender", ["female", "male"])


def test_bars_are_plain_where_there_is_neither() -> None:
    by, counts = stacks(corpus(("joy", "", ""), ("fear", "", "")).table)

    assert (by, counts.to_numpy().tolist()) == ("", [[1], [1]])


def spoken(*said: str) -> Corpus:
    made = corpus(*[("", "", "male")] * len(said))
    return Corpus("spoken", "table", made.table.assign(transcript=list(said)))


def test_words_stand_for_emotions_where_there_are_none() -> None:
    by, counts = stacks(spoken("Oh no, no!", "No", "yes").table)

    assert (by, counts.columns.tolist()) == ("gender", ["male"])
    assert counts["male"].to_dict() == {"no": 2, "oh": 1, "yes": 1}
    assert counts.index.tolist() == ["no", "oh", "yes"]


def test_emotions_come_before_words() -> None:
    table = spoken("oh", "no").table.assign(emotion=["joy", ""])

    assert stacks(table)[1].index.tolist() == ["joy", "unlabelled"]


@pytest.mark.parametrize(("words", "title"), [(20, "Words by"), (21, "Most frequent of 21 words")])
def test_of_many_words_the_most_frequent_are_drawn(tmp_path: Path, words: int, title: str) -> None:
    names = [f"word{chr(ord('a') + place)}" for place in range(words)]
    text = draw(spoken(*names, "worda"), tmp_path / "words.svg").read_text()

    drawn = [name for name in names if f"<!-- {name} -->" in text]
    assert drawn == names[:20]
    assert title in text


@pytest.mark.parametrize("longest", [2.0, 300.0], ids=["linear", "logarithmic"])
def test_a_picture_is_written(tmp_path: Path, longest: float) -> None:
    rows = [("joy", "train", ""), ("fear", "test", ""), ("joy", "", "")]
    made = corpus(*rows, duration=longest)

    file = draw(made, tmp_path / "new" / "mine.png")

    assert file == tmp_path / "new" / "mine.png"
    assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_title_tells_name_number_speakers_and_length(tmp_path: Path) -> None:
    file = draw(corpus(("joy", "", ""), ("joy", "", ""), duration=7199.0), tmp_path / "mine.svg")

    # The letters are drawn as shapes, each told in a comment before them.
    drawn = file.read_text()
    assert "<!-- mine: 2 utterances, 1 speaker, 2.00 hours -->" in drawn
    assert "<!-- 2  (100.0 %) -->" in drawn


def test_one_utterance_is_enough(tmp_path: Path) -> None:
    assert draw(corpus(("joy", "", "")), tmp_path / "one.png").stat().st_size > 0


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"ends in '.jpgg'; give one of .png, .svg, .pdf"):
        draw(corpus(("joy", "", "")), tmp_path / "mine.jpgg")


@pytest.mark.parametrize("write", [draw, write_table])
def test_a_place_that_cannot_be_written(tmp_path: Path, write) -> None:
    (tmp_path / "file").write_text("")

    name = "mine.png" if write is draw else "mine.csv"

    with pytest.raises(CorpusError, match="cannot be written"):
        write(corpus(("joy", "", "")), tmp_path / "file" / name)


def test_the_table_can_be_read_back(tmp_path: Path) -> None:
    made = corpus(("joy", "train", "female"), ("fear", "test", "male"))

    file = write_table(made, tmp_path / "mine.csv")

    read = pd.read_csv(file, dtype={"speaker": "str"})
    assert read["id"].tolist() == ["u00", "u01"]
    assert read["duration"].tolist() == [1.0, 2.0]
    assert read["emotion"].tolist() == ["joy", "fear"]


def test_a_table_may_be_parquet_and_nothing_else(tmp_path: Path) -> None:
    made = corpus(("joy", "train", "female"), ("fear", "test", "male"))

    read = pd.read_parquet(write_table(made, tmp_path / "mine.parquet"))

    assert read["emotion"].tolist() == ["joy", "fear"]
    with pytest.raises(CorpusError, match="ends in '.xlsx'; give one of .csv, .parquet"):
        write_table(made, tmp_path / "mine.xlsx")

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora.audio import AudioError
from orchestrator.corpora.layouts.meld import ABOUT, list_meld
from orchestrator.corpora.listing import Listing
from orchestrator.corpora.loading import load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import MeldCorpus
from tests.corpora.trees_meld import (
    FILES,
    HEADER,
    Row,
    faulty_meld,
    full_meld,
    small_meld,
    write_clip,
    write_noise,
    write_rows,
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_meld(tmp_path_factory.mktemp("full"))


def listed(root: Path, **more: object) -> Listing:
    return list_meld(MeldCorpus(kind="meld", root=str(root), **more))


def only(root: Path, row: Row, *, split: str = "train") -> pd.Series:
    """The one row of a copy with nothing else."""
    write_rows(root, split, [row])
    listing = listed(root)
    assert listing.problems == ()
    assert len(listing.table) == 1
    return listing.table.iloc[0]


def test_a_complete_copy_has_the_documented_rows(full: Path) -> None:
    listing = listed(full)

    assert len(listing.table) == 13708
    assert listing.problems == ()
    assert Counter(listing.table["split"]) == {"train": 9989, "validation": 1109, "test": 2610}
    test = listing.table[listing.table["split"] == "test"]
    assert Counter(test["emotion"]) == {
        "neutral": 1256,
        "joy": 402,
        "anger": 345,
        "surprise": 281,
        "sadness": 208,
        "disgust": 68,
        "fear": 50,
    }
    assert listing.table["id"].is_unique
    assert set(listing.emotions or ()) == set(listing.table["emotion"])
    assert listing.labels is None


def test_what_is_documented_is_what_a_complete_copy_has(full: Path) -> None:
    table, documented = listed(full).table, ABOUT.documented

    assert documented is not None
    assert documented.utterances == len(table)
    assert Counter(table["split"]) == documented.counts["split"]
    assert Counter(table["emotion"]) == documented.counts["emotion"]
    pairs = Counter(zip(table["split"], table["emotion"], strict=True))
    assert pairs == documented.crossed["split", "emotion"]


def test_a_row(tmp_path: Path) -> None:
    said = Row(
        dialogue=3,
        utterance=12,
        words="No, no—I'm, uh, “fine”…",
        speaker=" Joey ",
        emotion="Surprise",
        start="00:59:59,900",
        end="01:00:01,150",
    )

    row = only(tmp_path, said, split="validation")

    assert row["id"] == "validation-dia3_utt12"
    assert row["dialogue"] == "validation-dia3"
    assert row["split"] == "validation"
    assert row["speaker"] == "Joey"
    assert row["gender"] == "male"
    assert row["session"] == ""
    assert row["emotion"] == "surprise"
    assert row["transcript"] == "No, no—I'm, uh, “fine”…"
    assert row["text"] == "no no im uh fine"
    assert (row["season"], row["episode"]) == ("8", "21")
    assert row["stated"] == pytest.approx(1.25)


def test_gender_is_known_of_the_six(tmp_path: Path) -> None:
    names = ("Chandler", "Joey", "Ross", "Monica", "Phoebe", "Rachel", "Joey’s Sister")
    write_rows(tmp_path, "train", [Row(0, place, speaker=who) for place, who in enumerate(names)])

    table = listed(tmp_path).table

    assert table["speaker"].tolist() == list(names)
    assert table["gender"].tolist() == ["male"] * 3 + ["female"] * 3 + [""]


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("00:16:16,059", "00:16:21,731", 5.672),
        ("0:12:43.012", "0:12:44.074", 1.062),
        ("00:00:59,500", "00:01:00", 0.5),
    ],
)
def test_times(tmp_path: Path, start: str, end: str, seconds: float) -> None:
    assert only(tmp_path, Row(0, 0, start=start, end=end))["stated"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("00:16:21,731", "00:16:16,059"),
        ("00:16:16,059", "00:16:16,059"),
        ("", "00:16:16,059"),
        ("late", "later"),
    ],
)
def test_times_without_sense_are_no_length_and_remarked(
    tmp_path: Path, start: str, end: str
) -> None:
    write_rows(tmp_path, "train", [Row(0, 0), Row(0, 1, start=start, end=end)])

    listing = listed(tmp_path)

    assert listing.table["stated"].isna().tolist() == [False, True]
    assert any(
        "no sensible start and end time in 1 rows (train-dia0_utt1)" in said
        for said in listing.remarks
    )


def test_small_copy_is_a_corpus(tmp_path: Path) -> None:
    corpus = load_corpus(MeldCorpus(kind="meld", root=str(small_meld(tmp_path))))

    assert len(corpus.table) == 12
    assert Counter(corpus.table["split"]) == {"train": 4, "validation": 4, "test": 4}
    assert corpus.table["duration"].tolist() == pytest.approx([0.3] * 12)


def test_faults_of_real_copies_are_named(tmp_path: Path) -> None:
    listing = listed(faulty_meld(tmp_path))

    # Twelve good rows; the clips of two of them are for the audio check to find.
    assert len(listing.table) == 12
    by_id = listing.table.set_index("id")
    assert by_id.loc["train-dia0_utt0", "transcript"] == "train words, you’re told"
    assert by_id.loc["train-dia1_utt1", "path"] == str(tmp_path / "train_splits" / "dia1_utt1.wav")
    again, label = listing.problems
    dev = tmp_path / "dev_sent_emo.csv"
    assert again.kind == "duplicate row"
    assert again.text == f"{dev}, row 5 (line 6) is validation-dia0_utt0 a second time"
    assert (label.kind, label.id) == ("unknown label", "validation-dia5_utt0")
    assert f"{dev}, row 6 (line 7): 'bored' is no emotion of MELD" in label.text
    assert listing.remarks == (
        f"{tmp_path / 'train_sent_emo.csv'} is not UTF-8; it is read as Windows-1252",
        f"{tmp_path / 'test_sent_emo.csv'}: no row names 2 clips "
        "(final_videos_testdia0_utt0.mp4, final_videos_testdia1_utt0.mp4)",
    )


def test_clips_that_are_missing_or_unreadable_are_found_by_listening(tmp_path: Path) -> None:
    table = listed(faulty_meld(tmp_path)).table.set_index("id")
    source = listed(tmp_path).source

    with pytest.raises(AudioError) as missing:
        source.read(table.loc["train-dia1_utt1", "path"])
    with pytest.raises(AudioError) as broken:
        source.read(table.loc["validation-dia0_utt1", "path"])

    assert missing.value.kind == "missing"
    assert broken.value.kind == "unreadable"


def test_a_missing_clip_is_named_as_its_neighbours_are(tmp_path: Path) -> None:
    write_rows(tmp_path, "validation", [Row(110, 6), Row(110, 7), Row(110, 8)])
    folder = tmp_path / "dev_splits_complete"
    write_clip(folder / "dia110_utt6.mp4", seconds=0.2)
    write_clip(folder / "dia110_utt8.MP4", seconds=0.2)

    listing = listed(tmp_path)

    assert [Path(path).name for path in listing.table["path"]] == [
        "dia110_utt6.mp4",
        "dia110_utt7.mp4",
        "dia110_utt8.MP4",
    ]
    audio, rate = listing.source.read(listing.table["path"][0])
    assert len(audio) / rate == pytest.approx(0.2, abs=0.03)


def test_extracted_wav_files_come_before_clips(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [Row(0, 0), Row(0, 1)])
    for name in ("dia0_utt0.mp4", "dia0_utt1.mp4"):
        write_clip(tmp_path / "train_splits" / name, seconds=0.2)
    wav = write_noise(tmp_path / "train" / "dia0_utt0.WAV", seed=1)

    listing = listed(tmp_path)

    assert listing.table["path"].tolist() == [
        str(wav),
        str(tmp_path / "train_splits" / "dia0_utt1.mp4"),
    ]
    # A clip whose WAV is used is no leftover.
    assert not any("no row names" in said for said in listing.remarks)


@pytest.mark.parametrize(
    ("table", "clips"),
    [
        ("", "train_splits"),
        ("MELD.Raw", "MELD.Raw/train_splits"),
        ("MELD.Raw/train", "MELD.Raw/train/train_splits"),
        ("data/MELD", "train"),
    ],
)
def test_places_of_published_copies(tmp_path: Path, table: str, clips: str) -> None:
    write_rows(tmp_path / table, "train", [Row(0, 0)])
    wav = write_noise(tmp_path / clips / "dia0_utt0.wav", seed=1)

    listing = listed(tmp_path)

    assert listing.table["path"].tolist() == [str(wav)]
    assert listing.remarks == (
        f"{tmp_path}: no dev_sent_emo.csv, so the corpus has no validation",
        f"{tmp_path}: no test_sent_emo.csv, so the corpus has no test",
    )


def test_linked_folders_of_clips(tmp_path: Path) -> None:
    write_rows(tmp_path / "copy", "train", [Row(0, 0)])
    write_noise(tmp_path / "elsewhere" / "dia0_utt0.wav", seed=1)
    (tmp_path / "copy" / "train_splits").symlink_to(tmp_path / "elsewhere")

    path = tmp_path / "copy" / "train_splits" / "dia0_utt0.wav"
    assert listed(tmp_path / "copy").table["path"].tolist() == [str(path)]


def test_the_table_highest_up_is_used_and_the_other_named(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [Row(0, 0)])
    other = write_rows(tmp_path / "train", "train", [Row(0, 0), Row(0, 1)])

    listing = listed(tmp_path)

    assert len(listing.table) == 1
    assert f"{tmp_path / 'train_sent_emo.csv'} is used, and not {other}" in listing.remarks


def test_hidden_clips_and_shadow_folders_are_left_alone(tmp_path: Path) -> None:
    root = small_meld(tmp_path)
    (root / "train_splits" / "._dia0_utt0.wav").write_bytes(b"\0")
    shadow = root / "__MACOSX" / "train_splits"
    shadow.mkdir(parents=True)
    (shadow / "dia7_utt7.wav").write_bytes(b"\0")

    assert listed(root).remarks == ()


def test_no_clips_at_all_is_remarked(full: Path) -> None:
    remarks = listed(full).remarks

    assert len(remarks) == 3
    place = full / "train_splits"
    assert f"{full / 'train_sent_emo.csv'}: no folder of its clips ({place})" in remarks


def test_apostrophes_that_windows_wrote_into_a_utf8_file(tmp_path: Path) -> None:
    row = only(tmp_path, Row(0, 0, words="my company\x92s \x93plan\x94", speaker="Joey\x92s Date"))

    assert row["transcript"] == "my company’s “plan”"
    assert row["text"] == "my companys plan"
    assert row["speaker"] == "Joey’s Date"


def test_bytes_that_no_code_page_knows(tmp_path: Path) -> None:
    file = write_rows(tmp_path, "train", [Row(0, 0, words="caf#")])
    file.write_bytes(file.read_bytes().replace(b"#", b"\xe9\x81"))

    assert listed(tmp_path).table["transcript"].tolist() == ["café\ufffd"]


def test_line_breaks_and_separators_inside_a_cell(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [Row(0, 0, words="Oh,\nno!\u2028Yes."), Row(0, 1)])

    listing = listed(tmp_path)

    assert listing.problems == ()
    assert listing.table["text"].tolist() == ["oh no yes", "hey"]


def test_rows_that_make_no_sense(tmp_path: Path) -> None:
    file = write_rows(tmp_path, "train", [Row(0, 0)])
    cells = Row(0, 1).cells(2)
    with file.open("a", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(cells[:-1])
        writer.writerow([*cells, "more"])
        writer.writerow([*cells[:5], "zero", *cells[6:]])

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == ["train-dia0_utt0"]
    assert [(problem.kind, problem.text) for problem in listing.problems] == [
        ("strange row", f"{file}, row 2 (line 3) has 10 cells where the header has 11"),
        ("strange row", f"{file}, row 3 (line 4) has 12 cells where the header has 11"),
        (
            "strange row",
            f"{file}, row 4 (line 5): Dialogue_ID and Utterance_ID have to be whole numbers",
        ),
    ]


@pytest.mark.parametrize("before", ["", "\r\n"], ids=["cell of two lines", "empty line"])
def test_where_rows_are_not_lines_only_the_row_is_told(tmp_path: Path, before: str) -> None:
    words = "Oh." if before else "Oh,\nno!"
    file = write_rows(tmp_path, "train", [Row(0, 0, words=words)])
    with file.open("a", newline="") as stream:
        stream.write(before)
        csv.writer(stream).writerow(Row(0, 1).cells(2)[:-1])

    (problem,) = listed(tmp_path).problems

    assert problem.text == f"{file}, row 2 has 10 cells where the header has 11"


def test_the_same_dialogue_in_two_splits_is_no_duplicate(tmp_path: Path) -> None:
    for split in FILES:
        write_rows(tmp_path, split, [Row(0, 0)])

    listing = listed(tmp_path)

    assert listing.problems == ()
    assert listing.table["id"].tolist() == [
        "train-dia0_utt0",
        "validation-dia0_utt0",
        "test-dia0_utt0",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "path,label\na,b\n", ",".join(HEADER).replace("Emotion", "Feeling") + "\n"],
    ids=["empty", "another table", "a column by another name"],
)
def test_a_table_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "train_sent_emo.csv").write_text(text)

    with pytest.raises(CorpusError, match=r"train_sent_emo\.csv has no column .*Emotion"):
        listed(tmp_path)


def test_a_quote_that_never_ends(tmp_path: Path) -> None:
    text = ",".join(HEADER) + '\n1,"' + "word " * 40_000
    (tmp_path / "train_sent_emo.csv").write_text(text)

    with pytest.raises(CorpusError, match=r"train_sent_emo\.csv cannot be read as csv"):
        listed(tmp_path)


def test_roots_that_are_no_meld(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"'meld': root '.*gone' is no folder; give"):
        listed(tmp_path / "gone")
    write_rows(tmp_path / "a" / "b" / "c", "train", [Row(0, 0)])
    with pytest.raises(CorpusError, match=r"neither .* hold train_sent_emo\.csv, dev_sent"):
        listed(tmp_path)


def test_the_source_reads_clips_and_wav_files_alike(tmp_path: Path) -> None:
    source = listed(small_meld(tmp_path)).source
    clip = write_clip(tmp_path / "a.mp4", seconds=0.5)

    assert len(source.read(str(clip))[0]) >= 22050
    wav, rate = source.read(str(tmp_path / "train_splits" / "dia0_utt0.wav"))
    assert (rate, len(wav)) == (16000, 4800)

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.corpora import check_corpus, load_corpus
from orchestrator.corpora.layouts.fsdd import list_fsdd
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.corpora.listing import Listing
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import FsddCorpus
from tests.corpora import trees


def listed(root: Path) -> Listing:
    return list_fsdd(FsddCorpus(kind="fsdd", root=str(root)))


def refusal(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        listed(root)
    return str(caught.value)


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    return trees.fsdd(tmp_path / "fsdd")


def test_corpus_as_published_has_the_documented_counts(cloned: Path) -> None:
    listing = listed(cloned)
    documented = KINDS["fsdd"].about.documented

    table = listing.table
    assert len(table) == 3000
    assert Counter(table["transcript"]) == dict.fromkeys(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], 300
    )
    assert (listing.problems, listing.remarks, dict(listing.not_used)) == ((), (), {})
    assert documented is not None
    assert documented.utterances == len(table)
    assert documented.counts == {name: Counter(table[name]) for name in ("speaker", "digit")}
    pairs = Counter(zip(table["speaker"], table["digit"], strict=True))
    assert documented.crossed == {("speaker", "digit"): pairs}


def test_a_name_tells_id_digit_speaker_and_take(cloned: Path) -> None:
    row = listed(cloned).table.set_index("id").loc["7_jackson_32"]

    assert row["path"] == str(cloned / "recordings" / "7_jackson_32.wav")
    assert (row["speaker"], row["gender"], row["digit"], row["take"]) == (
        "jackson",
        "male",
        "7",
        "32",
    )
    assert (row["transcript"], row["text"], row["emotion"]) == ("seven", "seven", "")


def test_root_may_be_the_folder_of_the_recordings(cloned: Path) -> None:
    inner, outer = listed(cloned / "recordings").table, listed(cloned).table

    assert inner.equals(outer)


def test_a_new_speaker_belongs_to_it_and_nothing_is_known_of_their_gender(tmp_path: Path) -> None:
    trees.put(tmp_path / "recordings", ["3_ana-maria_0.wav"], audio=False)
    row = listed(tmp_path).table.iloc[0]

    assert (row["speaker"], row["gender"], row["transcript"]) == ("ana-maria", "", "three")


@pytest.mark.parametrize(
    "name",
    ["10_theo_1.wav", "x_theo_1.wav", "7_theo.wav", "7_theo_b.wav", "7__1.wav", "7_t_h_1.wav"],
)
def test_bad_names_are_named_and_counted(tmp_path: Path, name: str) -> None:
    trees.put(tmp_path / "recordings", ["7_theo_1.wav", name], audio=False)
    listing = listed(tmp_path)

    (problem,) = listing.problems
    assert (problem.kind, problem.id) == ("strange name", name.removesuffix(".wav"))
    assert f"recordings/{name}: the name is not of the form 7_jackson_32.wav" in problem.text
    assert listing.table["id"].tolist() == ["7_theo_1"]


def test_other_and_hidden_files_are_no_part_of_it(cloned: Path) -> None:
    (cloned / "recordings" / "._7_theo_1.wav").write_bytes(b"resource fork")
    (cloned / "recordings" / "notes.txt").write_text("about")
    (cloned / "metadata.py").write_text("metadata = {}")

    assert len(listed(cloned).table) == 3000


def test_a_root_without_recordings(tmp_path: Path) -> None:
    assert f"{tmp_path} holds no .wav file such as 7_jackson_32.wav" in refusal(tmp_path)
    (tmp_path / "recordings").mkdir()
    assert "recordings holds no .wav file" in refusal(tmp_path)
    assert "is no folder; give the folder of the unpacked FSDD" in refusal(tmp_path / "gone")


def test_it_is_transcribed_or_unlabelled_and_never_labelled() -> None:
    assert FsddCorpus(kind="fsdd", root="there").role == "transcribed"
    assert FsddCorpus(kind="fsdd", root="there", role="unlabelled").role == "unlabelled"
    with pytest.raises(ValidationError, match="spoken digits have no emotions; leave role out"):
        FsddCorpus(kind="fsdd", root="there", role="labelled")


def test_recordings_load_with_their_words(tmp_path: Path) -> None:
    trees.put(
        tmp_path / "recordings", ["0_theo_0.wav", "9_theo_0.wav", "0_lucas_0.wav"], audio=True
    )
    corpus = load_corpus(FsddCorpus(kind="fsdd", root=str(tmp_path)))

    assert corpus.table["transcript"].tolist() == ["zero", "zero", "nine"]
    assert set(corpus.table["emotion"]) == {""}
    assert corpus.labels is None


def test_the_real_fsdd_is_as_documented(fsdd_root: Path) -> None:
    report = check_corpus(FsddCorpus(kind="fsdd", root=str(fsdd_root)))

    assert report.usable
    assert report.differences == ()
    assert (report.listed, report.used) == (3000, 3000)
    assert report.words["seven"] == 300
    assert report.accepted.counts == {"dc-offset": 467}

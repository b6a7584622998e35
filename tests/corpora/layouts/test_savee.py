from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.corpora import load_corpus
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.corpora.layouts.savee import list_savee
from orchestrator.corpora.listing import Listing
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import SaveeCorpus
from tests.corpora import trees


def listed(root: Path) -> Listing:
    return list_savee(SaveeCorpus(kind="savee", root=str(root)))


def refusal(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        listed(root)
    return str(caught.value)


@pytest.fixture
def distributed(tmp_path: Path) -> Path:
    return trees.savee(tmp_path / "savee")


def test_corpus_as_distributed_has_the_documented_counts(distributed: Path) -> None:
    listing = listed(distributed)

    table = listing.table
    assert len(table) == 480
    assert Counter(table["speaker"]) == {"DC": 120, "JE": 120, "JK": 120, "KL": 120}
    assert Counter(table["emotion"]) == {
        "anger": 60,
        "disgust": 60,
        "fear": 60,
        "happiness": 60,
        "neutral": 120,
        "sadness": 60,
        "surprise": 60,
    }
    assert set(table["gender"]) == {"male"}
    assert (listing.problems, listing.remarks, dict(listing.not_used)) == ((), (), {})


def test_documented_counts_are_those_of_the_layout(distributed: Path) -> None:
    table = listed(distributed).table
    documented = KINDS["savee"].about.documented

    assert documented is not None
    assert documented.utterances == len(table)
    assert documented.counts == {name: Counter(table[name]) for name in ("speaker", "emotion")}


@pytest.mark.parametrize("flat", [".", "ALL"])
def test_flattened_copy_tells_the_same(tmp_path: Path, distributed: Path, flat: str) -> None:
    copy = trees.savee(tmp_path / "flat", flat=flat)

    listing = listed(copy)

    kept = ["id", "speaker", "gender", "emotion", "text"]
    ours = listing.table[kept].sort_values("id", ignore_index=True)
    theirs = listed(distributed).table[kept].sort_values("id", ignore_index=True)
    assert len(ours) == 480
    assert ours.equals(theirs)
    assert listing.remarks == ()


def test_root_may_be_the_folder_of_the_speakers(distributed: Path) -> None:
    assert len(listed(distributed / "AudioData").table) == 480


def test_a_name_tells_id_speaker_emotion_and_text(distributed: Path) -> None:
    table = listed(distributed).table.set_index("id")

    row = table.loc["JK_sa03"]
    assert (row["speaker"], row["emotion"], row["text"]) == ("JK", "sadness", "sa03")
    assert row["path"] == str(distributed / "AudioData" / "JK" / "sa03.wav")
    assert table.loc["DC_su15", "emotion"] == "surprise"


def test_recordings_load(tmp_path: Path) -> None:
    root = trees.savee(tmp_path, audio=True)

    corpus = load_corpus(SaveeCorpus(kind="savee", root=str(root)))

    assert len(corpus.table) == corpus.table["content"].nunique() == 480
    assert set(corpus.table["duration"]) == {0.15}


def test_copy_with_both_layouts_is_read_once_and_says_so(distributed: Path) -> None:
    trees.savee(distributed, flat="ALL")

    listing = listed(distributed)

    assert len(listing.table) == 480
    assert listing.remarks == (
        f"{distributed}/ALL: 480 files not read, since {distributed}/AudioData holds the same "
        "names (DC_a01, DC_a02, DC_a03 and 477 more)",
    )


def test_other_and_hidden_files_are_no_part_of_it(distributed: Path) -> None:
    (distributed / "AudioData" / "DC" / "._a01.wav").write_bytes(b"resource fork")
    (distributed / "AudioData" / "DC" / "notes.txt").write_text("about")
    (distributed / "FeaturePoints").mkdir()
    (distributed / "FeaturePoints" / "x.wav").write_bytes(b"")

    listing = listed(distributed)

    assert (len(listing.table), listing.problems) == (480, ())


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("DC/x01.wav", "unknown label", "'x' is no emotion of SAVEE (known: a anger, d disgust"),
        ("DC/sb01.wav", "unknown label", "'sb' is no emotion of SAVEE"),
        ("DC/a1.wav", "strange name", "the name is not of the form DC/a01.wav or DC_a01.wav"),
        ("DC/a01 (1).wav", "strange name", "the name is not of the form"),
        ("XY/a01.wav", "unknown speaker", "'XY' is no speaker of SAVEE (known: DC, JE, JK, KL)"),
    ],
)
def test_bad_names_are_named_and_counted(
    distributed: Path, name: str, kind: str, said: str
) -> None:
    trees.put(distributed / "AudioData", [name], audio=False)

    listing = listed(distributed)

    (problem,) = listing.problems
    assert problem.kind == kind
    assert problem.id == name.replace("/", "_").removesuffix(".wav")
    assert f"AudioData/{name}: {said}" in problem.text
    assert len(listing.table) == 480


def test_a_stranger_among_flattened_files_is_named(tmp_path: Path) -> None:
    trees.put(tmp_path, ["DC_a01.wav", "03a01Fa.wav"], audio=False)

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == ["DC_a01"]
    assert [(one.kind, one.id) for one in listing.problems] == [("strange name", "03a01Fa")]


def test_root_without_recordings(tmp_path: Path) -> None:
    assert "holds no recordings of SAVEE, neither AudioData/DC/a01.wav nor" in refusal(tmp_path)


def test_missing_root(tmp_path: Path) -> None:
    assert "is no folder; give the folder of the unpacked SAVEE" in refusal(tmp_path / "gone")

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.corpora.layouts.crema_d import list_crema_d
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.corpora.listing import Listing
from orchestrator.corpora.loading import load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import CremaDCorpus
from tests.corpora import trees

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 73368\n"
)
NAMES = ("1001_DFA_ANG_XX", "1001_IEO_FEA_LO", "1002_TSI_NEU_XX")


def listed(root: Path) -> Listing:
    return list_crema_d(CremaDCorpus(kind="crema-d", root=str(root)))


def agreements(root: Path, **more: object) -> list[float]:
    """Of the corpus that training gets, by id."""
    corpus = load_corpus(CremaDCorpus(kind="crema-d", root=str(root), **more))
    return corpus.table["agreement"].tolist()


def refusal(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        listed(root)
    return str(caught.value)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three clips and both tables."""
    trees.put(tmp_path, (f"AudioWAV/{name}.wav" for name in NAMES), audio=False)
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n"
        '1001,51,"Male","Caucasian","Not Hispanic"\n'
        "1002,21,Female,African American,Hispanic\n"
    )
    votes(
        tmp_path,
        '"100001",6,2,0,0,2,0,"1001_DFA_ANG_XX",10,0.6,"A"\n'
        '"100002",0,3,4,0,1,0,"1001_IEO_FEA_LO",8,0.5,"F"\n'
        '"100003",0,0,0,1,0,8,"1002_TSI_NEU_XX",9,0.9,"S"\n'
        '"200001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9,1,"D"\n'
        '"300001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9,1,"D"\n',
    )
    return tmp_path


def votes(root: Path, rows: str, *, header: str = trees.CREMA_D_HEADER) -> None:
    file = root / "processedResults" / "tabulatedVotes.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text(header + rows)


def test_corpus_as_distributed_has_the_documented_counts(tmp_path: Path) -> None:
    listing = listed(trees.crema_d(tmp_path))

    table = listing.table
    assert len(table) == 7442
    assert Counter(table["emotion"]) == {
        "anger": 1271,
        "disgust": 1271,
        "fear": 1271,
        "happiness": 1271,
        "neutral": 1087,
        "sadness": 1271,
    }
    assert table["speaker"].nunique() == 91
    assert table["text"].nunique() == 12
    # 91 actors of whom 46 have odd numbers.
    assert table.groupby("gender")["speaker"].nunique().to_dict() == {"female": 45, "male": 46}
    assert (listing.problems, listing.remarks, dict(listing.not_used)) == ((), (), {})
    documented = KINDS["crema-d"].about.documented
    assert documented is not None
    assert documented.utterances == len(table)
    assert documented.counts == {"emotion": Counter(table["emotion"])}
    # Place by place none of ten, one, ... ten chose the emotion asked for, and so again.
    by_id = table.set_index("id").loc[trees.crema_d_names()]
    asked = zip(by_id["votes"], by_id["emotion"], strict=True)
    right = [json.loads(cast).get(emotion, 0) for cast, emotion in asked]
    assert right == [place % 11 for place in range(7442)]


def test_votes_of_those_who_heard_the_voice_only(small: Path) -> None:
    listing = listed(small)

    table = listing.table.set_index("id")
    assert [json.loads(cast) for cast in table["votes"]] == [
        {"anger": 6, "disgust": 2, "neutral": 2},
        {"disgust": 3, "fear": 4, "neutral": 1},
        {"happiness": 1, "sadness": 8},
    ]
    assert listing.remarks == ()


def test_agreement_is_on_the_emotions_that_are_learned(small: Path) -> None:
    trees.put(small, (f"AudioWAV/{name}.wav" for name in NAMES), audio=True)
    labels = {"anger": "negative", "disgust": "negative", "fear": "negative", "neutral": "neutral"}

    # The table's own column of agreement is the winner's share, which is another thing.
    assert agreements(small) == [0.6, 0.5, 0.0]
    # 6 + 2 of 10, 3 + 4 of 8, none of 9.
    assert agreements(small, labels=labels) == [0.8, 0.875, 0.0]


def test_a_name_and_the_actor_tell_the_rest(small: Path) -> None:
    row = listed(small).table.set_index("id").loc["1001_IEO_FEA_LO"]

    assert (row["speaker"], row["emotion"], row["text"]) == ("1001", "fear", "IEO")
    assert (row["level"], row["session"]) == ("LO", "")
    assert row["path"] == str(small / "AudioWAV" / "1001_IEO_FEA_LO.wav")
    assert (row["gender"], row["age"]) == ("male", "51")
    assert (row["race"], row["ethnicity"]) == ("Caucasian", "Not Hispanic")


def test_root_may_be_the_folder_of_the_recordings(small: Path) -> None:
    listing = listed(small / "AudioWAV")

    assert len(listing.table) == 3
    assert len(listing.remarks) == 2


def test_without_tables_remarks_say_what_is_not_known(tmp_path: Path) -> None:
    listing = listed(trees.crema_d(tmp_path, tables=False))

    assert len(listing.table) == 7442
    assert set(listing.table["gender"]) == set(listing.table["votes"]) == {""}
    assert listing.remarks == (
        f"there is no {tmp_path}/VideoDemographics.csv: gender, age, race and ethnicity are not "
        "known",
        f"there is no {tmp_path}/processedResults/tabulatedVotes.csv: votes and agreement are not "
        "known",
    )


def test_files_and_votes_without_each_other_are_counted(small: Path) -> None:
    votes(
        small,
        '"100001",6,2,0,0,2,0,"1001_DFA_ANG_XX",10,0.6,"A"\n'
        '"100009",6,2,0,0,2,0,"1001_DFA_SAD_XX",10,0.6,"A"\n',
    )

    listing = listed(small)

    file = small / "processedResults" / "tabulatedVotes.csv"
    assert listing.remarks == (
        f"{file} has votes for 1 missing file (1001_DFA_SAD_XX)",
        f"{file} has no votes for 2 files (1001_IEO_FEA_LO, 1002_TSI_NEU_XX)",
    )
    assert listing.table["votes"].tolist()[1:] == ["", ""]


def test_rows_of_votes_that_make_no_sense_are_named(small: Path) -> None:
    votes(
        small,
        '"100001",six,2,0,0,2,0,"1001_DFA_ANG_XX",10,0.6,"A"\n'
        '"7",0,3,4,0,1,0,"1001_IEO_FEA_LO",8,0.5,"F"\n'
        '"100003",0,0,0,1\n'
        '"100004",0,0,0,1,0,8,"1002_TSI_NEU_XX",9,0.9,"S"\n',
    )

    listing = listed(small)

    assert listing.remarks[0].endswith(
        "tabulatedVotes.csv: no sense in 3 rows ('100001' of '1001_DFA_ANG_XX', '7' of "
        "'1001_IEO_FEA_LO', '100003' of '')"
    )
    assert (listing.table["votes"] == "").tolist() == [True, True, False]


def test_nobody_voted_is_no_agreement(small: Path) -> None:
    trees.put(small, (f"AudioWAV/{name}.wav" for name in NAMES), audio=True)
    votes(small, '"100001",0,0,0,0,0,0,"1001_DFA_ANG_XX",0,0,""\n')

    assert all(map(math.isnan, agreements(small)))
    assert listed(small).table["votes"][0] == ""


@pytest.mark.parametrize("lacking", ["fileName", "S", ""])
def test_table_of_votes_without_a_column(small: Path, lacking: str) -> None:
    header = trees.CREMA_D_HEADER.replace(f'"{lacking}"', '"other"')
    votes(small, "", header=header)

    assert f"tabulatedVotes.csv has no column '{lacking}'; get it again" in refusal(small)


def test_table_of_actors_without_a_column(small: Path) -> None:
    (small / "VideoDemographics.csv").write_text("ActorID,Age,Gender,Race,Ethnicity\n")

    assert "VideoDemographics.csv has no column 'Sex'" in refusal(small)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'ActorID'"),
        (POINTER, "is a pointer of Git LFS instead of a table; run 'git lfs pull'"),
        (b"ActorID,Age\n\xff\xfe", "cannot be read ('utf-8' codec"),
    ],
    ids=["empty", "pointer", "binary"],
)
def test_table_of_actors_that_is_none(small: Path, content: bytes, said: str) -> None:
    (small / "VideoDemographics.csv").write_bytes(content)

    assert f"VideoDemographics.csv {said}" in refusal(small)


def test_unknown_actors_and_sexes_are_remarks(small: Path) -> None:
    (small / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Unknown,,\n"
    )

    listing = listed(small)

    assert listing.table["gender"].tolist() == ["", "", ""]
    assert listing.table["age"].tolist() == ["51", "51", ""]
    file = small / "VideoDemographics.csv"
    assert listing.remarks == (
        f"{file} has no row for 1 speaker (1002)",
        f"{file}: Sex is neither Female nor Male but unknown for 2 utterances, whose gender is "
        "left open",
    )


@pytest.mark.parametrize(
    ("stem", "kind", "said"),
    [
        ("1001_DFA_JOY_XX", "unknown label", "'JOY' is no emotion of CREMA-D (known: ANG anger,"),
        ("1001_DFA_ANG", "strange name", "is not of the form 1001_DFA_ANG_XX.wav"),
        ("1001_DFA_ANG_50", "strange name", "is not of the form"),
        ("03a01Fa", "strange name", "is not of the form"),
    ],
)
def test_bad_names_are_named_and_counted(small: Path, stem: str, kind: str, said: str) -> None:
    trees.put(small, [f"AudioWAV/{stem}.wav"], audio=False)

    listing = listed(small)

    (problem,) = listing.problems
    assert (problem.kind, problem.id) == (kind, stem)
    assert problem.text.startswith(f"{small}/AudioWAV/{stem}.wav: ")
    assert said in problem.text
    assert len(listing.table) == 3


def test_the_short_level_of_one_real_name_is_fine(small: Path) -> None:
    trees.put(small, ["AudioWAV/1040_ITH_SAD_X.wav"], audio=False)

    listing = listed(small)

    assert listing.problems == ()
    assert listing.table["level"].tolist()[-1] == "X"


def test_pointers_of_git_lfs_throughout_are_one_error(small: Path) -> None:
    for name in NAMES:
        (small / "AudioWAV" / f"{name}.wav").write_bytes(POINTER)

    said = refusal(small)

    assert "all 3 files" in said
    assert "are pointers of Git LFS instead of audio; run 'git lfs pull' there" in said
    assert "understudy corpora fetch crema-d DIR" in said


def test_a_few_pointers_of_git_lfs_are_unreadable(small: Path) -> None:
    (small / "AudioWAV" / "1001_DFA_ANG_XX.wav").write_bytes(POINTER)

    listing = listed(small)

    (problem,) = listing.problems
    assert (problem.kind, problem.id) == ("unreadable", "1001_DFA_ANG_XX")
    assert "1001_DFA_ANG_XX.wav is a pointer of Git LFS" in problem.text
    assert len(listing.table) == 2
    # Its votes are of a file that is there.
    assert listing.remarks == ()


def test_root_without_recordings(tmp_path: Path) -> None:
    assert "holds no .wav file such as 1001_DFA_ANG_XX.wav; give" in refusal(tmp_path)


def test_missing_root(tmp_path: Path) -> None:
    assert "is no folder; give the folder of CREMA-D" in refusal(tmp_path / "gone")

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.corpora.layouts.ravdess import list_ravdess
from orchestrator.corpora.listing import Listing
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import RavdessCorpus
from tests.corpora import trees

SPEECH = "Audio_Speech_Actors_01-24"


def listed(root: Path) -> Listing:
    return list_ravdess(RavdessCorpus(kind="ravdess", root=str(root)))


def refusal(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        listed(root)
    return str(caught.value)


@pytest.mark.parametrize("folder", [".", SPEECH])
def test_corpus_as_distributed_has_the_documented_counts(tmp_path: Path, folder: str) -> None:
    listing = listed(trees.ravdess(tmp_path, folder=folder))

    table = listing.table
    assert len(table) == 1440
    assert Counter(table["speaker"]) == {f"{actor:02}": 60 for actor in range(1, 25)}
    assert Counter(table["emotion"]) == {
        "neutral": 96,
        "calm": 192,
        "happiness": 192,
        "sadness": 192,
        "anger": 192,
        "fear": 192,
        "disgust": 192,
        "surprise": 192,
    }
    assert Counter(table["gender"]) == {"female": 720, "male": 720}
    assert (listing.problems, listing.remarks, dict(listing.not_used)) == ((), (), {})
    documented = KINDS["ravdess"].about.documented
    assert documented is not None
    assert documented.utterances == len(table)
    assert documented.counts == {name: Counter(table[name]) for name in ("speaker", "emotion")}


def test_a_name_tells_every_field(tmp_path: Path) -> None:
    trees.put(tmp_path, ["Actor_12/03-01-06-02-01-02-12.wav"], audio=False)

    row = listed(tmp_path).table.iloc[0]

    assert row.to_dict() == {
        "id": "03-01-06-02-01-02-12",
        "path": str(tmp_path / "Actor_12" / "03-01-06-02-01-02-12.wav"),
        "speaker": "12",
        "gender": "female",
        "session": "",
        "emotion": "fear",
        "text": "01",
        "intensity": "strong",
        "repetition": "02",
    }


def test_second_copy_inside_the_root_is_not_read_again(tmp_path: Path) -> None:
    trees.ravdess(tmp_path)
    trees.ravdess(tmp_path, folder=SPEECH.lower())

    listing = listed(tmp_path)

    assert len(listing.table) == 1440
    assert not listing.table["path"].str.contains(SPEECH.lower()).any()
    (remark,) = listing.remarks
    assert remark.startswith(
        f"{tmp_path}/audio_speech_actors_01-24: 1440 files not read, since {tmp_path} holds the "
        "same names (03-01-01-01-01-01-01, "
    )


def test_what_only_the_second_copy_has_is_read(tmp_path: Path) -> None:
    trees.put(tmp_path, ["Actor_01/03-01-05-01-02-01-01.wav"], audio=False)
    trees.put(tmp_path / "copy", ["Actor_01/03-01-05-01-02-01-01.wav"], audio=False)
    trees.put(tmp_path / "copy", ["Actor_02/03-01-05-01-02-01-02.wav"], audio=False)

    listing = listed(tmp_path)

    assert listing.table["speaker"].tolist() == ["01", "02"]
    assert len(listing.remarks) == 1


def test_songs_and_videos_are_left_out_and_counted(tmp_path: Path) -> None:
    trees.ravdess(tmp_path, folder=SPEECH)
    songs = [f"Audio_Song_Actors_01-24/{name}.wav" for name in trees.ravdess_names("02")]
    trees.put(tmp_path, songs[:44], audio=False)
    videos = [
        "Actor_01/01-01-05-01-02-01-01.mp4",
        "Actor_01/02-01-05-01-02-01-01.mp4",
        "Actor_01/01-02-05-01-02-01-01.mp4",
        "Actor_01/02-02-05-01-02-01-01.wav",
    ]
    trees.put(tmp_path, videos, audio=False)

    listing = listed(tmp_path)

    assert len(listing.table) == 1440
    assert listing.not_used == {"song": 44, "video": 4}
    assert listing.problems == ()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("Actor_01/03-01-09-01-02-01-01.wav", "unknown label", "'09' is no emotion of RAVDESS"),
        ("Actor_01/03-01-00-01-02-01-01.wav", "unknown label", "(known: 01 neutral, 02 calm"),
        ("Actor_01/03-01-05-03-02-01-01.wav", "strange name", "is not of the form 03-01-05-01-02"),
        ("Actor_01/03-01-05-01-02-01.wav", "strange name", "is not of the form"),
        ("Actor_25/03-01-05-01-02-01-25.wav", "strange name", "is not of the form"),
        ("Actor_02/03-01-05-01-02-01-07.wav", "strange name", "actor 07, the folder Actor_02"),
        ("Actor_01/03-01-05-01-02-01-01.mp4", "strange name", "says audio (03), the ending .mp4"),
    ],
)
def test_bad_names_are_named_and_counted(tmp_path: Path, name: str, kind: str, said: str) -> None:
    trees.put(tmp_path, ["Actor_01/03-01-05-01-02-02-01.wav", name], audio=False)

    listing = listed(tmp_path)

    (problem,) = listing.problems
    assert problem.kind == kind
    assert problem.id == Path(name).stem
    assert problem.text.startswith(str(tmp_path / name))
    assert said in problem.text
    assert len(listing.table) == 1


def test_root_with_songs_only(tmp_path: Path) -> None:
    trees.put(tmp_path, (f"{name}.wav" for name in trees.ravdess_names("02")), audio=False)

    said = refusal(tmp_path)

    assert "holds no speech, only 1440 song files; understudy corpora fetch ravdess DIR" in said


def test_root_without_actors(tmp_path: Path) -> None:
    trees.put(tmp_path, ["03-01-05-01-02-01-01.wav"], audio=False)

    assert "holds no recordings of RAVDESS such as Actor_01/" in refusal(tmp_path)


def test_missing_root(tmp_path: Path) -> None:
    assert "is no folder; give the folder of the unpacked RAVDESS" in refusal(tmp_path / "gone")

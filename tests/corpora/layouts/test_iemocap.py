from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora.layouts.iemocap import ABOUT, list_iemocap
from orchestrator.corpora.listing import Listing
from orchestrator.corpora.loading import load_corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import IemocapCorpus
from tests.corpora.trees_iemocap import (
    Turn,
    full_iemocap,
    small_iemocap,
    write_dialogue,
    write_noise,
    write_transcript,
)

F000, M000, F001 = (f"Ses01F_impro01_{turn}" for turn in ("F000", "M000", "F001"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_iemocap(tmp_path_factory.mktemp("full"))


def listed(root: Path, **more: object) -> Listing:
    return list_iemocap(IemocapCorpus(kind="iemocap", root=str(root), **more))


def learned(listing: Listing) -> pd.DataFrame:
    """The rows whose emotion the label set keeps, by the name it gives them."""
    assert listing.labels is not None
    table = listing.table[listing.table["emotion"].isin(list(listing.labels))]
    return table.assign(emotion=table["emotion"].map(dict(listing.labels)))


def only(root: Path, *turns: Turn, **more: object) -> pd.Series:
    """The one row of a dialogue of its own."""
    write_dialogue(root, "Ses01F_impro01", turns, **more)
    listing = listed(root)
    assert listing.problems == ()
    assert len(listing.table) == 1
    return listing.table.iloc[0]


def test_a_complete_copy_has_the_documented_totals(full: Path) -> None:
    listing = listed(full)

    assert len(listing.table) == 10039
    assert listing.problems == ()
    assert listing.remarks == ()
    assert listing.not_used == {}
    assert Counter(listing.table["emotion"]) == {
        "neutral": 1708,
        "anger": 1103,
        "sadness": 1084,
        "happiness": 595,
        "excitement": 1041,
        "frustration": 1849,
        "fear": 40,
        "surprise": 107,
        "disgust": 2,
        "other": 3,
        "no majority": 2507,
    }
    assert sorted(set(listing.table["speaker"])) == [
        f"Ses0{session}{talker}" for session in (1, 2, 3, 4, 5) for talker in "FM"
    ]
    assert listing.table["id"].is_unique
    assert set(listing.emotions or ()) == set(listing.table["emotion"])


def test_what_is_documented_is_what_a_complete_copy_has(full: Path) -> None:
    table, documented = listed(full).table, ABOUT.documented

    assert documented is not None
    assert documented.utterances == sum(documented.counts["emotion"].values()) == len(table)
    assert Counter(table["emotion"]) == documented.counts["emotion"]
    pairs = Counter(zip(table["session"], table["emotion"], strict=True))
    told = documented.crossed["session", "emotion"]
    assert len(told) == 25
    assert {pair: pairs[pair] for pair in told} == told


def test_label_set_4_by_session(full: Path) -> None:
    table = learned(listed(full))

    by_session = table.groupby("session").size()
    assert by_session.to_dict() == {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}
    by_emotion = pd.crosstab(table["emotion"], table["session"])
    assert by_emotion.loc["neutral"].tolist() == [384, 362, 320, 258, 384]
    assert by_emotion.loc["anger"].tolist() == [229, 137, 240, 327, 170]
    assert by_emotion.loc["sadness"].tolist() == [194, 197, 305, 143, 245]
    # 135 + 143, 117 + 210, 135 + 151, 65 + 238, 143 + 299.
    assert by_emotion.loc["happiness"].tolist() == [278, 327, 286, 303, 442]


@pytest.mark.parametrize(
    ("label_set", "expected"),
    [
        ("4", {"anger": 1103, "happiness": 1636, "neutral": 1708, "sadness": 1084}),
        ("4-happy-only", {"anger": 1103, "happiness": 595, "neutral": 1708, "sadness": 1084}),
        (
            "4-excited-replaces",
            {"anger": 1103, "excitement": 1041, "neutral": 1708, "sadness": 1084},
        ),
        (
            "5",
            {
                "anger": 1103,
                "frustration": 1849,
                "happiness": 1636,
                "neutral": 1708,
                "sadness": 1084,
            },
        ),
        (
            "6",
            {
                "anger": 1103,
                "excitement": 1041,
                "frustration": 1849,
                "happiness": 595,
                "neutral": 1708,
                "sadness": 1084,
            },
        ),
    ],
)
def test_label_sets(full: Path, label_set: str, expected: dict[str, int]) -> None:
    listing = listed(full, label_set=label_set)

    assert Counter(learned(listing)["emotion"]) == expected
    assert len(listing.said) == 1
    assert listing.said[0].startswith(f"label set {label_set} (")


def test_labels_of_the_user_replace_the_label_set(full: Path) -> None:
    listing = listed(full, labels={"anger": "negative", "frustration": "negative"})

    assert listing.labels is None
    assert listing.said == ()


def test_improvised_and_scripted_are_named_and_the_rest_counted(full: Path) -> None:
    improvised, scripted = (listed(full, subset=style) for style in ("improvised", "scripted"))

    # The tree has half of each emotion and session improvised: 192 + 181 + 160 + 129 + 192.
    assert Counter(improvised.table["emotion"])["neutral"] == 854
    assert Counter(scripted.table["emotion"])["neutral"] == 854
    assert set(improvised.table["style"]) == {"improvised"}
    assert improvised.not_used == {"scripted": len(scripted.table)}
    assert scripted.not_used == {"improvised": len(improvised.table)}
    assert len(improvised.table) + len(scripted.table) == 10039
    assert improvised.said == ("label set 4 (excitement counted as happiness)", "improvised only")
    assert scripted.said[1] == "scripted only"


def test_the_speaker_is_who_talks_and_not_who_wears_the_markers(tmp_path: Path) -> None:
    row = only(tmp_path, Turn(M000))

    assert row["speaker"] == "Ses01M"
    assert row["gender"] == "male"
    assert row["dialogue"] == "Ses01F_impro01"
    assert row["session"] == "1"
    wav = f"Session1/sentences/wav/Ses01F_impro01/{M000}.wav"
    assert row["path"] == str(tmp_path / wav)


def test_a_scripted_dialogue_of_several_parts(tmp_path: Path) -> None:
    name = "Ses05M_script03_2_F041"
    write_dialogue(tmp_path, "Ses05M_script03_2", [Turn(name)])

    row = listed(tmp_path).table.iloc[0]

    assert (row["id"], row["speaker"], row["gender"]) == (name, "Ses05F", "female")
    assert (row["dialogue"], row["style"]) == ("Ses05M_script03_2", "scripted")


def test_votes_are_the_outside_evaluators(tmp_path: Path) -> None:
    chosen = {
        "E1": "Neutral state;",
        "E2": "Neutral;",
        "E3": "Excited; Happiness;",
        "E4": "Frustration; Anger; Bewilderment;",
        "M1": "Sadness;",
    }

    votes = json.loads(only(tmp_path, Turn(F000, votes=chosen))["votes"])

    third = pytest.approx(1 / 3)
    assert votes == {
        "neutral": 2,
        "excitement": 0.5,
        "happiness": 0.5,
        "frustration": third,
        "anger": third,
        "other": third,
    }


def test_an_emotion_chosen_twice_by_one_evaluator_is_one_vote(tmp_path: Path) -> None:
    row = only(tmp_path, Turn(F000, votes={"E1": "Anger; Anger;", "E2": " ; "}))

    assert json.loads(row["votes"]) == {"anger": 1}


def test_words_in_a_comment_are_no_votes(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000, votes={"E1": "Anger;"})])
    file.write_text(file.read_text().replace("Anger;\t()", "Anger;\t(sadness; fear;)"))

    assert json.loads(listed(tmp_path).table["votes"][0]) == {"anger": 1}


def test_nobody_asked_is_no_votes(tmp_path: Path) -> None:
    assert only(tmp_path, Turn(F000, votes={"F1": "Anger;"}))["votes"] == ""


def test_ratings_and_length(tmp_path: Path) -> None:
    turn = Turn(F000, ratings=(1.5, 4.0, 3.3333), start=6.2901, seconds=1.9456)

    row = only(tmp_path, turn)

    assert (row["valence"], row["arousal"], row["dominance"]) == (1.5, 4.0, 3.3333)
    assert row["stated"] == pytest.approx(1.9456)


def test_an_end_before_the_start_is_no_length(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000, seconds=-1.0), Turn(M000)])

    listing = listed(tmp_path)

    assert listing.table["stated"].isna().tolist() == [True, False]
    assert any(f"not after the start, in 1 turns ({F000})" in said for said in listing.remarks)


def test_transcripts_and_their_texts(tmp_path: Path) -> None:
    row = only(tmp_path, Turn(F000, words="Oh: my  GOD! [LAUGHTER]"))

    assert row["transcript"] == "Oh: my  GOD! [LAUGHTER]"
    assert row["text"] == "oh my god laughter"


def test_a_script_is_the_same_text_in_every_session(tmp_path: Path) -> None:
    table = listed(small_iemocap(tmp_path)).table

    shared = table.groupby("text")["session"].nunique()
    assert Counter(shared) == {1: 20, 2: 10}


def test_missing_transcripts_are_remarked(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)], transcript=False)
    write_dialogue(tmp_path, "Ses01F_impro02", [Turn("Ses01F_impro02_F000")])
    place = tmp_path / "Session1" / "dialog" / "transcriptions"
    write_transcript(place / "Ses01F_impro02.txt", [])

    listing = listed(tmp_path)

    assert listing.table["transcript"].tolist() == ["", ""]
    assert listing.problems == ()
    assert f"{place}: no transcript of 1 dialogues (Ses01F_impro01)" in listing.remarks
    assert f"{place}: no words of 1 turns (Ses01F_impro02_F000)" in listing.remarks


def test_windows_line_ends_and_other_spacing(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000), Turn(M000)], end="\r\n")
    content = file.read_bytes().replace(f"\t{M000}\tneu\t[2.5000,".encode(), b"  %s   NEU [ 2.5,")
    file.write_bytes(b"\xef\xbb\xbf" + content.replace(b"%s", M000.encode()))

    listing = listed(tmp_path)

    assert listing.problems == ()
    assert listing.table["emotion"].tolist() == ["neutral", "neutral"]
    assert listing.table["transcript"].tolist() == ["Excuse me.", "Excuse me."]


def test_a_transcript_in_another_code_page(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000), Turn(M000)])
    place = tmp_path / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt"
    place.write_bytes(f"{F000} [0-1]: Caf\xe9\x85\n{M000} [0-1]: Yes.\n".encode("latin-1"))

    assert listed(tmp_path).table["text"].tolist() == ["café", "yes"]


def test_hidden_files_and_folders_beside_are_left_alone(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)], audio=True)
    (file.parent / "._Ses01F_impro01.txt").write_bytes(b"\0\5\26\7[bad")
    for name in ("Attribute", "Categorical", "Self-evaluation"):
        (file.parent / name).mkdir()
        (file.parent / name / "Ses01F_impro01_e2.txt").write_text("[bad")
    wav = tmp_path / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (wav / f"._{F000}.wav").write_bytes(b"\0")
    (tmp_path / "Session1" / "sentences" / "wav" / "._Ses01F_impro01").write_bytes(b"\0")

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == [F000]
    assert listing.problems == ()
    assert listing.remarks == (f"{tmp_path}: no evaluations of session 2, 3, 4, 5",)


def test_lines_that_are_no_turns_are_named_with_file_and_line(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)])
    with file.open("a") as stream:
        stream.write(f"[1.0 - 2.0]\t{M000}\tneu\nC-E1:\tAnger;\t()\n[1 - 2] nobody neu [1, 2, 3]\n")

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == [F000]
    # The vote below the broken line is not the turn's above it.
    assert json.loads(listing.table["votes"][0]) == {"neutral": 3}
    assert [problem.kind for problem in listing.problems] == ["strange row", "strange row"]
    # Two lines of head, seven of the turn, its blank line among them.
    assert f"{file}, line 11: '[1.0 - 2.0]" in listing.problems[0].text
    assert f"{file}, line 13: '[1 - 2] nobody" in listing.problems[1].text


@pytest.mark.parametrize(
    "damage",
    [
        ("[", ""),
        ("[", "\ufeff["),
        ("[6.0000 - 6.1500]\t", ""),
        ("[6.0000 - ", ""),
        ("[", "{"),
    ],
    ids=["no bracket", "mark", "no times", "half the times", "another bracket"],
)
def test_a_damaged_head_is_named_and_its_votes_go_to_nobody(
    tmp_path: Path, damage: tuple[str, str]
) -> None:
    turns = [Turn(F000, code="ang"), Turn(M000, code="sad"), Turn(F001, code="neu")]
    file = write_dialogue(tmp_path, "Ses01F_impro01", turns)
    lines = file.read_text().split("\n")
    place = next(place for place, line in enumerate(lines) if M000 in line)
    lines[place] = lines[place].replace(*damage, 1)
    file.write_text("\n".join(lines))

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == [F000, F001]
    votes = [json.loads(one) for one in listing.table["votes"]]
    assert votes == [{"anger": 3}, {"neutral": 3}]
    (problem,) = listing.problems
    assert problem.kind == "strange row"
    assert problem.text.startswith(f"{file}, line {place + 1}: ")
    assert M000 in problem.text


def test_comments_votes_and_ratings_may_name_a_turn(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000, code="ang")])
    text = file.read_text().replace("()", f"(as in {M000})")
    file.write_text(f"% {M000} is lost\n{text}")

    listing = listed(tmp_path)

    assert listing.problems == ()
    assert json.loads(listing.table["votes"][0]) == {"anger": 3}


@pytest.mark.parametrize("byte", [b"", b"\x85"], ids=["utf-8", "latin-1"])
def test_a_mark_at_the_beginning_of_a_file_is_no_damage(tmp_path: Path, byte: bytes) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)])
    head = file.read_bytes().split(b"\n", 2)[2]
    file.write_bytes(b"\xef\xbb\xbf" + head + b"% " + byte + b"\n")

    listing = listed(tmp_path)

    assert listing.problems == ()
    assert listing.table["id"].tolist() == [F000]


def test_a_turn_of_another_session_is_strange(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)])
    text = file.read_text()
    file.write_text(text.replace(F000, "Ses02F_impro01_F000"))

    (problem,) = listed(tmp_path).problems

    assert problem.kind == "strange row"
    assert f"{file}, line 3" in problem.text
    assert "named for session 2, not 1" in problem.text


def test_a_code_that_iemocap_does_not_have(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000, code="xxx"), Turn(M000)])
    file.write_text(file.read_text().replace("\txxx\t", "\tjoy\t"))

    listing = listed(tmp_path)

    (problem,) = listing.problems
    assert listing.table["id"].tolist() == [M000]
    assert (problem.kind, problem.id) == ("unknown label", F000)
    assert f"{file}, line 3" in problem.text
    assert "'joy'" in problem.text


def test_a_turn_evaluated_twice_counts_once(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000), Turn(F000, code="ang")])

    listing = listed(tmp_path)

    assert listing.table["emotion"].tolist() == ["neutral"]
    (problem,) = listing.problems
    assert problem.kind == "duplicate row"
    assert f"{file}, line 11: turn '{F000}'" in problem.text


def test_a_subset_counts_what_it_leaves_out_whatever_it_is(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000)])
    script = write_dialogue(tmp_path, "Ses01F_script01_1", [Turn("Ses01F_script01_1_F000")])
    with script.open("a") as stream:
        stream.write("[1.0 - 2.0] bad\n")

    listing = listed(tmp_path, subset="improvised")

    assert listing.problems == ()
    assert listing.not_used == {"scripted": 2}


def test_audio_without_evaluation_is_remarked_and_missing_audio_listed(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", [Turn(F000), Turn(M000)], audio=True)
    wavs = tmp_path / "Session1" / "sentences" / "wav"
    (wavs / "Ses01F_impro01" / f"{M000}.wav").rename(wavs / "Ses01F_impro01" / f"{F001}.wav")
    for number in range(3):
        write_noise(wavs / "Ses01F_impro09" / f"Ses01F_impro09_F00{number}.wav", seed=number)

    listing = listed(tmp_path)

    assert listing.table["id"].tolist() == [F000, M000]
    extra = "Ses01F_impro09/Ses01F_impro09_F000.wav"
    assert any(
        f"no evaluation of 4 audio files (Ses01F_impro01/{F001}.wav, {extra}" in said
        for said in listing.remarks
    )
    with pytest.raises(CorpusError, match=rf"(?s)1 missing.*{M000}\.wav does not exist"):
        load_corpus(IemocapCorpus(kind="iemocap", root=str(tmp_path)))


def test_some_sessions_only(tmp_path: Path) -> None:
    write_dialogue(tmp_path, "Ses02F_impro01", [Turn("Ses02F_impro01_F000")])
    (tmp_path / "Session4").mkdir()

    listing = listed(tmp_path)

    assert listing.table["session"].tolist() == ["2"]
    assert listing.remarks == (f"{tmp_path}: no evaluations of session 1, 3, 4, 5",)


def test_the_folder_that_the_archive_makes_is_found(tmp_path: Path) -> None:
    write_dialogue(tmp_path / "IEMOCAP_full_release", "Ses01F_impro01", [Turn(F000)])

    assert listed(tmp_path).place == str(tmp_path / "IEMOCAP_full_release")


def test_roots_that_are_no_iemocap(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"'iemocap': root '.*gone' is no folder; give"):
        listed(tmp_path / "gone")
    with pytest.raises(CorpusError, match="holds none of the folders Session1 to Session5"):
        listed(tmp_path)
    (tmp_path / "Session1").mkdir()
    with pytest.raises(CorpusError, match="holds no evaluation; the unpacked corpus has"):
        listed(tmp_path)


def test_a_small_copy_with_audio_is_a_corpus(tmp_path: Path) -> None:
    corpus = load_corpus(IemocapCorpus(kind="iemocap", root=str(small_iemocap(tmp_path))))

    assert len(corpus.table) == 40
    assert corpus.emotions == ("anger", "happiness", "neutral", "sadness")
    assert Counter(corpus.table["emotion"])["happiness"] == 16
    assert corpus.said == ("label set 4 (excitement counted as happiness)",)
    assert corpus.table["duration"].tolist() == pytest.approx([0.3] * 40)

"""Unlabelled corpora: what is read of them, and that nobody in them is tested."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import Corpus, check_corpus, load_corpus
from orchestrator.corpora.listing import Problem
from orchestrator.corpora.portrait import draw, stacks
from orchestrator.corpora.unlabelled import kept_apart
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import EmodbCorpus, TableCorpus


def corpus(
    name: str, speakers: list[str], contents: str, *, silent: tuple[int, ...] = ()
) -> Corpus:
    """One utterance for each speaker and letter of ``contents``."""
    count = len(speakers)
    table = pd.DataFrame(
        {
            "id": [f"u{place}" for place in range(count)],
            "path": [f"{name}/u{place}.wav" for place in range(count)],
            "speaker": speakers,
            "emotion": "",
            "duration": 1.0,
            "content": list(contents),
        }
    )
    problems = tuple(Problem(kind="silent", text="silent", id=f"u{place}") for place in silent)
    return Corpus(name=name, kind="table", table=table, accepted=problems)


def section(**more: object) -> TableCorpus:
    return TableCorpus(kind="table", file="t.csv", role="unlabelled", **more)


LABELLED = [corpus("one", ["s1", "s2"], "ab"), corpus("two", ["03"], "c")]


def refused(unlabelled: Corpus, **more: object) -> str:
    with pytest.raises(CorpusError) as caught:
        kept_apart(unlabelled, section(**more), labelled=LABELLED)
    return str(caught.value)


def test_other_speakers_are_apart_by_their_names() -> None:
    more = corpus("more", ["s3", "s4"], "xy")

    assert kept_apart(more, section(), labelled=LABELLED) is more


def test_unknown_speakers_are_refused_until_they_are_declared_apart() -> None:
    more = corpus("more", ["s3", "", ""], "xyz")
    said = refused(more)

    for part in ("'more'", "2 of its 3 utterances", "'one', 'two'", "speakers_apart: true"):
        assert part in said
    assert kept_apart(more, section(speakers_apart=True), labelled=LABELLED) is more


def test_a_name_that_a_labelled_corpus_has_too_is_refused_until_declared() -> None:
    more = corpus("more", ["03", "s9"], "xy")
    said = refused(more)

    for part in ("'03' also speak in 'two'", "take them out of one", "speakers_apart: true"):
        assert part in said
    assert "s9" not in said
    assert kept_apart(more, section(speakers_apart=True), labelled=LABELLED) is more


@pytest.mark.parametrize("apart", [True, False])
def test_a_sound_of_a_labelled_corpus_is_refused_whatever_is_declared(apart: bool) -> None:
    said = refused(corpus("more", ["s3", "s4"], "xb"), speakers_apart=apart)

    assert "1 utterances are heard in 'one', 'two' too" in said
    assert "more/u1.wav is heard again as 'u1' of 'one'" in said
    assert "problems: set-aside" in said
    assert ("not apart as speakers_apart declares" in said) is apart


def test_sounds_of_a_labelled_corpus_are_set_aside_and_told() -> None:
    before = corpus("more", ["s3", "s4", "s5"], "xbc")
    after = kept_apart(before, section(problems="set-aside"), labelled=LABELLED)

    assert after.table["id"].tolist() == ["u0"]
    assert [(one.kind, one.id) for one in after.set_aside] == [
        ("duplicate", "u1"),
        ("duplicate", "u2"),
    ]
    assert "every utterance is heard" in refused(corpus("more", ["s3"], "a"), problems="set-aside")


def test_silence_is_nobodys() -> None:
    more = corpus("more", ["s3", "s4"], "xa", silent=(1,))
    assert kept_apart(more, section(), labelled=LABELLED) is more

    quiet = corpus("one", ["s1", "s2"], "ab", silent=(0,))
    heard = corpus("more", ["s3"], "a")
    assert kept_apart(heard, section(), labelled=[quiet]) is heard


def test_of_a_labelled_layout_all_is_heard_and_no_emotion_read(small_emodb: Path) -> None:
    given = EmodbCorpus(kind="emodb", root=str(small_emodb), role="unlabelled")
    found = load_corpus(given)
    report = check_corpus(given)

    assert len(found.table) == 6
    assert set(found.table["emotion"]) == set(found.table["votes"]) == {""}
    assert found.table["agreement"].isna().all()
    assert set(found.table["speaker"]) == {"03", "08"}
    assert found.labels is None
    assert (report.usable, report.listed, report.used) == (True, 6, 6)
    assert (report.emotions, report.crossed) == ({}, {})


def test_of_a_table_only_the_paths_are_needed(tmp_path: Path, write_tone) -> None:
    for place in range(3):
        write_tone(tmp_path / f"{place}.wav", hz=100.0 + 20 * place)
    file = tmp_path / "all.csv"

    def read(text: str, **more: object) -> Corpus:
        file.write_text(text)
        return load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled", **more))

    bare = read("path\n0.wav\n1.wav\n2.wav\n")
    assert bare.table["id"].tolist() == ["0.wav", "1.wav", "2.wav"]
    assert set(bare.table["speaker"]) == {""}
    # cells about labels are not looked at, whatever they hold
    told = "path,talker,emotion,votes,split,agreement\n0.wav,a,joy,?,?,?\n1.wav,b,,,,\n"
    assert set(read(told, speaker_column="talker").table["speaker"]) == {"a", "b"}
    assert set(read(told, speaker_column="talker").table["emotion"]) == {""}
    with pytest.raises(CorpusError, match="has no column 'talker' .speaker_column."):
        read("path\n0.wav\n", speaker_column="talker")
    with pytest.raises(CorpusError, match="has no column 'path'"):
        read("file\n0.wav\n")


def test_copies_in_two_official_parts_do_no_harm_without_labels(tmp_path: Path, write_tone) -> None:
    for name in ("a.wav", "b.wav"):
        write_tone(tmp_path / name)
    file = tmp_path / "all.csv"
    file.write_text("path,speaker,split\na.wav,s1,train\nb.wav,s1,test\n")
    found = load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled"))

    assert len(found.table) == 2


def test_one_emotion_is_enough_where_none_is_read(tmp_path: Path, write_tone) -> None:
    write_tone(tmp_path / "a.wav")
    file = tmp_path / "all.csv"
    file.write_text("path,speaker,emotion\na.wav,s1,joy\n")

    with pytest.raises(CorpusError, match="one emotion only"):
        load_corpus(TableCorpus(kind="table", file=str(file)))
    assert len(load_corpus(TableCorpus(kind="table", file=str(file), role="unlabelled")).table) == 1


def test_a_picture_of_unlabelled_speech_says_so(tmp_path: Path) -> None:
    more = corpus("more", ["", ""], "xy")

    assert stacks(more.table)[1].to_dict() == {"all": {"unlabelled": 2}}
    assert draw(more, tmp_path / "more.svg").stat().st_size > 1000

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from orchestrator.corpora import loading
from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.listing import Listing, Problem, votes_text
from orchestrator.corpora.loading import Prepared, load_corpus, prepare
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import ColumnMap, CorpusSection, EmodbCorpus, SyntheticCorpus


def section(root: Path, **more: object) -> EmodbCorpus:
    return EmodbCorpus(kind="emodb", root=str(root), **more)


def refusal(root: Path, **more: object) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(section(root, **more))
    return str(caught.value)


def prepared_corpus(section: CorpusSection) -> Corpus:
    """As ``load_corpus``, but one emotion will do and problems refuse nothing."""
    corpus = prepare(section).corpus
    assert corpus is not None
    return corpus


def test_labels_rename_merge_and_count_what_is_not_used(small_emodb: Path) -> None:
    corpus = prepared_corpus(section(small_emodb, labels={"anger": "high", "happiness": "high"}))

    assert set(corpus.table["emotion"]) == {"high"}
    assert len(corpus.table) == 4
    assert corpus.not_used == {"neutral": 2}


def test_audio_of_utterances_that_are_not_used_is_not_asked_for(small_emodb: Path) -> None:
    (small_emodb / "wav" / "03a01Nc.wav").write_text("no audio")

    corpus = load_corpus(section(small_emodb, labels={"anger": "anger", "happiness": "joy"}))

    assert len(corpus.table) == 4


def test_label_outside_the_label_set_in_labels(small_emodb: Path) -> None:
    said = refusal(small_emodb, labels={"hapiness": "joy"})

    assert "labels names 'hapiness'" in said
    assert "did you mean 'happiness'?" in said


def test_an_emotion_that_the_corpus_knows_but_lacks_may_be_named(small_emodb: Path) -> None:
    labels = {"anger": "anger", "disgust": "disgust"}

    assert prepared_corpus(section(small_emodb, labels=labels)).emotions == ("anger",)


def test_labels_that_leave_nothing(small_emodb: Path) -> None:
    assert "labels leaves no utterance; the corpus has anger, happiness, neutral" in refusal(
        small_emodb, labels={"disgust": "disgust"}
    )


def test_labels_see_the_emotions_that_a_map_made(small_emodb: Path) -> None:
    arousal = ColumnMap(
        source="emotion", map={"anger": "high", "happiness": "high", "neutral": "low"}
    )

    corpus = prepared_corpus(
        section(small_emodb, columns={"emotion": arousal}, labels={"high": "excited"})
    )

    assert corpus.emotions == ("excited",)
    assert corpus.not_used == {"low": 2}


def test_map_without_a_value_names_column_value_and_count(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"session": ColumnMap(source="speaker", map={"03": "1"})})

    assert said == (
        f"corpus 'emodb' ({small_emodb}): columns.session.map has no value for speaker "
        "'08' (3 utterances); add it to the map"
    )


def test_map_from_an_unknown_column(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"session": ColumnMap(source="speker", map={})})

    assert "columns.session.source: there is no column 'speker'; did you mean 'speaker'?" in said


def test_map_to_a_column_that_nothing_reads(small_emodb: Path) -> None:
    said = refusal(small_emodb, columns={"sesion": ColumnMap(source="speaker", map={})})

    assert "columns.sesion cannot be made by a map; did you mean 'session'?" in said


def test_maps_read_the_columns_as_listed_whatever_their_order(small_emodb: Path) -> None:
    columns = {
        "speaker": ColumnMap(source="speaker", map={"03": "x", "08": "y"}),
        "session": ColumnMap(source="speaker", map={"03": "1", "08": "2"}),
    }

    table = load_corpus(section(small_emodb, columns=columns)).table

    assert table["speaker"].tolist() == ["x", "x", "x", "y", "y", "y"]
    assert table["session"].tolist() == ["1", "1", "1", "2", "2", "2"]


def test_all_bad_files_are_counted_by_kind_and_the_first_three_named(small_emodb: Path) -> None:
    wav = small_emodb / "wav"
    for stem in ("03a01Fa", "03a01Nc", "03a01Wa"):
        (wav / f"{stem}.wav").write_text("no audio")
    (wav / "08a01Fd.wav").write_bytes(b"")

    said = refusal(small_emodb)

    assert "4 of 6 utterances cannot be used (3 unreadable, 1 zero-length)" in said
    assert "03a01Wa.wav is no readable audio" in said
    assert "08a01Fd.wav" not in said
    assert "; and 1 more. Mend these files" in said


def test_nothing_usable_at_all_is_one_clear_error(small_emodb: Path) -> None:
    for file in (small_emodb / "wav").iterdir():
        file.write_bytes(b"")

    assert "6 of 6 utterances cannot be used (6 zero-length)" in refusal(small_emodb)


def test_maps_and_labels_work_on_the_built_in_corpus() -> None:
    corpus = load_corpus(
        SyntheticCorpus(
            kind="synthetic",
            sessions=2,
            utterances_per_emotion=1,
            name="demo",
            labels={"anger": "high", "happiness": "high", "sadness": "low"},
        )
    )

    assert corpus.name == "demo"
    assert corpus.emotions == ("high", "low")
    assert corpus.not_used == {"neutral": 4}


FATAL = ("missing", "not-finite", "too-short", "truncated", "unreadable", "zero-length")
ACCEPTABLE = (
    "clipped",
    "dc-offset",
    "duplicate",
    "far-longer",
    "far-shorter",
    "silent",
    "wrong-length",
)


def noise(path: Path, *, seed: int, seconds: float = 1.0) -> np.ndarray:
    """Write speech-like loudness without a fault; the seed tells files apart."""
    samples = 0.1 * np.random.default_rng(seed).normal(size=round(16000 * seconds)).clip(-4, 4)
    write(path, samples)
    return samples


def write(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 16000, subtype="FLOAT")


def plant(folder: Path) -> dict[str, list[str]]:
    """Twelve good files and one or more with each fault; the names by fault."""
    folder.mkdir()
    good = [noise(folder / f"good{place}.wav", seed=place) for place in range(12)]
    noise(folder / "truncated.wav", seed=20)
    whole = (folder / "truncated.wav").read_bytes()
    (folder / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "zero-length.wav").write_bytes(b"")
    (folder / "unreadable.wav").write_text("no audio")
    noise(folder / "too-short.wav", seed=21, seconds=0.05)
    write(folder / "not-finite.wav", np.where(np.arange(16000) == 7, np.nan, good[0]))
    write(folder / "silent.wav", np.zeros(16000))
    # Another speaker is as silent: no copy of anything.
    write(folder / "silent2.wav", np.zeros(16000))
    write(folder / "clipped.wav", np.clip(10 * good[0], -1, 1))
    write(folder / "dc-offset.wav", good[0] + 0.2)
    noise(folder / "far-longer.wav", seed=22, seconds=7.0)
    noise(folder / "far-shorter.wav", seed=23, seconds=0.15)
    noise(folder / "wrong-length.wav", seed=24, seconds=3.5)
    write(folder / "duplicate.wav", good[1])
    return {
        **{kind: [kind] for kind in (*FATAL, *ACCEPTABLE)},
        "silent": ["silent", "silent2"],
        "duplicate": ["duplicate", "good1"],
        "strange name": ["strange name"],
        "no-speaker": ["no-speaker"],
        "no-emotion": ["no-emotion"],
    }


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A corpus with every fault, read in place of any: the ids by fault."""
    faults = plant(tmp_path / "audio")
    for name in ("no-speaker", "no-emotion"):
        noise(tmp_path / "audio" / f"{name}.wav", seed=30)
    ids = [f"good{place}" for place in range(12)]
    ids += sorted({one for several in faults.values() for one in several} - {"strange name"})
    ids = list(dict.fromkeys(ids))
    rows = [
        {
            "id": one,
            "path": str(tmp_path / "audio" / f"{one}.wav"),
            "speaker": {"no-speaker": "", "duplicate": "other", "silent2": "other"}.get(one, "x"),
            "emotion": {"no-emotion": "", "good11": "fear"}.get(one, "joy"),
            "stated": 1.0 if one in ("wrong-length", "good2") else float("nan"),
        }
        for one in ids
    ]
    strange = Problem(kind="strange name", text="strange name.wav: what a name")
    listing = Listing(
        table=pd.DataFrame(rows),
        source=FileSource(),
        place="a place",
        labels={"joy": "joy"},
        emotions=("fear", "joy"),
        said=("joy only",),
        not_used={"whispered": 5},
        problems=(strange,),
        remarks=("odd",),
    )
    monkeypatch.setattr(loading, "list_corpus", lambda section: listing)
    return faults


ANY = EmodbCorpus(kind="emodb", root="planted")


def by_kind(problems: tuple[Problem, ...]) -> dict[str, list[str]]:
    return {
        kind: sorted(one.id or one.kind for one in problems if one.kind == kind)
        for kind in {one.kind for one in problems}
    }


def assert_adds_up(prepared: Prepared) -> None:
    """Law 8: nothing disappears from the totals."""
    assert prepared.corpus is not None
    used, aside = set(prepared.corpus.table["id"]), {one.id for one in prepared.problems if one.id}
    assert used.isdisjoint(aside)
    assert prepared.listed == (
        prepared.used + sum(prepared.not_used.values()) + len(prepared.corpus.set_aside)
    )
    assert prepared.set_aside == len(prepared.corpus.set_aside)


def test_every_fault_is_named_with_its_file_and_counted(planted: dict[str, list[str]]) -> None:
    prepared = prepare(ANY)

    assert by_kind(prepared.problems) | by_kind(prepared.accepted) == planted
    assert set(by_kind(prepared.accepted)) == {"clipped", "dc-offset"}
    for problem in prepared.problems:
        assert (problem.id or "strange name") in problem.text
    # 12 good ones, two of them no more so; clipped and dc-offset are accepted.
    assert prepared.used == 12 - 1 - 1 + 2
    assert prepared.not_used == {"fear": 1, "whispered": 5}
    # 12 good ones; of faults 13 kinds with one file each and another silent one; two incomplete
    # rows; a strange name; five whispered.
    assert prepared.listed == 12 + 13 + 1 + 2 + 1 + 5
    assert_adds_up(prepared)


def test_refused_with_counts_names_and_mends(planted: dict[str, list[str]]) -> None:
    with pytest.raises(CorpusError) as caught:
        load_corpus(ANY)

    said = str(caught.value)
    assert "16 of 28 utterances cannot be used (2 silent, 2 duplicate, 1 strange name, " in said
    for kind in planted.keys() - {"clipped", "dc-offset"}:
        assert f" {kind}" in said
    assert "strange name.wav: what a name; " in said
    assert "or go on without them (problems: set-aside)" in said
    assert "accept" not in said


def test_set_aside_goes_on_without_them_and_keeps_the_list(planted: dict[str, list[str]]) -> None:
    corpus = prepared_corpus(ANY.model_copy(update={"problems": "set-aside"}))

    assert sorted(corpus.table["id"]) == sorted(
        {f"good{place}" for place in range(11)} - {"good1"} | {"clipped", "dc-offset"}
    )
    assert len(corpus.set_aside) == 16
    assert {one.id for one in corpus.set_aside if one.kind == "silent"} == {"silent", "silent2"}
    assert corpus.not_used == {"fear": 1, "whispered": 5}
    assert (corpus.labels, corpus.said) == ({"joy": "joy"}, ("joy only",))


def test_what_is_accepted_is_used_and_named(planted: dict[str, list[str]]) -> None:
    prepared = prepare(ANY.model_copy(update={"accept": ACCEPTABLE}))

    assert set(by_kind(prepared.accepted)) == set(ACCEPTABLE)
    assert by_kind(prepared.accepted)["duplicate"] == ["duplicate", "good1"]
    assert set(by_kind(prepared.problems)) == planted.keys() - set(ACCEPTABLE)
    assert_adds_up(prepared)


def test_what_is_not_accepted_is_set_aside_too(planted: dict[str, list[str]]) -> None:
    prepared = prepare(ANY.model_copy(update={"accept": ()}))

    assert prepared.accepted == ()
    assert by_kind(prepared.problems) == planted
    assert_adds_up(prepared)


def test_an_utterance_with_several_problems_is_set_aside_once(
    tmp_path: Path, planted: dict[str, list[str]]
) -> None:
    clipped_and_long = np.clip(2 * np.random.default_rng(9).normal(size=16000 * 20), -1, 1)
    write(tmp_path / "audio" / "wrong-length.wav", clipped_and_long)

    prepared = prepare(ANY)

    kinds = [one.kind for one in prepared.problems if one.id == "wrong-length"]
    assert sorted(kinds) == ["clipped", "far-longer", "wrong-length"]
    assert prepared.corpus is not None
    (kept,) = [one for one in prepared.corpus.set_aside if one.id == "wrong-length"]
    # The kind that is not accepted, and all that is known.
    assert kept.kind == "far-longer"
    assert all(said in kept.text for said in ("clipped", "20.00 s, more", "its corpus says"))
    assert_adds_up(prepared)


def test_where_every_fault_can_be_accepted_the_refusal_says_how(small_emodb: Path) -> None:
    wav = small_emodb / "wav"
    (wav / "08a01Na.wav").write_bytes((wav / "03a01Nc.wav").read_bytes())

    assert "or use them as they are (accept: [clipped, dc-offset, duplicate])" in refusal(
        small_emodb
    )
    assert len(load_corpus(section(small_emodb, accept=("duplicate",))).table) == 6
    assert len(load_corpus(section(small_emodb, problems="set-aside")).table) == 4


def test_setting_everything_aside_leaves_no_corpus(small_emodb: Path) -> None:
    for file in (small_emodb / "wav").iterdir():
        file.write_bytes(b"")

    said = refusal(small_emodb, problems="set-aside")

    assert "6 of 6 utterances cannot be used (6 zero-length)" in said
    assert "set-aside" not in said


def test_copies_of_one_speaker_are_remarked(small_emodb: Path) -> None:
    wav = small_emodb / "wav"
    (wav / "08a01Fx.wav").write_bytes((wav / "08a01Fd.wav").read_bytes())

    prepared = prepare(section(small_emodb))

    assert prepared.problems == ()
    assert any("'08a01Fd' = '08a01Fx'" in remark for remark in prepared.remarks)


def test_duplicates_are_looked_for_among_what_is_used(small_emodb: Path) -> None:
    wav = small_emodb / "wav"
    (wav / "08a01Na.wav").write_bytes((wav / "03a01Fa.wav").read_bytes())

    assert prepare(section(small_emodb, labels={"happiness": "joy"})).problems == ()


def test_a_listing_with_audio_already_heard_is_not_read() -> None:
    prepared = prepare(SyntheticCorpus(kind="synthetic", sessions=2))

    assert (prepared.problems, prepared.accepted, prepared.remarks) == ((), (), ())
    assert prepared.listed == prepared.used == 96


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a corpus of four voted utterances listed."""
    votes = [{"joy": 2, "mirth": 1, "fear": 1}, {"mirth": 3}, {"fear": 1, "joy": 3}, {}]
    table = pd.DataFrame(
        {
            "id": list("abcd"),
            "path": list("abcd"),
            "speaker": "x",
            "emotion": ["joy", "mirth", "fear", "joy"],
            "votes": [votes_text(one) for one in votes],
            "agreement": [float("nan"), 0.9, float("nan"), float("nan")],
            "duration": 1.0,
            "content": list("1234"),
        }
    )
    whole = Listing(
        table=table, source=FileSource(), place="here", emotions=("fear", "joy", "mirth", "rage")
    )

    def give(**more: object) -> None:
        monkeypatch.setattr(loading, "list_corpus", lambda section: replace(whole, **more))

    return give


def told(corpus) -> list[tuple[str, str, dict[str, float], float]]:
    return [
        (row["id"], row["emotion"], json.loads(row["votes"] or "{}"), round(row["agreement"], 4))
        for _, row in corpus.table.fillna({"agreement": -1.0}).iterrows()
    ]


def test_votes_without_labels(listed: Callable[..., None]) -> None:
    listed()

    assert told(load_corpus(ANY)) == [
        ("a", "joy", {"joy": 2, "mirth": 1, "fear": 1}, 0.5),
        ("b", "mirth", {"mirth": 3}, 0.9),
        ("c", "fear", {"fear": 1, "joy": 3}, 0.25),
        ("d", "joy", {}, -1.0),
    ]


MERGED = {"joy": "happy", "mirth": "happy"}


def test_votes_are_merged_like_labels_whoever_gives_the_map(listed: Callable[..., None]) -> None:
    expected = [
        ("a", "happy", {"happy": 3}, 0.75),
        ("b", "happy", {"happy": 3}, 0.9),
        ("d", "happy", {}, -1.0),
    ]
    listed()
    assert told(prepared_corpus(ANY.model_copy(update={"labels": MERGED}))) == expected

    listed(labels=MERGED)
    corpus = prepared_corpus(ANY)
    assert told(corpus) == expected
    assert (corpus.labels, corpus.not_used) == (MERGED, {"fear": 1})


def test_labels_of_the_section_replace_those_of_the_listing(listed: Callable[..., None]) -> None:
    listed(labels=MERGED, not_used={"fear": 2})

    corpus = prepared_corpus(ANY.model_copy(update={"labels": {"mirth": "mirth"}}))

    assert corpus.labels == {"mirth": "mirth"}
    # Two that the corpus's options left out, and the one listed.
    assert corpus.not_used == {"fear": 3, "joy": 2}


def test_an_emotion_map_replaces_the_label_set_and_carries_votes(
    listed: Callable[..., None],
) -> None:
    listed(labels={"joy": "joy"})
    arousal = ColumnMap(source="emotion", map={"joy": "high", "mirth": "high", "fear": "low"})

    corpus = load_corpus(ANY.model_copy(update={"columns": {"emotion": arousal}}))

    assert corpus.labels == {"joy": "high", "mirth": "high", "fear": "low"}
    assert told(corpus) == [
        ("a", "high", {"high": 3, "low": 1}, 0.75),
        ("b", "high", {"high": 3}, 0.9),
        ("c", "low", {"high": 3, "low": 1}, 0.25),
        ("d", "high", {}, -1.0),
    ]


def test_labels_come_after_an_emotion_map(listed: Callable[..., None]) -> None:
    listed()
    arousal = ColumnMap(source="emotion", map={"joy": "high", "mirth": "high", "fear": "low"})
    labels = {"high": "excited"}

    corpus = prepared_corpus(
        ANY.model_copy(update={"columns": {"emotion": arousal}, "labels": labels})
    )

    assert corpus.labels == {"joy": "excited", "mirth": "excited"}
    assert corpus.not_used == {"low": 1}


def test_words_that_an_emotion_map_empties_are_not_learned(listed: Callable[..., None]) -> None:
    listed()
    some = ColumnMap(source="emotion", map={"joy": "happy", "mirth": "", "fear": "fear"})
    section = ANY.model_copy(update={"columns": {"emotion": some}, "problems": "set-aside"})

    corpus = load_corpus(section)

    assert corpus.labels == {"joy": "happy", "fear": "fear"}
    assert [(one.kind, one.id) for one in corpus.set_aside] == [("no-emotion", "b")]
    # 2 of 4, 1 of 4: votes for mirth stay in the sum.
    assert told(corpus)[:2] == [
        ("a", "happy", {"happy": 2, "fear": 1}, 0.5),
        ("c", "fear", {"happy": 3, "fear": 1}, 0.25),
    ]


def test_emotions_made_from_another_column_are_no_merge_and_votes_say_nothing_of_them(
    listed: Callable[..., None],
) -> None:
    listed()
    loud = ColumnMap(source="id", map={"a": "loud", "b": "loud", "c": "soft", "d": "soft"})

    corpus = load_corpus(ANY.model_copy(update={"columns": {"emotion": loud}}))

    assert corpus.labels is None
    assert [row[2:] for row in told(corpus)] == [({}, -1.0), ({}, 0.9), ({}, -1.0), ({}, -1.0)]


@pytest.mark.parametrize("column", ["gender", "dialogue", "split", "text"])
def test_columns_that_a_map_can_make(small_emodb: Path, column: str) -> None:
    values = {"gender": ("female", "male"), "split": ("train", "test")}.get(column, ("a", "b"))
    how = ColumnMap(source="speaker", map=dict(zip(("03", "08"), values, strict=True)))

    table = load_corpus(section(small_emodb, columns={column: how})).table

    assert table[column].tolist() == [values[0]] * 3 + [values[1]] * 3


@pytest.mark.parametrize(("column", "value"), [("gender", "femal"), ("split", "tset")])
def test_words_that_such_a_column_cannot_hold(small_emodb: Path, column: str, value: str) -> None:
    how = ColumnMap(source="speaker", map={"03": value, "08": ""})

    said = refusal(small_emodb, columns={column: how})

    assert f"columns.{column}.map gives {value!r}; did you mean" in said


def test_a_root_that_is_not_there_says_where_to_get_one(tmp_path: Path) -> None:
    assert "How to obtain the corpus: " in refusal(tmp_path / "nowhere")
    assert "How to obtain the corpus: " not in refusal(tmp_path)


def test_two_rows_with_one_id(listed: Callable[..., None]) -> None:
    table = pd.DataFrame({"id": ["a", "a"], "path": "p", "speaker": "x", "emotion": "joy"})
    listed(table=table)

    with pytest.raises(CorpusError, match="two utterances have the id 'a'"):
        prepare(ANY)


def test_a_memory_saves_the_second_reading(small_emodb: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = load_corpus(section(small_emodb), memory=tmp_path / "memory")
    second = load_corpus(
        section(small_emodb),
        memory=tmp_path / "memory",
        progress=lambda *now: told.append(now),
    )

    assert told == [(6, 6)]
    assert first.fingerprint == second.fingerprint


def test_the_real_emodb_has_no_problem(emodb_root: Path) -> None:
    prepared = prepare(section(emodb_root))

    assert (prepared.problems, prepared.accepted) == ((), ())
    assert prepared.listed == prepared.used == 535

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.corpora import check, check_corpus, descriptions, loading
from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.documented import Comparison, compared
from orchestrator.corpora.layouts.kinds import KINDS
from orchestrator.corpora.listing import Documented, Listing, Problem
from orchestrator.experiment.corpus import (
    EmodbCorpus,
    IemocapCorpus,
    SyntheticCorpus,
    TableCorpus,
)


def section(root: Path, **more: object) -> EmodbCorpus:
    return EmodbCorpus(kind="emodb", root=str(root), **more)


def test_report_counts_what_can_be_used_and_names_the_rest(small_emodb: Path) -> None:
    (small_emodb / "wav" / "08a01Wa.wav").write_bytes(b"")
    (small_emodb / "wav" / "notes.wav").write_text("no name of EmoDB")

    report = check_corpus(section(small_emodb))

    assert not report.usable
    assert (report.listed, report.used, report.set_aside.utterances) == (7, 5, 2)
    assert report.seconds == pytest.approx(1.25)
    assert report.durations == {"min": 0.25, "median": 0.25, "max": 0.25}
    assert report.speakers == {"03": 3, "08": 2}
    assert report.sessions == report.splits == report.crossed == {}
    assert report.emotions == {"anger": 1, "happiness": 2, "neutral": 2}
    assert report.texts == 1
    assert report.set_aside.counts["zero-length"] == 1
    assert sum(report.set_aside.counts.values()) == 2
    (empty,) = [one for one in report.set_aside.found if one.kind == "zero-length"]
    assert empty.id == "08a01Wa"
    assert "08a01Wa.wav is empty" in empty.text
    assert report.accepted.utterances == 0
    about = KINDS["emodb"].about
    assert (report.licence, report.obtain) == (about.licence, about.obtain)


def test_what_the_policy_sets_aside_leaves_a_usable_corpus(small_emodb: Path) -> None:
    (small_emodb / "wav" / "08a01Wa.wav").write_bytes(b"")

    report = check_corpus(section(small_emodb, problems="set-aside"))

    assert report.usable
    assert (report.policy, report.listed, report.used) == ("set-aside", 6, 5)
    assert report.set_aside.counts == {"zero-length": 1}


def test_a_report_is_plain_json(small_emodb: Path) -> None:
    (small_emodb / "wav" / "08a01Wa.wav").write_bytes(b"")

    told = json.loads(json.dumps(asdict(check_corpus(section(small_emodb)))))

    assert told["set_aside"]["utterances"] == 1
    assert told["set_aside"]["found"][0].keys() == {"id", "kind", "text"}
    assert told["documented"][0] == {
        "what": "utterances",
        "value": "",
        "documented": 535,
        "found": 6,
        "ok": False,
    }


def test_a_part_of_emodb_differs_from_what_is_documented(small_emodb: Path) -> None:
    report = check_corpus(section(small_emodb, labels={"anger": "anger"}))

    assert report.usable
    assert (report.listed, report.used, report.not_used) == (6, 2, {"happiness": 2, "neutral": 2})
    assert report.differences[0] == "6 utterances, 535 as documented"
    # Before labels.
    assert "2 utterances of happiness, 71 as documented" in report.differences


def test_report_on_a_corpus_of_which_nothing_can_be_used(small_emodb: Path) -> None:
    for file in (small_emodb / "wav").iterdir():
        file.write_bytes(b"")

    report = check_corpus(section(small_emodb, problems="set-aside"))

    assert (report.usable, report.used, report.seconds) == (False, 0, 0.0)
    assert (report.fingerprint, report.durations, report.agreement) == ("", {}, None)
    assert report.set_aside.counts == {"zero-length": 6}


def test_words_of_a_transcribed_corpus_are_counted_by_utterances(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    for place in range(4):
        write_tone(tmp_path / f"{place}.wav", hz=100.0 + 20 * place)
    file = tmp_path / "all.csv"
    said = ("Oh no, no!", "no", "...", "oh")
    rows = [f'{place}.wav,s1,"{words}",joy' for place, words in enumerate(said)]
    file.write_text("\n".join(["path,speaker,transcript,emotion", *rows, ""]))
    given = TableCorpus(kind="table", file=str(file), role="transcribed", problems="set-aside")

    report = check_corpus(given)

    assert report.usable
    assert report.words == {"no": 2, "oh": 2}
    assert (report.emotions, report.crossed) == ({}, {})
    assert report.set_aside.counts == {"no-transcript": 1}
    assert check_corpus(given.model_copy(update={"role": "labelled"})).words == {}


def test_report_on_the_built_in_corpus() -> None:
    report = check_corpus(SyntheticCorpus(kind="synthetic", sessions=3, utterances_per_emotion=2))

    assert report.usable
    assert report.sessions == {"1": 16, "2": 16, "3": 16}
    assert report.emotions == {"anger": 12, "happiness": 12, "neutral": 12, "sadness": 12}
    assert report.crossed["2"] == {"anger": 4, "happiness": 4, "neutral": 4, "sadness": 4}
    assert report.documented == report.differences == ()


def test_the_real_emodb_is_as_documented(emodb_root: Path) -> None:
    report = check_corpus(section(emodb_root))

    assert report.usable
    assert report.differences == ()
    assert (report.listed, report.used, report.set_aside.utterances) == (535, 535, 0)
    assert len(report.speakers) == report.texts == 10
    assert report.accepted.counts == {}


def listing(*rows: tuple[str, str], **more: object) -> Listing:
    table = pd.DataFrame(list(rows), columns=["session", "emotion"])
    ids = [f"u{place}" for place in range(len(table))]
    table = table.assign(
        id=ids, path=ids, speaker="x", duration=1.0, content=ids, agreement=[0.5, float("nan")]
    )
    return Listing(table=table, source=FileSource(), place="here", **more)


def test_documented_numbers_and_those_found() -> None:
    documented = Documented(
        utterances=3,
        counts={"emotion": {"joy": 2, "fear": 1}, "session": {"1": 1}, "split": {"test": 3}},
        crossed={("session", "emotion"): {("1", "joy"): 1, ("2", "joy"): 1}},
    )

    rows = compared(listing(("1", "joy"), ("2", "rage")), documented)

    assert rows == (
        Comparison("utterances", "", 3, 2, ok=False),
        Comparison("emotions", "", 2, 2, ok=True),
        Comparison("emotion", "joy", 2, 1, ok=False),
        Comparison("emotion", "fear", 1, 0, ok=False),
        # All of the corpus is accounted for without any rage.
        Comparison("emotion", "rage", 0, 1, ok=False),
        # Only a part of the sessions is documented, and no column tells of splits.
        Comparison("session", "1", 1, 1, ok=True),
        Comparison("session x emotion", "1, joy", 1, 1, ok=True),
        Comparison("session x emotion", "2, joy", 1, 0, ok=False),
    )


def test_documents_are_compared_with_the_whole_whatever_the_subset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def give(wanted: IemocapCorpus) -> Listing:
        asked.append(f"{wanted.subset} {wanted.label_set}")
        both = listing(("1", "neutral"), ("2", "anger"))
        if wanted.subset == "all":
            return both
        cut = listing(("1", "neutral"), ("2", "anger"), not_used={"scripted": 1})
        return Listing(**{**cut.__dict__, "table": both.table[:1]})

    monkeypatch.setattr(loading, "list_corpus", give)
    monkeypatch.setattr(check, "list_corpus", give)

    report = check_corpus(
        IemocapCorpus(kind="iemocap", root="there", subset="improvised", label_set="6")
    )

    assert asked == ["improvised 6", "all 4"]
    assert (report.listed, report.used, report.not_used) == (2, 1, {"scripted": 1})
    assert report.documented[0].found == 2
    assert report.agreement == 0.5


def test_every_kind_is_described() -> None:
    assert descriptions().keys() == KINDS.keys()
    for about in descriptions().values():
        assert all(about[key] for key in ("summary", "licence", "obtain"))


def test_a_problem_of_the_listing_counts_as_one_utterance(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = (Problem(kind="odd", text="row 7"), Problem(kind="odd", text="row 8"))
    given = listing(("1", "joy"), ("2", "joy"), problems=strange)
    monkeypatch.setattr(loading, "list_corpus", lambda section: given)

    report = check_corpus(SyntheticCorpus(kind="synthetic", problems="set-aside"))

    assert (report.listed, report.used) == (4, 2)
    assert (report.set_aside.utterances, report.set_aside.counts) == (2, {"odd": 2})

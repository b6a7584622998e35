from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpora import CORPUS_KINDS, check_corpus, corpus_section
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import EmodbCorpus, SyntheticCorpus, TableCorpus


def test_report_counts_what_can_be_used_and_names_the_rest(small_emodb: Path) -> None:
    (small_emodb / "wav" / "08a01Wa.wav").write_bytes(b"")

    report = check_corpus(EmodbCorpus(kind="emodb", root=str(small_emodb)))

    assert not report.usable
    assert report.utterances == 5
    assert report.seconds == pytest.approx(1.25)
    assert report.speakers == {"03": 3, "08": 2}
    assert report.sessions == {}
    assert report.emotions == {"anger": 1, "happiness": 2, "neutral": 2}
    assert len(report.problems) == 1
    assert "08a01Wa.wav is empty" in report.problems[0]


def test_a_part_of_emodb_differs_from_what_is_distributed(small_emodb: Path) -> None:
    report = check_corpus(EmodbCorpus(kind="emodb", root=str(small_emodb)))

    assert report.usable
    assert report.differences[:3] == (
        "6 utterances, 535 as distributed",
        "2 speakers, 10 as distributed",
        "2 utterances of anger, 127 as distributed",
    )


def test_report_on_a_corpus_of_which_nothing_can_be_used(small_emodb: Path) -> None:
    for file in (small_emodb / "wav").iterdir():
        file.write_bytes(b"")

    report = check_corpus(EmodbCorpus(kind="emodb", root=str(small_emodb)))

    assert (report.usable, report.utterances, report.seconds) == (False, 0, 0.0)
    assert report.fingerprint == ""
    assert len(report.problems) == 6


def test_report_on_the_built_in_corpus() -> None:
    report = check_corpus(SyntheticCorpus(kind="synthetic", sessions=3, utterances_per_emotion=2))

    assert report.usable
    assert report.sessions == {"1": 16, "2": 16, "3": 16}
    assert report.emotions == {"anger": 12, "happiness": 12, "neutral": 12, "sadness": 12}
    assert report.differences == ()


@pytest.mark.parametrize(
    ("kind", "root", "made"),
    [
        ("emodb", "there", EmodbCorpus(kind="emodb", root="there")),
        ("table", "t.csv", TableCorpus(kind="table", file="t.csv")),
        ("synthetic", None, SyntheticCorpus(kind="synthetic")),
    ],
)
def test_section_from_kind_and_place(kind: str, root: str | None, made: object) -> None:
    assert corpus_section(kind, root) == made
    assert kind in CORPUS_KINDS


@pytest.mark.parametrize(
    ("kind", "root", "said"),
    [
        ("emdb", "there", "no kind of corpus 'emdb'; did you mean 'emodb'?"),
        ("emodb", None, "needs a place; give the folder"),
        ("table", None, "needs a place; give the CSV or Parquet file"),
        ("synthetic", "there", "is built in and has no root, not 'there'"),
    ],
)
def test_section_from_a_wrong_kind_or_place(kind: str, root: str | None, said: str) -> None:
    with pytest.raises(CorpusError, match=said.replace("?", r"\?")):
        corpus_section(kind, root)

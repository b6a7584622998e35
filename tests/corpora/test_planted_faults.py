"""Every fault of audio and of MELD copies, planted: named with its file, counted, nothing lost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora import check_corpus, load_corpus
from orchestrator.corpora.check import CorpusReport
from orchestrator.errors import CorpusError
from orchestrator.experiment.corpus import MeldCorpus, TableCorpus
from tests.corpora.trees_meld import CLIPS, Row, small_meld, write_clip, write_noise, write_rows

RATE = 16000
PLANTED = {
    "missing": 1,
    "zero-length": 1,
    "unreadable": 1,
    "truncated": 1,
    "too-short": 1,
    "not-finite": 1,
    "silent": 1,
    "far-longer": 1,
    "far-shorter": 1,
    "wrong-length": 1,
    # one sound under two speakers: both; one in train and test: that in train
    "duplicate": 3,
}
REMARKED = {"clipped": 1, "dc-offset": 1}


def noise(seed: int, seconds: float = 2.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Thirty good files, and one or more of each fault."""
    folder = tmp_path / "speech"
    folder.mkdir()
    rows: list[dict[str, str]] = []

    def add(name: str, audio: np.ndarray | None, **cells: str) -> Path:
        path = folder / f"{name}.wav"
        if audio is not None:
            kind = "FLOAT" if not np.isfinite(audio).all() else "PCM_16"
            soundfile.write(path, audio, RATE, subtype=kind)
        plain = {"id": name, "path": path.name, "speaker": "s1", "emotion": "joy"}
        rows.append(plain | {"split": "train", "stated": ""} | cells)
        return path

    for number in range(30):
        emotion = ("joy", "anger")[number % 2]
        add(f"good{number:02}", noise(number), speaker=f"s{number % 3}", emotion=emotion)
    add("gone", None)
    add("empty", None)
    (folder / "empty.wav").write_bytes(b"")
    add("text", None)
    (folder / "text.wav").write_text("no sound\n" * 50)
    cut = add("cut", noise(100))
    cut.write_bytes(cut.read_bytes()[:20000])
    add("short", noise(101, 0.05))
    add("nan", np.where(np.arange(2 * RATE) == 7, np.nan, noise(102)))
    add("silent", np.zeros(2 * RATE))
    add("minutes", noise(103, 70.0))
    add("blink", noise(104, 0.11))
    add("clipped", np.clip(40.0 * noise(105), -1.0, 1.0))
    add("offset", noise(106) + 0.05)
    add("twice-a", noise(107), speaker="s1")
    add("twice-b", noise(107), speaker="s2")
    add("again-train", noise(108), split="train")
    add("again-test", noise(108), split="test")
    file = folder / "all.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def section(file: Path, **options: object) -> TableCorpus:
    return TableCorpus.model_validate({"kind": "table", "file": str(file), **options})


def adds_up(report: CorpusReport) -> bool:
    left = sum(report.not_used.values()) + report.set_aside.utterances
    return report.listed == report.used + left


def test_every_fault_is_named_with_its_file_and_counted(faulty: Path) -> None:
    report = check_corpus(section(faulty))
    expected = {kind: n for kind, n in PLANTED.items() if kind != "wrong-length"}

    assert report.set_aside.counts == expected
    assert report.accepted.counts == REMARKED
    for problem in (*report.set_aside.found, *report.accepted.found):
        assert str(faulty.parent / f"{problem.id}.wav") in problem.text
    assert (report.listed, report.used) == (45, 33)
    assert adds_up(report)


def test_setting_aside_keeps_the_list_with_the_corpus(faulty: Path) -> None:
    corpus = load_corpus(section(faulty, problems="set-aside"))

    aside = {problem.id: problem.kind for problem in corpus.set_aside}
    assert aside == {
        "again-train": "duplicate",
        "blink": "far-shorter",
        "cut": "truncated",
        "empty": "zero-length",
        "gone": "missing",
        "minutes": "far-longer",
        "nan": "not-finite",
        "short": "too-short",
        "silent": "silent",
        "text": "unreadable",
        "twice-a": "duplicate",
        "twice-b": "duplicate",
    }
    assert len(corpus.table) + len(aside) == 45
    assert {problem.id: problem.kind for problem in corpus.accepted} == {
        "clipped": "clipped",
        "offset": "dc-offset",
    }


def test_refusing_counts_by_kind(faulty: Path) -> None:
    with pytest.raises(CorpusError, match="12 of 45 utterances cannot be used") as told:
        load_corpus(section(faulty))

    assert "3 duplicate" in str(told.value)
    assert "problems: set-aside" in str(told.value)


def test_what_is_accepted_is_used_and_named(faulty: Path) -> None:
    accept = ["silent", "far-longer", "duplicate"]
    corpus = load_corpus(section(faulty, problems="set-aside", accept=accept))

    assert {"silent", "minutes", "twice-a", "twice-b", "again-train"} <= set(corpus.table["id"])
    # naming kinds replaces the list, so what was accepted before is set aside now
    assert {"clipped", "offset"} <= {problem.id for problem in corpus.set_aside}


@pytest.fixture
def meld(tmp_path: Path) -> Path:
    """MELD with the faults its real copies are known for, clips as mp4."""
    root = small_meld(tmp_path / "meld", seconds=2.0)
    train = [
        Row(number, turn, f"words {number} {turn}")
        for number in range(100, 103)
        for turn in range(4)
    ]
    train += [Row(110, 7, "is missing"), Row(125, 3, "is corrupt"), Row(38, 4, "goes on and on")]
    write_rows(root, "train", train)
    for place, row in enumerate(train):
        clip = root / CLIPS["train"] / f"dia{row.dialogue}_utt{row.utterance}.mp4"
        if row.dialogue == 110:
            continue
        seconds = 100.0 if row.dialogue == 38 else 2.0
        write_clip(clip, hz=(200.0 + 10 * place,), seconds=seconds, picture=False)
        if row.dialogue == 125:
            clip.write_bytes(clip.read_bytes()[:64] + b"\0" * 200)
    (root / CLIPS["test"] / "final_videos_testdia0_utt0.mp4").write_bytes(b"a leftover")
    write_noise(root / CLIPS["test"] / "dia77_utt0.wav", seed=77, seconds=2.0)
    return root


def test_the_known_faults_of_meld_are_found_by_checks(meld: Path) -> None:
    report = check_corpus(MeldCorpus(kind="meld", root=str(meld)))

    kinds = {problem.id: problem.kind for problem in report.set_aside.found}
    assert kinds.pop("train-dia110_utt7") == "missing"
    assert kinds.pop("train-dia125_utt3") in ("unreadable", "truncated")
    assert kinds.pop("train-dia38_utt4") in ("far-longer", "wrong-length")
    assert kinds == {}
    assert any("final_videos_testdia0_utt0.mp4" in remark for remark in report.remarks)
    assert adds_up(report)
    splits = report.splits
    assert splits["test"] == 4

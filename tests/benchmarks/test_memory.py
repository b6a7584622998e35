"""The benchmark of memory, and what it is for: a fold run grows with its batch, not its corpus."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks.memory as memory
from benchmarks.memory import FoldRun, Generated, main, watched
from orchestrator.errors import InputError

MIB = 2**20
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@ON_LINUX
@pytest.mark.parametrize("teacher", memory.TEACHERS)
def test_private_memory_does_not_grow_with_the_corpus(tmp_path: Path, teacher: str) -> None:
    private, written = [], []
    for size in (200, 2500):
        corpus = Generated(str(tmp_path / str(size)), size, frames=200)
        written.append(corpus.write())
        if not private:
            FoldRun(corpus, teacher, batch=8)()
        private.append(FoldRun(corpus, teacher, batch=4)()[0])
    more = written[1] - written[0]

    # some 90 MiB are read, most of them several times
    assert more > 80 * MIB
    assert private[1] - private[0] < 0.2 * more


@ON_LINUX
def test_what_is_kept_for_a_moment_is_seen() -> None:
    with watched() as seen:
        before = len(seen)
        held = np.ones(16 * MIB, dtype=np.float64)
        while len(seen) < before + 2:
            pass
        del held

    assert max(one for one, _ in seen) - seen[0][0] >= 120 * MIB


@ON_LINUX
def test_the_table_says_what_was_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "TEACHERS", ("frozen",))
    file = tmp_path / "m.json"
    asked = ["--utterances", "12", "--batch", "4", "--frames", "20", "--json", str(file)]

    assert main([*asked, "--folder", str(tmp_path)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["teacher"] for row in rows] == ["frozen"]
    assert {(row["utterances"], row["batch"], row["frames"]) for row in rows} == {(12, 4, 20)}
    # 76 utterances of some 20 frames of 40 bins, and 7 x 256 numbers each
    assert {round(row["corpus"], 1) for row in rows} == {0.7}
    assert "| frozen | 12 | 4 |" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_numbers_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_elsewhere_it_says_that_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere") / name.strip("/"))
    with pytest.raises(InputError, match="on Linux only"):
        memory.resident()

"""The benchmark of what methods cost: it trains every system, beside the distilled one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.methods import main
from tests import small

ABLATIONS = "evaluate.ablations={curriculum: {recipe.curriculum.kind: data}}"


def test_every_student_is_timed_beside_the_distilled_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small.write(tmp_path)
    asked = [str(file), ABLATIONS, "--epochs", "1", "--turns", "2", "--json", f"{tmp_path}/m.json"]

    assert main(asked) == 0

    rows = json.loads((tmp_path / "m.json").read_text())["rows"]
    assert [row["system"] for row in rows] == ["student-alone", "distilled", "curriculum"]
    assert [row["ratio"] for row in rows if row["system"] == "distilled"] == [1.0]
    assert all(row["lowest"] <= row["ratio"] <= row["highest"] for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert "| curriculum |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--epochs", "0"], "give at least 1 of each"),
        (["evaluate.systems=[student-alone]"], "no distilled student to compare with"),
        (["--fold", "session=9"], "session=9"),
    ],
)
def test_what_cannot_be_measured_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main([str(small.write(tmp_path)), *more]) == 2
    assert said in capsys.readouterr().err

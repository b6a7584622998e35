"""Commands run in this process, on a few files laid out as EmoDB."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from tests.cli.said import Said, tone


@pytest.fixture
def understudy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run a command in this process; Ray must not start."""

    def connect(resources: object) -> None:
        pytest.fail("Ray was started before the input was checked")

    monkeypatch.setattr("orchestrator.evaluation.evaluate.connect", connect)
    monkeypatch.setattr("orchestrator.sweep.sweep.connect", connect)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(code is not None), *captured)

    return run


@pytest.fixture
def emodb(tmp_path: Path) -> Path:
    """Three speakers who say three emotions each."""
    for hundred, speaker in enumerate(("03", "08", "09"), start=1):
        for place, letter in enumerate("WFN"):
            tone(tmp_path / "emodb" / "wav" / f"{speaker}a01{letter}a.wav", 100 * hundred + place)
    return tmp_path / "emodb"

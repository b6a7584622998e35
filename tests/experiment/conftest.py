"""An experiment file to change and break."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = """\
name: demo
corpora:
  - kind: emodb
    root: "${EMODB_ROOT}"
protocol: {kind: leave-one-speaker-out}
recipe:
  teacher: {kind: vertical-vit, depth: 6}
  student: {kind: vertical-vit, depth: 3}
  objectives: {cross_entropy: 1.0, distillation: 0.5}
  training: {epochs: 5, lr: 5e-4}
variants:
  paper:
    recipe.training.epochs: 50
    corpora.0.root: "${PAPER_ROOT}"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the demo with ``old`` replaced by ``new``."""

    def written(old: str = "", new: str = "") -> Path:
        assert old in TEXT

        file = tmp_path / "demo.yaml"
        file.write_text(TEXT.replace(old, new, 1) if old else TEXT, encoding="utf-8")
        return file

    return written


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMODB_ROOT", "/data/emodb")
    monkeypatch.delenv("PAPER_ROOT", raising=False)

"""Small audio files, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteTone = Callable[..., Path]


@pytest.fixture
def write_tone() -> WriteTone:
    """Write a tone as 16-bit audio; the pitch tells files apart."""

    def write(
        path: Path,
        *,
        hz: float = 200.0,
        seconds: float = 0.25,
        rate: int = 16000,
        peak: float = 0.5,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        soundfile.write(path, peak * np.sin(2 * np.pi * hz * time), rate, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def small_emodb(tmp_path: Path, write_tone: WriteTone) -> Path:
    """A folder laid out as EmoDB: two speakers, three emotions, six utterances."""
    for place, stem in enumerate(
        ("03a01Fa", "03a01Nc", "03a01Wa", "08a01Fd", "08a01Na", "08a01Wa")
    ):
        write_tone(tmp_path / "emodb" / "wav" / f"{stem}.wav", hz=100.0 + 20 * place)
    return tmp_path / "emodb"

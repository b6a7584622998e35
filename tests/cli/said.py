"""What a command left on the screen, and a little sound to give it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile


@dataclass(frozen=True)
class Said:
    """What a command left on the screen."""

    code: int
    out: str
    err: str


def tone(path: Path, hz: float, *, peak: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(4000) / 16000
    soundfile.write(path, peak * np.sin(2 * np.pi * hz * time), 16000, subtype="PCM_16")
